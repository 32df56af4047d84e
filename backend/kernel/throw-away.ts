/** For tests: a kernel backend whose "host" is a namespace made for it. Nothing of it is left after `dispose`. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLibc } from "./ffi.ts";
import { KernelBackend } from "./kernel-backend.ts";

export type ThrowAway = {
  readonly backend: KernelBackend;
  /** The path of the namespace that stands for the host. */
  readonly host: string;
  readonly dir: string;
  readonly dispose: () => Promise<void>;
};

export async function throwAwayKernel(): Promise<ThrowAway> {
  const dir = mkdtempSync(join(tmpdir(), "podwire-netns-"));
  const libc = await openLibc();
  const maker = new KernelBackend(libc, { dir });
  const host = await maker.addNetns("host");
  const backend = new KernelBackend(libc, { host, dir });
  // a new namespace takes these from the machine's own
  const off = (key: string) => ({ op: "sysctl.set", netns: "host", key, value: "0" }) as const;
  await backend.apply([off("net.ipv4.ip_forward"), off("net.ipv6.conf.all.forwarding")]);
  return {
    backend,
    host,
    dir,
    dispose: async () => {
      for (const name of readdirSync(dir)) await backend.delNetns(join(dir, name));
      await backend.close();
      await maker.close();
      rmSync(dir, { recursive: true });
    },
  };
}
