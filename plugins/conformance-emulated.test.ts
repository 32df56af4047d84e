import { EmulatedBackend } from "../backend/emulated.ts";
import { Host } from "../dataplane/host/host.ts";
import { World } from "../dataplane/host/world.ts";
import { pluginConformance } from "./conformance.contract.ts";

pluginConformance(
  "a node of the emulator",
  async () => {
    const backend = new EmulatedBackend(new Host(new World(1), "node-1"));
    return { backend, dispose: () => backend.close() };
  },
  { ipv6: false, sameSubnetTwice: true },
);
