/**
 * A node on the kernel as a node of a cluster is: pods behind a bridge, the rest of the world behind a card, both families.
 * Rules are loaded with the real tools and read back with them; packets go in where pods and the world would send them, and
 * what comes out is told as the set of what happened.
 *
 *   outside 192.168.0.1, .12, .50 ── eth0 node 192.168.0.11 ── cni0 10.244.1.1 ─┬─ a 10.244.1.2
 *           fd00:192::1, …            fd00:192::11                fd00:244:1::1  └─ b 10.244.1.3
 *
 * The ends never answer by themselves, so that an answer is always the node's.
 */
import { spawnSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { threadId } from "node:worker_threads";
import type { Dumps } from "../../cluster/explain/dumps.ts";
import { type Flow, firstPacket } from "../../cluster/trace/first-packet.ts";
import { tupleOf } from "../../cluster/trace/tracer.ts";
import { World } from "../../dataplane/host/world.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { formatIp, formatIpPort, isKey6 } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { PROTO_ICMPV6 } from "../../dataplane/wire/ipv4.ts";
import * as ipv6 from "../../dataplane/wire/ipv6.ts";
import * as tcp from "../../dataplane/wire/tcp.ts";
import { ether } from "./frames.ts";
import { LineProcess } from "./line-process.ts";

export type End = "outside" | "a" | "b";
const ENDS: readonly End[] = ["outside", "a", "b"];
/** The node's interface before each end. */
const DEVICE: Readonly<Record<End, string>> = { outside: "eth0", a: "cni0", b: "cni0" };
const NODE_MAC = { outside: "02:00:00:00:00:11", a: "0a:58:0a:f4:01:01", b: "0a:58:0a:f4:01:01" } as const;
const END_MAC = { outside: "02:00:00:00:00:01", a: "0a:58:0a:f4:01:02", b: "0a:58:0a:f4:01:03" } as const;

/** Milliseconds without a frame that count as silence; and how long packets that should come may take. */
const SILENCE = 30;
const PATIENCE = 3_000;

export type NodeTool = "iptables-nft" | "iptables-legacy" | "ip6tables-nft" | "ip6tables-legacy";

/** What is being asked, and what has become of its packets so far. */
type Question = { readonly flow: Flow; readonly count: number; readonly told: string[] };

let nodes = 0;

export class KernelNode {
  readonly #prefix = `pwnode-${process.pid}-${threadId}-${nodes++}`;
  readonly #world = new World(1);
  readonly #taps = new Map<End, LineProcess>();
  readonly #onExit = (): void => this.#remove();
  #agent: LineProcess | null = null;
  #asked: Question | null = null;
  #lastAt = 0;

  private constructor() {
    process.once("exit", this.#onExit);
  }

  /** `listening`: ports on which the node itself answers, TCP and UDP. */
  static async build(listening: readonly number[]): Promise<KernelNode> {
    const node = new KernelNode();
    try {
      node.#build();
      await node.#watch();
      await node.#listen(listening);
    } catch (error) {
      await node.close();
      throw error;
    }
    return node;
  }

  #ns(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  #sh(script: string): string {
    const run = spawnSync("sh", ["-e"], { input: script, encoding: "utf8", maxBuffer: 1 << 26 });
    if (run.status !== 0) throw new Error(`the kernel refused: ${run.stderr.trim().split("\n").slice(-3).join(": ")}`);
    return run.stdout;
  }

  /** Runs a command on the node; `input` is its standard input. */
  run(argv: readonly string[], input = ""): string {
    const run = spawnSync("ip", ["netns", "exec", this.#ns("node"), ...argv], {
      input,
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    if (run.status === 0) return run.stdout;
    const at = /line:? (\d+)/.exec(run.stderr)?.[1];
    const line = at === undefined ? "" : (input.split("\n")[Number(at) - 1] ?? "");
    throw new Error(`${argv[0]}: ${run.stderr.trim().split("\n").slice(0, 3).join(": ")}: ${line}`);
  }

  #build(): void {
    const [node, outside, a, b] = ["node", "outside", "a", "b"].map((n) => this.#ns(n));
    const set = (ns: string | undefined, ...sysctls: readonly string[]): string =>
      `ip netns exec ${ns} sysctl -qw ${sysctls.join(" ")}`;
    // No answers of their own: neither to what is not for a socket, nor about it.
    const silent = [
      "table inet silent {",
      " chain out {",
      "  type filter hook output priority 0",
      "  meta l4proto { tcp, udp } drop",
      "  icmp type destination-unreachable drop",
      "  icmpv6 type destination-unreachable drop",
      " }",
      "}",
    ].join("\n");
    // Link-local addresses at once, without the second in which they might turn out to be somebody else's.
    const lines = [node, outside, a, b].flatMap((ns) => [
      `ip netns add ${ns}`,
      set(ns, "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"),
      `ip -n ${ns} link set lo up`,
    ]);
    lines.push(
      `ip -n ${node} link add eth0 address ${NODE_MAC.outside} type veth peer name eth0 netns ${outside} address ${END_MAC.outside}`,
      `ip -n ${node} link add cni0 address ${NODE_MAC.a} type bridge`,
    );
    for (const pod of ["a", "b"] as const) {
      const ns = this.#ns(pod);
      lines.push(
        `ip -n ${node} link add veth${pod} type veth peer name eth0 netns ${ns} address ${END_MAC[pod]}`,
        `ip -n ${node} link set veth${pod} master cni0 up`,
        // As kubelet's plugins do: a pod may reach itself through a Service.
        `bridge -n ${node} link set dev veth${pod} hairpin on`,
      );
    }
    lines.push(`ip -n ${node} link set cni0 up`, `ip -n ${node} link set eth0 up`);
    for (const ns of [outside, a, b]) lines.push(`ip -n ${ns} link set eth0 up`);
    const address = (ns: string | undefined, dev: string, ...addresses: readonly string[]): void => {
      for (const one of addresses) lines.push(`ip -n ${ns} addr add ${one} dev ${dev}`);
    };
    address(node, "eth0", "192.168.0.11/24", "fd00:192::11/64");
    address(node, "cni0", "10.244.1.1/24", "fd00:244:1::1/64");
    address(outside, "eth0", "192.168.0.1/24", "192.168.0.12/24", "192.168.0.50/24");
    address(outside, "eth0", "fd00:192::1/64", "fd00:192::12/64", "fd00:192::50/64");
    address(a, "eth0", "10.244.1.2/24", "fd00:244:1::2/64");
    address(b, "eth0", "10.244.1.3/24", "fd00:244:1::3/64");
    lines.push(
      set(node, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.route_localnet=1"),
      // Errors as many as there are packets, and none about better ways.
      set(node, "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratemask=", "net.ipv4.conf.all.send_redirects=0"),
      set(node, "net.ipv4.conf.eth0.send_redirects=0", "net.ipv4.conf.cni0.send_redirects=0"),
      `ip -n ${node} route add default via 192.168.0.1`,
      `ip -n ${node} route add 10.244.2.0/24 via 192.168.0.12 dev eth0`,
      `ip -n ${node} route add blackhole 10.66.0.0/16`,
      `ip -n ${node} -6 route add default via fd00:192::1`,
      `ip -n ${node} -6 route add fd00:244:2::/64 via fd00:192::12 dev eth0`,
      `ip -n ${node} -6 route add unreachable fd00:66::/64`,
    );
    // Neighbours that were asked and did not answer; they are given up soon.
    for (const gone of ["192.168.0.66", "fd00:192::66"])
      lines.push(`ip -n ${node} neigh add ${gone} dev eth0 nud failed`);
    lines.push(set(node, "net.ipv4.neigh.eth0.retrans_time_ms=100", "net.ipv6.neigh.eth0.retrans_time_ms=100"));
    for (const ns of [outside, a, b]) lines.push(`ip netns exec ${ns} nft -f - <<'END'\n${silent}\nEND`);
    const off = "tx off tso off gso off gro off sg off";
    for (const ns of [node, outside, a, b])
      lines.push(
        `ip netns exec ${ns} sh -c 'for d in $(ls /sys/class/net); do ethtool -K $d ${off} >/dev/null 2>&1 || true; done'`,
      );
    this.#sh(lines.join("\n"));
  }

  async #watch(): Promise<void> {
    const program = fileURLToPath(new URL("packet-port.pl", import.meta.url));
    const ready = ENDS.map((end) => {
      const tap = new LineProcess(this.#ns(end), ["perl", program], (line) => this.#frame(end, line));
      this.#taps.set(end, tap);
      return tap.answer();
    });
    await Promise.all(ready);
  }

  async #listen(ports: readonly number[]): Promise<void> {
    const program = fileURLToPath(new URL("socket-agent.mjs", import.meta.url));
    this.#agent = new LineProcess(this.#ns("node"), [process.execPath, program], () => false);
    for (const port of ports) {
      await this.#ask({ do: "udpBind", port, echo: true, six: true });
      await this.#ask({ do: "tcpServe", port, response: "", six: true });
    }
  }

  async #ask(command: Readonly<Record<string, unknown>>): Promise<unknown> {
    return JSON.parse((await this.#agent?.ask(JSON.stringify(command))) ?? "");
  }

  #frame(end: End, line: string): boolean {
    if (!line.startsWith("frame ")) return false;
    const [, dev, direction, hex = ""] = line.split(" ");
    if (dev !== "eth0" || direction !== "in") return true;
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    const asked = this.#asked;
    if (asked === null || !isAboutFlow(bytes)) return true;
    const outcome = outcomeOf(asked, end, bytes);
    if (outcome === null) return true;
    asked.told.push(outcome);
    this.#lastAt = performance.now();
    return true;
  }

  /** Everything that the node tells of itself; iptables' rules of either kind, and nftables'. */
  dumps(iptables: readonly NodeTool[], nft = false): Dumps {
    const dump = (file: string, ...argv: readonly string[]): { readonly file: string; readonly text: string } => ({
      file,
      text: this.run(argv),
    });
    const saved = (family: "iptables" | "ip6tables"): Dumps => {
      const tool = iptables.find((t) => t.startsWith(family));
      return tool === undefined ? {} : { [family]: dump(family, `${tool}-save`) };
    };
    return {
      links: dump("links", "ip", "-j", "link"),
      addrs: dump("addrs", "ip", "-j", "addr"),
      routes: dump("routes", "ip", "-j", "route"),
      routes6: dump("routes6", "ip", "-j", "-6", "route"),
      neighs: dump("neigh", "ip", "-j", "neigh"),
      ipsets: dump("ipsets", "ipset", "save"),
      ...saved("iptables"),
      ...saved("ip6tables"),
      ...(nft ? { nft: dump("nft", "nft", "list", "ruleset") } : {}),
    };
  }

  /**
   * Sends `count` first packets of a flow, each from the next source port, which no flow had before, and tells what became
   * of them, each kind once: "eth0 10.244.2.5:8080" and whether masqueraded, "node", "rejected", "dropped". Of so many,
   * `expected`, something is heard, if all is as it should be: a slow machine is given time for them.
   */
  async outcomes(from: End | "node", flow: Flow, count: number, expected: number): Promise<readonly string[]> {
    const told: string[] = [];
    this.#asked = { flow, count, told };
    const start = performance.now();
    if (from === "node") await this.#sendLocal(flow, count);
    else await this.#send(from, flow, count);
    for (;;) {
      const now = performance.now();
      const quiet = now - Math.max(this.#lastAt, start) >= SILENCE;
      if (quiet && (told.length >= expected || now - start > PATIENCE)) break;
      await delay(5);
    }
    this.#asked = null;
    if (told.length < count) told.push("dropped");
    return [...new Set(told)].sort();
  }

  async #send(end: End, flow: Flow, count: number): Promise<void> {
    const tap = this.#taps.get(end) as LineProcess;
    const sent = Array.from({ length: count }, (_, i) => {
      const skb = firstPacket({ ...flow, srcPort: flow.srcPort + i }, this.#world);
      const frame = ether(NODE_MAC[end], END_MAC[end], skb.protocol, skb.buf.slice(skb.network, skb.end));
      this.#world.pool.free(skb);
      return tap.ask(`send eth0 ${Buffer.from(frame).toString("hex")}`);
    });
    await Promise.all(sent);
  }

  /** Datagrams from the node's own sockets; an answer to them would not be seen. */
  async #sendLocal(flow: Flow, count: number): Promise<void> {
    for (let port = flow.srcPort; port < flow.srcPort + count; port++) {
      await this.#ask({ do: "udpBind", port, echo: false, six: isKey6(flow.dst) });
      await this.#ask({ do: "udpSend", port, to: formatIp(flow.dst), toPort: flow.dstPort, text: "" });
      await this.#ask({ do: "udpClose", port });
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#taps.values(), ...(this.#agent === null ? [] : [this.#agent])].map((p) => p.end()));
    process.removeListener("exit", this.#onExit);
    this.#remove();
  }

  #remove(): void {
    const names = ["node", ...ENDS];
    spawnSync("sh", ["-c", names.map((n) => `ip netns del ${this.#ns(n)} 2>/dev/null`).join("; ")]);
  }
}

const IP = ethernet.HEADER_LEN;

/** TCP, UDP, and ICMP that says that something cannot be reached; the rest is the network's own talk. */
function isAboutFlow(frame: Uint8Array): boolean {
  const type = ethernet.etherType(frame, 0);
  if (type !== ethernet.ETH_P_IP && type !== ethernet.ETH_P_IPV6) return false;
  const { protocol, transport } = headerOf(frame);
  if (protocol === ipv4.PROTO_TCP || protocol === ipv4.PROTO_UDP) return true;
  const unreachable = protocol === ipv4.PROTO_ICMP ? 3 : protocol === PROTO_ICMPV6 ? 1 : -1;
  return frame[transport] === unreachable;
}

function headerOf(frame: Uint8Array): { readonly protocol: number; readonly transport: number } {
  if (ipv4.version(frame, IP) === 4)
    return { protocol: ipv4.protocol(frame, IP), transport: IP + ipv4.headerLen(frame, IP) };
  return {
    protocol: ipv6.transportProtocol(frame, IP, frame.length),
    transport: ipv6.transportOffset(frame, IP, frame.length),
  };
}

/** Octets of an ICMP message before what it quotes, in both families. */
const ICMP_HEADER = 8;

/** Null for what belongs to an earlier flow, as an answer that is sent again. */
function outcomeOf({ flow, count }: Question, end: End, frame: Uint8Array): string | null {
  const { protocol, transport } = headerOf(frame);
  const ours = (port: number): boolean => port >= flow.srcPort && port < flow.srcPort + count;
  if (protocol !== ipv4.PROTO_TCP && protocol !== ipv4.PROTO_UDP)
    return ours(tupleOf(frame, transport + ICMP_HEADER, frame.length).srcPort) ? "rejected" : null;
  const { src, dst, dstPort } = tupleOf(frame, IP, frame.length);
  if (protocol === ipv4.PROTO_TCP) {
    const flags = tcp.flags(frame, transport);
    if ((flags & (tcp.RST | tcp.ACK)) !== 0) {
      if (!ours(dstPort)) return null;
      return (flags & tcp.RST) !== 0 ? "rejected" : "node";
    }
  }
  // A socket on all addresses answers datagrams from the one that the way back has.
  if (dst === flow.src && ours(dstPort)) return "node";
  return deliveredText(DEVICE[end], formatIpPort(dst, dstPort), src !== flow.src);
}

export function deliveredText(device: string, to: string, masqueraded: boolean): string {
  return `${device} ${to}${masqueraded ? " masqueraded" : ""}`;
}
