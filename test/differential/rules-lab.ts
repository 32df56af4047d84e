/**
 * A router with two interfaces and rules, in the emulator and on the kernel, and a place at the far end of both cables that
 * sends frames and sees what comes back. Every neighbour is known beforehand and the router's own errors are few, so that
 * what comes out follows from the rules and the packets alone.
 *
 *   tap: i ── eth0 10.0.0.1/24, fd00::1/64  router  10.1.0.1/24, fd00:1::1/64 eth1 ── o :tap
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { threadId } from "node:worker_threads";
import { Capture } from "../../dataplane/dev/capture.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { SETS, SETS6 } from "../../dataplane/netfilter/random-rules.ts";
import { ensureNetfilter, saveRules } from "../../dataplane/netfilter/restore-op.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { nftList } from "../../dataplane/nftables/nft-op.ts";
import { enableIpv6, isMldReport, kernelScript } from "./kernel-commands.ts";

export type Side = "i" | "o";
export const SIDES: readonly Side[] = ["i", "o"];
export const ROUTER_MAC: Readonly<Record<Side, string>> = { i: "02:00:00:00:00:01", o: "02:00:00:00:01:01" };
export const FAR_MAC: Readonly<Record<Side, string>> = { i: "02:00:00:00:00:02", o: "02:00:00:00:01:02" };

/** A frame that is sent, or that came back. */
export type SideFrame = { readonly side: Side; readonly bytes: Uint8Array };

/** What came back on each side, in order, and packets and octets of every rule, by "table CHAIN number". */
export type Outcome = {
  readonly frames: readonly SideFrame[];
  readonly counters: Readonly<Record<string, string>>;
};

const TAP_PATH = "/var/run/netns/tap";
const HOST_NUMBERS = [2, 3, 4, 8, 9];

function net6(n: number): string {
  return n === 0 ? "fd00" : `fd00:${n}`;
}

/** `tap` names the far ends of the cables. */
function routerOps(tap: Readonly<Record<Side, string>>): RtnlOp[] {
  const netns = "host";
  const ops: RtnlOp[] = [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "sysctl.set", netns, key: "net.ipv4.conf.all.send_redirects", value: "0" },
    { op: "sysctl.set", netns, key: "net.ipv6.conf.all.forwarding", value: "1" },
    // Redirects that are not sent count for the limit in Linux, which here are not thought of.
    { op: "sysctl.set", netns, key: "net.ipv6.icmp.ratelimit", value: "0" },
    { op: "sysctl.set", netns, key: "net.ipv6.conf.lo.disable_ipv6", value: "0" },
    { op: "link.set", netns, name: "lo", up: true },
  ];
  for (const [n, side] of SIDES.entries()) {
    const name = `eth${n}`;
    const peer = { name: tap[side], netns: "tap", mac: FAR_MAC[side], up: true };
    ops.push(
      { op: "link.add", netns, name, kind: "veth", mac: ROUTER_MAC[side], up: true, peer },
      { op: "sysctl.set", netns, key: `net.ipv4.conf.${name}.send_redirects`, value: "0" },
      { op: "addr.add", netns, dev: name, address: `10.${n}.0.1/24` },
      ...enableIpv6(netns, name),
      { op: "addr.add", netns, dev: name, address: `${net6(n)}::1/64` },
    );
    for (const h of HOST_NUMBERS) {
      for (const address of [`10.${n}.0.${h}`, `${net6(n)}::${h}`])
        ops.push({ op: "neigh.replace", netns, dev: name, address, mac: FAR_MAC[side] });
    }
  }
  return ops;
}

/** Counters in what iptables-save -c prints. */
function countersIn(saved: string): Record<string, string> {
  const out: Record<string, string> = {};
  const numbers = new Map<string, number>();
  let table = "";
  for (const line of saved.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    const m = /^\[(\d+:\d+)\] -A (\S+)/.exec(line);
    if (m === null) continue;
    const chain = `${table} ${m[2]}`;
    const n = (numbers.get(chain) ?? 0) + 1;
    numbers.set(chain, n);
    out[`${chain} ${n}`] = m[1] ?? "";
  }
  return out;
}

