import { FakeBackend } from "../backend/fake.ts";
import { pluginConformance } from "./conformance.contract.ts";

pluginConformance(
  "a fake data plane",
  async () => {
    const backend = new FakeBackend();
    return { backend, dispose: () => backend.close() };
  },
  { ipv6: true, sameSubnetTwice: true },
);
