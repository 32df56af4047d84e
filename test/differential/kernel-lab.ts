/**
 * The lab on the kernel: a namespace for each node and pod, a veth pair for the cable, and in each namespace a packet socket
 * that watches all interfaces (packet-port.pl). IPv6 is off unless a walk turns it on, and so is every offload, so that the
 * frames that the packet sockets see are whole; reports of multicast listeners, which the emulator does not send, are left
 * out. Namespaces, processes and interfaces are gone after `close`, and at the end of the process.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { threadId } from "node:worker_threads";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { isMldReport, kernelScript } from "./kernel-commands.ts";
import type { Frame, Frames, Lab } from "./lab.ts";
import { NODES, nodeOps, PLACES, type Place } from "./layout.ts";
import { LineProcess } from "./line-process.ts";

/** Milliseconds without a frame that count as silence, and how long frames that must come may take. */
const SILENCE = 25;
const PATIENCE = 3_000;

/** What the kernel lab needs of the machine, for `missing`. */
export const KERNEL_LAB_NEEDS: readonly string[] = ["root", "netns", "ip", "bridge", "ethtool", "perl"];

/** The reason why bridged packets would not pass the IP hooks here, or null: the emulator has them as kubelet wants them. */
export function bridgeFilterMissing(): string | null {
  const file = "/proc/sys/net/bridge/bridge-nf-call-iptables";
  if (!existsSync(file)) spawnSync("modprobe", ["br_netfilter"], { stdio: "ignore" });
  return existsSync(file) ? null : "needs the kernel module br_netfilter";
}

let labs = 0;

export class KernelLab implements Lab {
  readonly #prefix: string;
  readonly #expected: readonly number[];
  readonly #frames = new Map<string, Frame[]>();
  readonly #taps = new Map<Place, LineProcess>();
  readonly #agents = new Map<Place, LineProcess>();
  readonly #onExit: () => void;
  #seen = 0;
  #lastAt = 0;
  #waits = 0;
  /** Frames have been waited for in vain once: the labs differ, and waiting again helps nobody. */
  #late = false;

