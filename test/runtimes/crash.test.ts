/**
 * What a kill leaves, and that GC repairs it: ADD and DEL of bridge, host-local and ipMasq as processes, up to twenty at
 * once, a third of them killed at a moment that a seed decides. PODWIRE_CRASH_CALLS, _AT_ONCE and _SEED change the
 * dose. The runtime here is as careless as allowed: it forgets what was killed and leaves its sandbox, until GC.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ThrowAway, throwAwayKernel } from "../../backend/kernel/throw-away.ts";
import type { JsonObject } from "../../plugins/cni/types.ts";
import { missing } from "../support/needs.ts";
import { ROOT } from "../support/podwire.ts";

const CALLS = Number(process.env.PODWIRE_CRASH_CALLS ?? 60);
/** Fewer calls that were killed show nothing. */
const ENOUGH = CALLS / 10;
const SEED = Number(process.env.PODWIRE_CRASH_SEED ?? 7);
const AT_ONCE = Number(process.env.PODWIRE_CRASH_AT_ONCE ?? 20);
/** Kills come within this many times the duration of a call that is left alone. */
const REACH = 1.2;
const reason = missing("root", "netns", "iptables-restore", "nsenter");

/** mulberry32 */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

type Attachment = { readonly id: string; readonly netns: string };
type Live = Attachment & { readonly addresses: readonly string[]; readonly result: JsonObject };
type Ended = { readonly status: number | null; readonly stdout: string; readonly ms: number };

let built = "";
beforeAll(() => {
  if (reason !== null) return;
  built = mkdtempSync(join(tmpdir(), "podwire-crash-"));
  execFileSync(process.execPath, [join(ROOT, "scripts/build-cni.mjs"), built], { stdio: "pipe" });
});
afterAll(() => rmSync(built || "/nonexistent", { recursive: true, force: true }));

