import { EmulatedBackend } from "../backend/emulated.ts";
import { Host } from "../dataplane/host/host.ts";
import { World } from "../dataplane/host/world.ts";
import { type DataPlaneUnderTest, pluginConformance } from "./conformance.contract.ts";
import { nftablesConformance } from "./conformance-nftables.contract.ts";
import { otherPluginsConformance } from "./conformance-others.contract.ts";
import { vlanConformance } from "./conformance-vlan.contract.ts";

const open = async (): Promise<DataPlaneUnderTest> => {
  const backend = new EmulatedBackend(new Host(new World(1), "node-1"));
  return { backend, dispose: () => backend.close() };
};
pluginConformance("a node of the emulator", open);
otherPluginsConformance("a node of the emulator", open);
nftablesConformance("a node of the emulator", open);
vlanConformance("a node of the emulator", open);
