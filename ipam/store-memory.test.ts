import { leaseStoreContract } from "./store.contract.ts";
import { MemoryLeaseStore } from "./store-memory.ts";

leaseStoreContract("MemoryLeaseStore", () => new MemoryLeaseStore());