describe("calls that are killed", () => {
  let kernel: ThrowAway;
  let dir = "";
  beforeEach(async () => {
    if (reason !== null) return;
    kernel = await throwAwayKernel();
    dir = mkdtempSync(join(tmpdir(), "podwire-leases-"));
  });
  afterEach(async () => {
    if (reason !== null) return;
    await kernel.dispose();
    rmSync(dir, { recursive: true, force: true });
  });

  const conf = (more: JsonObject = {}): string =>
    JSON.stringify({
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      bridge: "br0",
      isDefaultGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/16" }], [{ subnet: "fd00:1::/64" }]], dataDir: dir },
      ...more,
    });

  /** Killed after so many milliseconds, if it still runs; its children, such as iptables-restore, are not. */
  async function call(command: string, { id, netns }: Attachment, stdin: string, killAfter?: number): Promise<Ended> {
    const started = performance.now();
    const child: ChildProcess = spawn("nsenter", [`--net=${kernel.host}`, join(built, "cni", "bridge")], {
      env: {
        PATH: process.env.PATH ?? "",
        CNI_COMMAND: command,
        CNI_CONTAINERID: id,
        CNI_NETNS: netns,
        CNI_IFNAME: "eth0",
        CNI_PATH: join(built, "cni"),
      },
      stdio: ["pipe", "pipe", "ignore"],
    });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfter);
    let stdout = "";
    child.stdout?.on("data", (text) => {
      stdout += text;
    });
    // one that is killed early does not read it
    child.stdin?.on("error", () => {});
    child.stdin?.end(stdin);
    const [status] = (await once(child, "close")) as [number | null];
    clearTimeout(timer);
    return { status, stdout, ms: performance.now() - started };
  }

  /** Children of killed calls live on for a moment; the runtime would not start GC in it. */
  async function quiet(): Promise<void> {
    const { ino } = statSync(kernel.host);
    const there = (pid: string): boolean => {
      try {
        return readlinkSync(`/proc/${pid}/ns/net`) === `net:[${ino}]` && !/^State:\s*Z/m.test(status(pid));
      } catch {
        return false;
      }
    };
    const status = (pid: string): string => readFileSync(`/proc/${pid}/status`, "utf8");
    while (readdirSync("/proc").some((pid) => /^\d+$/.test(pid) && there(pid))) await wait(5);
  }

  const leases = (): Record<string, string> =>
    Object.fromEntries(
      readdirSync(join(dir, "net"))
        .filter((name) => /^[\da-f]+[.:]/.test(name))
        .map((name) => [name, readFileSync(join(dir, "net", name), "utf8").split("\r\n")[0] ?? ""]),
    );
  const owners = (rules: string): readonly string[] => [
    ...new Set([...rules.matchAll(/id: \\?"([^"\\]+)\\?"/g)].map((m) => m[1] ?? "")),
  ];
  async function state(): Promise<Record<string, readonly string[]>> {
    const links = (await kernel.backend.links("host")).filter((l) => l.kind === "veth");
    const [v4, v6] = [
      await kernel.backend.iptablesSave("host", "ipv4"),
      await kernel.backend.iptablesSave("host", "ipv6"),
    ];
    return {
      leased: [...new Set(Object.values(leases()))].sort(),
      rules4: [...owners(v4)].sort(),
      rules6: [...owners(v6)].sort(),
      chains: [...new Set([...v4.matchAll(/^:(CNI-[0-9a-f]{24}) /gm)].map((m) => m[1] ?? ""))],
      ends: links.map((l) => l.alias.split(":")[2] ?? l.name).sort(),
    };
  }

  it("give no address twice, and after one GC nothing of them is left", async ({ skip }) => {
    skip(reason !== null, reason ?? "");
    const random = chance(SEED);
    const live: Live[] = [];
    const holders = new Map<string, string>();
    const failures: string[] = [];
    const figures = { calls: 0, adds: 0, dels: 0, hit: 0, missed: 0 };
    let next = 0;
    const attachment = async (): Promise<Attachment> => {
      const id = `c${++next}`;
      return { id, netns: await kernel.backend.addNetns(id) };
    };

    // how long a call takes here when as many run, so that kills reach every part of it
    const first = await Promise.all(Array.from({ length: AT_ONCE }, attachment));
    const durations = await Promise.all(first.map(async (at) => (await call("ADD", at, conf())).ms));
    const reach = Math.max(...durations) * REACH;
    await Promise.all(first.map((at) => call("DEL", at, conf())));

    const add = async (killAfter: number | undefined): Promise<boolean> => {
      figures.adds++;
      const at = await attachment();
      const { status, stdout } = await call("ADD", at, conf(), killAfter);
      if (status === null) return true;
      if (status !== 0) {
        failures.push(`ADD ${at.id}: ${stdout}`);
        return false;
      }
      const result = JSON.parse(stdout) as JsonObject & { readonly ips: readonly { readonly address: string }[] };
      const addresses = result.ips.map((ip) => ip.address);
      for (const address of addresses) {
        const holder = holders.get(address);
        if (holder !== undefined) failures.push(`${address}: given to ${holder} and ${at.id}`);
        holders.set(address, at.id);
      }
      live.push({ ...at, addresses, result });
      return false;
    };
    const del = async (at: Live, killAfter: number | undefined): Promise<boolean> => {
      figures.dels++;
      for (const address of at.addresses) holders.delete(address);
      const { status, stdout } = await call("DEL", at, conf({ prevResult: at.result }), killAfter);
      if (status !== null && status !== 0) failures.push(`DEL ${at.id}: ${stdout}`);
      return status === null;
    };
    const worker = async (): Promise<void> => {
      // more where kills came too late, as on a machine that was busy only while calls were measured
      while (figures.calls < CALLS || (figures.hit <= ENOUGH && figures.calls < 4 * CALLS)) {
        figures.calls++;
        const killAfter = random() < 1 / 3 ? random() * reach : undefined;
        const [victim] = random() < 0.45 && live.length > 0 ? live.splice(Math.floor(random() * live.length), 1) : [];
        const killed = victim === undefined ? await add(killAfter) : await del(victim, killAfter);
        if (killed) figures.hit++;
        else if (killAfter !== undefined) figures.missed++;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    await quiet();
    expect(failures).toEqual([]);
    // else the test has shown nothing
    expect(figures.hit).toBeGreaterThan(ENOUGH);

    const before = await state();
    const names = live.map((at) => at.id).sort();
    const valid = live.map((at) => ({ containerID: at.id, ifname: "eth0" }));
    const node = { id: "", netns: "" };
    const collect = (list: readonly JsonObject[]) => call("GC", node, conf({ "cni.dev/valid-attachments": list }));
    expect(await collect(valid)).toMatchObject({ status: 0, stdout: "" });
    expect(await state()).toMatchObject({ leased: names, rules4: names, rules6: names, ends: names });
    for (const at of live)
      expect(await call("CHECK", at, conf({ prevResult: at.result }))).toMatchObject({ status: 0, stdout: "" });

    expect(await collect([])).toMatchObject({ status: 0, stdout: "" });
    expect(await state()).toEqual({ leased: [], rules4: [], rules6: [], chains: [], ends: [] });
    const dead = (key: string): number => (before[key] ?? []).length - names.length;
    console.log(
      `crash: seed ${SEED}, ${figures.calls} calls (${figures.adds} ADD, ${figures.dels} DEL), ${figures.hit} killed, ` +
        `${figures.missed} done before; ${names.length} live; left for GC: ${dead("leased")} leases, ` +
        `${dead("rules4")} rule sets, ${dead("ends")} veths`,
    );
  }, 300_000);
});