  private constructor(expected: readonly number[]) {
    this.#prefix = `pwdiff-${process.pid}-${threadId}-${labs++}`;
    this.#expected = expected;
    this.#onExit = () => this.#remove();
    process.once("exit", this.#onExit);
  }

  /** `expected` is how many frames have passed after each `wait` in the other lab: a slow machine is given time for them. */
  static async build(expected: readonly number[]): Promise<KernelLab> {
    const lab = new KernelLab(expected);
    try {
      lab.#build();
      await lab.#watch();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  #name(place: string): string {
    return `${this.#prefix}-${place}`;
  }

  #build(): void {
    const [one, two] = [this.#name("node-1"), this.#name("node-2")];
    const lines: string[] = [];
    for (const place of PLACES) {
      const ns = this.#name(place);
      lines.push(
        `ip netns add ${ns}`,
        `ip netns exec ${ns} sh -c 'for d in all default; do f=/proc/sys/net/ipv6/conf/$d/disable_ipv6; if [ -e $f ]; then echo 1 > $f; fi; done'`,
      );
    }
    // The emulator has no flow labels of its own.
    for (const place of PLACES)
      lines.push(`ip netns exec ${this.#name(place)} sh -c 'echo 0 > /proc/sys/net/ipv6/auto_flowlabels'`);
    // The window scale that a SYN offers follows from the largest receive buffer, whose default differs between kernels.
    for (const place of PLACES) {
      lines.push(`ip netns exec ${this.#name(place)} sh -c 'echo "4096 131072 6291456" > /proc/sys/net/ipv4/tcp_rmem'`);
    }
    const near = `address ${NODES["node-1"].mac}`;
    const far = `address ${NODES["node-2"].mac}`;
    lines.push(`ip -n ${one} link add eth0 ${near} type veth peer name eth0 netns ${two} ${far}`);
    for (const ns of [one, two]) lines.push(`ip -n ${ns} link set lo up`, `ip -n ${ns} link set eth0 up`);
    for (const node of ["node-1", "node-2"] as const) lines.push(kernelScript(nodeOps(node), this.#namer(node)));
    for (const place of PLACES) lines.push(this.#plain(place));
    this.#sh(lines.join("\n"));
  }

  /** Turns offloads off everywhere; what a kind of device cannot change is fixed off already. */
  #plain(place: Place): string {
    const off = "tx off tso off gso off gro off sg off";
    const each = `for d in $(ls /sys/class/net); do case $d in lo) ;; *) ethtool -K $d ${off} >/dev/null 2>&1 || true;; esac; done`;
    return `ip netns exec ${this.#name(place)} sh -c '${each}'`;
  }

  #namer(node: "node-1" | "node-2"): (netns: string) => string {
    return (netns) => this.#name(netns === "host" ? node : netns);
  }

  #sh(script: string): void {
    const run = spawnSync("sh", ["-ex"], { input: script, encoding: "utf8" });
    if (run.status !== 0) throw new Error(`the kernel refused: ${run.stderr.trim().split("\n").slice(-3).join(": ")}`);
  }

  async #watch(): Promise<void> {
    const program = fileURLToPath(new URL("packet-port.pl", import.meta.url));
    const ready: Promise<string>[] = [];
    for (const place of PLACES) {
      const tap = new LineProcess(this.#name(place), ["perl", program], (line) => this.#frame(place, line));
      this.#taps.set(place, tap);
      ready.push(tap.answer());
    }
    await Promise.all(ready);
  }

  #frame(place: Place, line: string): boolean {
    if (!line.startsWith("frame ")) return false;
    const [, dev, direction, hex] = line.split(" ");
    if (dev === "lo" || isMldReport(hex ?? "")) return true;
    const frame = { direction: direction as "in" | "out", bytes: Uint8Array.from(Buffer.from(hex ?? "", "hex")) };
    const key = `${place}/${dev}`;
    const list = this.#frames.get(key);
    if (list === undefined) this.#frames.set(key, [frame]);
    else list.push(frame);
    this.#seen++;
    this.#lastAt = performance.now();
    return true;
  }

  async apply(node: "node-1" | "node-2", ops: readonly RtnlOp[]): Promise<void> {
    this.#sh(`${kernelScript(ops, this.#namer(node))}\n${this.#plain(node)}`);
  }

  async send(place: Place, frame: Uint8Array, dev = "eth0"): Promise<void> {
    await this.#taps.get(place)?.ask(`send ${dev} ${Buffer.from(frame).toString("hex")}`);
  }

  async wait(ms: number): Promise<void> {
    const expected = this.#expected[this.#waits++] ?? 0;
    const start = performance.now();
    await delay(ms);
    for (;;) {
      const now = performance.now();
      const quiet = now - Math.max(this.#lastAt, start) >= SILENCE;
      const late = now - start >= ms + PATIENCE;
      if (late) this.#late = true;
      if (quiet && (this.#seen >= expected || this.#late)) return;
      await delay(5);
    }
  }

  async #agent(place: Place, command: Readonly<Record<string, unknown>>): Promise<string> {
    let agent = this.#agents.get(place);
    if (agent === undefined) {
      const program = fileURLToPath(new URL("socket-agent.mjs", import.meta.url));
      agent = new LineProcess(this.#name(place), [process.execPath, program], () => false);
      this.#agents.set(place, agent);
    }
    return JSON.parse(await agent.ask(JSON.stringify(command)));
  }

  async udpBind(place: Place, port: number, echo: boolean): Promise<void> {
    await this.#agent(place, { do: "udpBind", port, echo });
  }

  async udpSend(place: Place, port: number, to: string, toPort: number, text: string): Promise<void> {
    await this.#agent(place, { do: "udpSend", port, to, toPort, text });
  }

  async tcpServe(place: Place, port: number, response: string): Promise<void> {
    await this.#agent(place, { do: "tcpServe", port, response });
  }

  tcpRequest(place: Place, port: number, to: string, toPort: number, request: string): Promise<string> {
    return this.#agent(place, { do: "tcpRequest", port, to, toPort, request });
  }

  frames(): Frames {
    return this.#frames;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#taps.values(), ...this.#agents.values()].map((helper) => helper.end()));
    process.removeListener("exit", this.#onExit);
    this.#remove();
  }

  #remove(): void {
    const names = PLACES.map((place) => this.#name(place));
    spawnSync("sh", ["-c", names.map((n) => `ip netns del ${n} 2>/dev/null`).join("; ")]);
  }
}
