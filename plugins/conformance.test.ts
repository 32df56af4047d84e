import { FakeBackend } from "../backend/fake.ts";
import { type DataPlaneUnderTest, pluginConformance } from "./conformance.contract.ts";
import { otherPluginsConformance } from "./conformance-others.contract.ts";
import { vlanConformance } from "./conformance-vlan.contract.ts";

const open = async (): Promise<DataPlaneUnderTest> => {
  const backend = new FakeBackend();
  return { backend, dispose: () => backend.close() };
};
pluginConformance("a fake data plane", open);
otherPluginsConformance("a fake data plane", open);
vlanConformance("a fake data plane", open);
