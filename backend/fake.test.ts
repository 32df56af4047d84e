import { backendContract } from "./backend.contract.ts";
import { FakeBackend } from "./fake.ts";

backendContract("FakeBackend", async () => {
  const backend = new FakeBackend();
  return { backend, dispose: () => backend.close() };
});
