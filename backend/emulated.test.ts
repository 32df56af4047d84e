import { Host } from "../dataplane/host/host.ts";
import { World } from "../dataplane/host/world.ts";
import { backendContract } from "./backend.contract.ts";
import { EmulatedBackend } from "./emulated.ts";

backendContract("EmulatedBackend", async () => {
  const backend = new EmulatedBackend(new Host(new World(1), "node-1"));
  return { backend, dispose: () => backend.close() };
});