/** Whether a text is nftables', not iptables'. */
export function isNft(rules: string): boolean {
  return rules.startsWith("table ");
}

/** Every counter that `nft list ruleset` tells, by the block that it stands in and its place there. */
function nftCountersIn(listed: string): Record<string, string> {
  const out: Record<string, string> = {};
  let block = "";
  let n = 0;
  for (const line of listed.split("\n")) {
    const [, kind, name] = /^\t(chain|set|map|counter) (\S+) \{/.exec(line) ?? [];
    if (kind !== undefined) {
      block = `${kind} ${name}`;
      n = 0;
    }
    for (const [, packets, bytes] of line.matchAll(/packets (\d+) bytes (\d+)/g))
      out[`${block} ${++n}`] = `${packets}:${bytes}`;
  }
  return out;
}

export class EmulatedRouter {
  readonly #world: World;
  readonly #host: Host;
  readonly #capture = new Capture();
  readonly #devs: Readonly<Record<Side, NetDev>>;

  readonly #family: "ipv4" | "ipv6";

  /** `six`: rules that are iptables' are those of ip6tables. */
  constructor(rules: string, evaluator: "indexed" | "linear", six: boolean, seed = 1) {
    this.#family = six ? "ipv6" : "ipv4";
    this.#world = new World(seed);
    this.#world.evaluator = evaluator;
    this.#host = new Host(this.#world, "router");
    this.#host.addNetns("tap");
    const ops = routerOps({ i: "i", o: "o" });
    applyOps(
      this.#host,
      ops.map((op) =>
        op.op === "link.add" && op.kind === "veth" ? { ...op, peer: { ...op.peer, netns: TAP_PATH } } : op,
      ),
    );
    const { sets } = ensureNetfilter(this.#host.root).state;
    for (const [name, type, entries] of six ? SETS6 : SETS) {
      const set = sets.create(name, type, { six });
      for (const entry of entries) if (!set.add(entry)) throw new Error(`set ${name} does not take ${entry}`);
    }
    const netns = "host";
    const op: RtnlOp = isNft(rules)
      ? { op: "nft.apply", netns, text: rules }
      : { op: "iptables.restore", netns, family: this.#family, text: rules, noflush: false };
    applyOps(this.#host, [op]);
    const tap = this.#host.netns(TAP_PATH);
    this.#devs = { i: tap.dev("i") as NetDev, o: tap.dev("o") as NetDev };
    for (const side of SIDES) this.#capture.attach(this.#devs[side]);
  }

  /** Answers what came back at once. */
  send(frame: SideFrame): SideFrame[] {
    const before = this.#capture.frames.length;
    const skb = this.#world.pool.alloc(frame.bytes.length);
    skb.buf.set(frame.bytes, skb.data);
    skb.end = skb.data + frame.bytes.length;
    skb.mac = skb.data;
    skb.network = skb.data + 14;
    this.#devs[frame.side].transmit(skb);
    this.#world.loop.runNow();
    return this.#back(before);
  }

  #back(from: number): SideFrame[] {
    return this.#capture.frames
      .slice(from)
      .filter((f) => f.direction === "in")
      .map((f) => ({ side: f.dev as Side, bytes: f.bytes }));
  }

  outcome(): Outcome {
    const { root } = this.#host;
    const listed = nftList(root);
    return {
      frames: this.#back(0),
      counters: listed === "" ? countersIn(saveRules(root, true, this.#family)) : nftCountersIn(listed),
    };
  }
}

/** Which iptables the kernel's rules are loaded with. */
export type Variant = "iptables-nft" | "iptables-legacy" | "ip6tables-nft" | "ip6tables-legacy" | "nft";

/** How long nothing must come for all to have come, and the most that is waited for what must come: milliseconds. */
const SILENCE = 12;
const PATIENCE = 3_000;
/** How long a router gets to say which multicast groups it is in, which rules would count. */
const SETTLING = 20;
/** Rules that packets of IPv6 are counted by. */
const SEES_IPV6 = /^ip6tables|table (?:ip6|inet) /;

/**
 * No flow labels, which the emulator does not draw; and multicast groups are told of when they are joined, before there are
 * rules to count it, and not again within an hour or so.
 */
const QUIET_IPV6 =
  "cd /proc/sys/net/ipv6; echo 0 > auto_flowlabels; for d in all default; do echo 1 > conf/$d/force_mld_version; echo 360000000 > conf/$d/mldv1_unsolicited_report_interval; done";

let labs = 0;

/** The far end, which lives as long as the lab; each ruleset gets a router of its own. */
export class KernelRouters {
  readonly #prefix = `pwrules-${process.pid}-${threadId}-${labs++}`;
  readonly #tap: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<void>;
  readonly #onExit = (): void => this.#remove();
  #waiting: (() => void)[] = [];
  #frames: { dev: string; bytes: Uint8Array }[] = [];
  #lastAt = 0;
  #made = 0;
  #error = "";
  /** Less will do while a case that fails is made smaller. */
  patience: number = PATIENCE;

  private constructor() {
    process.once("exit", this.#onExit);
    this.#sh(`ip netns add ${this.#ns("tap")}\n${this.#noIpv6("tap")}`);
    const program = fileURLToPath(new URL("packet-port.pl", import.meta.url));
    this.#tap = spawn("ip", ["netns", "exec", this.#ns("tap"), "perl", program]);
    this.#exited = new Promise((resolve) => this.#tap.once("close", () => resolve()));
    this.#tap.stderr.on("data", (data) => {
      this.#error += data;
    });
    createInterface({ input: this.#tap.stdout }).on("line", (line) => this.#line(line));
  }

  static async build(): Promise<KernelRouters> {
    const lab = new KernelRouters();
    await lab.#answers(1);
    return lab;
  }

  #ns(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  #noIpv6(ns: string): string {
    return `ip netns exec ${this.#ns(ns)} sh -c 'for d in all default; do f=/proc/sys/net/ipv6/conf/$d/disable_ipv6; if [ -e $f ]; then echo 1 > $f; fi; done'`;
  }

  #sh(script: string): string {
    const run = spawnSync("sh", ["-e"], { input: script, encoding: "utf8", maxBuffer: 1 << 26 });
    if (run.status !== 0) throw new Error(`the kernel refused: ${run.stderr.trim().split("\n").slice(-3).join(": ")}`);
    return run.stdout;
  }

  #line(line: string): void {
    if (!line.startsWith("frame ")) {
      if (line.startsWith("error ")) this.#error += `${line}\n`;
      this.#waiting.shift()?.();
      return;
    }
    const [, dev = "", direction, hex = ""] = line.split(" ");
    if (direction !== "in" || isMldReport(hex)) return;
    this.#frames.push({ dev, bytes: Uint8Array.from(Buffer.from(hex, "hex")) });
    this.#lastAt = performance.now();
  }

  #answers(count: number): Promise<unknown> {
    const one = (): Promise<void> => new Promise((resolve) => this.#waiting.push(resolve));
    return Promise.race([Promise.all(Array.from({ length: count }, one)), this.#exited]);
  }

  /** Whether the kernel and this iptables know a rule. */
  knows(variant: Variant, table: string, chain: string, rule: string): boolean {
    const ns = this.#ns("probe");
    const script = `ip netns add ${ns}\nip netns exec ${ns} ${variant}-restore <<'END'\n*${table}\n-A ${chain} ${rule}\nCOMMIT\nEND`;
    const run = spawnSync("sh", ["-e"], { input: script, stdio: ["pipe", "ignore", "ignore"] });
    spawnSync("ip", ["netns", "del", ns], { stdio: "ignore" });
    return run.status === 0;
  }

  /** What a new router with these rules does with the frames; `expected` frames come back in the emulator. */
  async run(variant: Variant, rules: string, frames: readonly SideFrame[], expected: number): Promise<Outcome> {
    const n = this.#made++;
    const name = `r${n}`;
    const ns = this.#ns(name);
    const tap = { i: `i${n}`, o: `o${n}` };
    const place = (netns: string): string => this.#ns(netns === "host" ? name : netns);
    const off = "tx off tso off gso off gro off sg off";
    const six = variant.startsWith("ip6");
    const sets = (six ? SETS6 : SETS).flatMap(([set, type, entries]) => [
      `create ${set} ${type} family ${six ? "inet6" : "inet"}`,
      ...entries.map((e) => `add ${set} ${e}`),
    ]);
    const usesSets = /--(match|add|del)-set/.test(rules);
    try {
      this.#sh(
        [
          `ip netns add ${ns}`,
          this.#noIpv6(name),
          `ip netns exec ${ns} sh -c '${QUIET_IPV6}'`,
          kernelScript(routerOps(tap), place),
          `ip netns exec ${ns} sh -c 'for d in eth0 eth1; do ethtool -K $d ${off} >/dev/null 2>&1 || true; done'`,
          ...(usesSets ? [`ip netns exec ${ns} ipset restore <<'END'\n${sets.join("\n")}\nEND`] : []),
        ].join("\n"),
      );
      if (SEES_IPV6.test(`${variant} ${rules}`)) await delay(SETTLING);
      this.#restore(ns, variant, rules);
      this.#frames = [];
      const start = performance.now();
      const sent = this.#answers(frames.length);
      for (const f of frames) this.#tap.stdin.write(`send ${tap[f.side]} ${Buffer.from(f.bytes).toString("hex")}\n`);
      await sent;
      if (this.#error !== "") throw new Error(this.#error);
      for (;;) {
        const now = performance.now();
        const quiet = now - Math.max(this.#lastAt, start) >= SILENCE;
        if (quiet && (this.#frames.length >= expected || now - start > this.patience)) break;
        await delay(3);
      }
      const nft = variant === "nft";
      const saved = this.#sh(`ip netns exec ${ns} ${nft ? "nft list ruleset" : `${variant}-save -c`}`);
      const seen = this.#frames.flatMap(({ dev, bytes }): SideFrame[] =>
        dev === tap.i ? [{ side: "i", bytes }] : dev === tap.o ? [{ side: "o", bytes }] : [],
      );
      return { frames: seen, counters: nft ? nftCountersIn(saved) : countersIn(saved) };
    } finally {
      spawnSync("ip", ["netns", "del", ns], { stdio: "ignore" });
    }
  }

  #restore(ns: string, variant: Variant, rules: string): void {
    const command = variant === "nft" ? ["nft", "-f", "-"] : [`${variant}-restore`];
    const run = spawnSync("ip", ["netns", "exec", ns, ...command], { input: rules, encoding: "utf8" });
    if (run.status === 0) return;
    const at = /line (\d+)/.exec(run.stderr)?.[1];
    const line = at === undefined ? "" : rules.split("\n")[Number(at) - 1];
    throw new Error(`${variant}-restore: ${run.stderr.trim().split("\n").slice(0, 2).join(": ")}: ${line}`);
  }

  async close(): Promise<void> {
    this.#tap.stdin.end();
    const timer = setTimeout(() => this.#tap.kill("SIGKILL"), 2_000);
    await this.#exited;
    clearTimeout(timer);
    process.removeListener("exit", this.#onExit);
    this.#remove();
  }

  #remove(): void {
    const names = ["tap", "probe", ...Array.from({ length: 3 }, (_, i) => `r${this.#made - 1 - i}`)];
    spawnSync("sh", ["-c", names.map((n) => `ip netns del ${this.#ns(n)} 2>/dev/null`).join("; ")]);
  }
}
