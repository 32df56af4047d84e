/** The kernel as a Backend: as root, in throw-away namespaces; this machine's own is never the "host". */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { backendContract } from "../backend.contract.ts";
import { openLibc } from "./ffi.ts";
import { KernelBackend } from "./kernel-backend.ts";

const reason = missing("root", "netns", "iptables-restore");
if (reason === null) {
  backendContract("KernelBackend", async () => {
    const dir = mkdtempSync(join(tmpdir(), "podwire-netns-"));
    const libc = await openLibc();
    const maker = new KernelBackend(libc, { dir });
    const host = await maker.addNetns("host");
    const backend = new KernelBackend(libc, { host, dir });
    await backend.apply([{ op: "sysctl.set", netns: "host", key: "net.ipv4.ip_forward", value: "0" }]);
    return {
      backend,
      dispose: async () => {
        await backend.close();
        await maker.delNetns(host);
        await maker.close();
        rmSync(dir, { recursive: true });
      },
    };
  });
} else {
  describe("KernelBackend as a Backend", () => {
    it("passes the suite of backends", ({ skip }) => skip(reason));
  });
}
