import { describe, it } from "vitest";
import { throwAwayKernel } from "../backend/kernel/throw-away.ts";
import { missing } from "../test/support/needs.ts";
import { pluginConformance } from "./conformance.contract.ts";
import { nftablesConformance } from "./conformance-nftables.contract.ts";
import { otherPluginsConformance } from "./conformance-others.contract.ts";
import { vlanConformance } from "./conformance-vlan.contract.ts";

const noNft = missing("nft");
const reason = missing("root", "netns", "iptables-restore");
if (reason === null) {
  pluginConformance("the kernel", throwAwayKernel);
  otherPluginsConformance("the kernel", throwAwayKernel);
  vlanConformance("the kernel", throwAwayKernel);
  if (noNft === null) nftablesConformance("the kernel", throwAwayKernel);
  else describe("nftables on the kernel", () => it("passes the cases of plugins", ({ skip }) => skip(noNft)));
} else {
  describe("on the kernel", () => {
    it("passes the cases of plugins", ({ skip }) => skip(reason));
  });
}
