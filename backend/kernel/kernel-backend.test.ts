/** The kernel as a Backend: as root, in throw-away namespaces; this machine's own is never the "host". */
import { describe, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { backendContract } from "../backend.contract.ts";
import { throwAwayKernel } from "./throw-away.ts";

const reason = missing("root", "netns", "iptables-restore", "nft");
if (reason === null) backendContract("KernelBackend", throwAwayKernel);
else {
  describe("KernelBackend as a Backend", () => {
    it("passes the suite of backends", ({ skip }) => skip(reason));
  });
}
