import { describe, it } from "vitest";
import { throwAwayKernel } from "../backend/kernel/throw-away.ts";
import { missing } from "../test/support/needs.ts";
import { pluginConformance } from "./conformance.contract.ts";

const reason = missing("root", "netns", "iptables-restore");
if (reason === null) pluginConformance("the kernel", throwAwayKernel, { ipv6: true, sameSubnetTwice: true });
else {
  describe("on the kernel", () => {
    it("passes the cases of plugins", ({ skip }) => skip(reason));
  });
}
