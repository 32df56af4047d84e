/**
 * What a node does with a flow's first packet, from nothing but its dumps: the packet is put on the interface that it would
 * come in by, and walks the emulated stack with exactly those addresses, routes and rules.
 *
 * Taken as given: forwarding is on, neighbours answer unless a dump says that they did not, and whatever is for the node
 * itself finds a listener. Left out: policy rules, bridges as bridges (a bridge here is an interface that takes packets).
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { localOutEither } from "../../dataplane/ip6/either.ts";
import { neighFor } from "../../dataplane/neigh/neigh.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { type NetlinkError, NetlinkError as NetlinkFailure, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { completeChecksum } from "../../dataplane/skb/partial-checksum.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { SctpListener } from "../../dataplane/sock/sctp.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIp } from "../../dataplane/wire/ip-key.ts";
import { InputError, type InputIssue } from "../manifests/input-error.ts";
import { deliver, type Flow, firstPacket } from "../trace/first-packet.ts";
import type { Names } from "../trace/hops.ts";
import { judge } from "../trace/judge.ts";
import type { Endpoint, TraceResult } from "../trace/result.ts";
import { type Event, Track } from "../trace/tracer.ts";
import { unknownNftRulesOf, unknownRulesOf } from "../trace/unknown-rules.ts";
import { type Dumps, opsOf, silentOf } from "./dumps.ts";

export type ExplainOptions = {
  /** The interface that the packet comes in by; without it, the one that leads back to its source. */
  readonly input?: string;
  readonly allRules?: boolean;
  readonly seed?: number;
};

export type LoadOptions = {
  /** Of what rules leave to chance; 1. */
  readonly seed?: number;
  readonly lenient?: boolean;
};

const NODE = "node";
/** Milliseconds after which a neighbour that does not answer was given up. */
const PATIENCE = 4000;

/** A node rebuilt from its dumps. */
export class ExplainedNode {
  readonly #host: Host;
  /** Rules that match nothing because they are not known, where the dumps were read leniently. */
  readonly warnings: readonly InputIssue[];

  private constructor(host: Host, warnings: readonly InputIssue[]) {
    this.#host = host;
    this.warnings = warnings;
  }

  /**
   * Throws InputError for dumps that are malformed or contradict each other, and for rules with matches or targets that are
   * not known, unless `lenient`.
   */
  static async load(dumps: Dumps, options: LoadOptions = {}): Promise<ExplainedNode> {
    const { seed = 1, lenient = false } = options;
    const host = new Host(new World(seed), NODE);
    const backend = new EmulatedBackend(host);
    for (const op of opsOf(dumps, lenient)) {
      try {
        await backend.apply([op]);
      } catch (cause) {
        if (cause instanceof NetlinkFailure) throw inputErrorOf(cause, dumps);
        throw cause;
      }
    }
    // Nobody is there to answer ARP: neighbours need not be asked, but for those that are known not to answer.
    for (const { dev: name, address } of silentOf(dumps)) {
      const dev = host.root.dev(name);
      if (dev !== undefined) neighFor(dev, address);
    }
    for (const dev of host.root.devs.values()) dev.noarp = true;
    return new ExplainedNode(host, lenient ? warningsOf(host.root, dumps) : []);
  }

  explain(flow: Flow, options: ExplainOptions = {}): TraceResult {
    const ns = this.#host.root;
    const world = this.#host.world;
    const skb = firstPacket(flow, world);
    let reply: Track | null = null;
    const forward = new Track((track) => {
      if (reply !== null) return false;
      reply = track;
      return true;
    });
    const listeners = new Listeners(ns, flow.protocol);
    skb.trace = {
      report: (at, packet, step) => {
        forward.report(at, packet, step);
        listeners.on(forward.events.at(-1)?.tuple.dstPort ?? 0);
      },
      answer: () => forward.answer(),
    };
    try {
      if (ns.fib.isLocal(flow.src)) {
        skb.dst = ns.fib.dst(flow.dst);
        completeChecksum(skb);
        localOutEither(ns, skb);
      } else {
        const dev = this.#inputOf(flow, options.input);
        dev.up = true;
        deliver(dev, skb);
      }
      world.loop.run({ deadline: world.loop.time + PATIENCE });
    } finally {
      listeners.close();
    }
    return this.#judge(flow, forward, reply, options);
  }

  #judge(flow: Flow, forward: Track, reply: Track | null, options: ExplainOptions): TraceResult {
    const names: Names = {
      allRules: options.allRules === true,
      placeOf: () => "host",
      originOfRule: (_node, rule) =>
        /--comment (?:"([^"]*)"|(\S+))/
          .exec(rule.text)
          ?.slice(1)
          .find((t) => t !== undefined) ?? "",
      originOfRoute: () => "",
    };
    const source: Endpoint = {
      kind: "External",
      namespace: "",
      name: formatIp(flow.src),
      node: "",
      ip: formatIp(flow.src),
      port: flow.srcPort,
    };
    const observed = { forward, reply, answered: false, error: reply === null ? null : "ECONNREFUSED", recorder: null };
    const question = { protocol: flow.protocol, source, address: flow.dst, port: flow.dstPort };
    const { result } = judge(observed, question, names, (event) => end("Node", NODE, event));
    // An answer that left the node is a refusal, as far as the node goes.
    if (result.verdict === "dropped" && leaves(reply)) {
      return { ...result, verdict: "rejected", reply: { ...result.reply, verdict: "delivered" } };
    }
    if (result.deliveredTo !== null || result.reason?.code !== "ETIMEDOUT") return withoutReply(result);
    const out = forward.last("out");
    if (out === undefined || out.step.step !== "out") return result;
    const first = forward.events[0];
    const masqueraded = first !== undefined && out.tuple.src !== first.tuple.src;
    const deliveredTo = end("Device", out.step.dev, out);
    return withoutReply({ ...result, verdict: "delivered", reason: null, deliveredTo, masqueraded });
  }

  #inputOf(flow: Flow, name: string | undefined): NetDev {
    const ns = this.#host.root;
    const dev = name === undefined ? ns.fib.dst(flow.src).dev : ns.dev(name);
    if (dev !== null && dev !== undefined && dev.name !== "lo") return dev;
    const found = name ?? `no route to ${formatIp(flow.src)}`;
    const names = [...ns.devsByName.keys()].filter((n) => n !== "lo").join(", ");
    throw new InputError({
      file: "command line",
      line: 0,
      field: "--in",
      found,
      expected: `one of ${names || "(no interfaces)"}`,
    });
  }
}

/** Listeners of the node, one on each port that the packet is for on its way. */
class Listeners {
  readonly #ns: NetNs;
  readonly #protocol: Flow["protocol"];
  readonly #sockets = new Map<number, { close(): void } | null>();

  constructor(ns: NetNs, protocol: Flow["protocol"]) {
    this.#ns = ns;
    this.#protocol = protocol;
  }

  on(port: number): void {
    if (port === 0 || this.#sockets.has(port)) return;
    this.#sockets.set(port, this.#open(port));
  }

  #open(port: number): { close(): void } | null {
    switch (this.#protocol) {
      case "TCP":
        return TcpListener.listen(this.#ns, ANY, port, () => ({ data: () => {} }));
      case "UDP":
        return UdpSocket.bind(this.#ns, ANY, port, { datagram: () => {} });
      case "SCTP":
        return SctpListener.listen(this.#ns, ANY, port);
    }
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket?.close();
  }
}

function warningsOf(ns: NetNs, { iptables, ip6tables }: Dumps): readonly InputIssue[] {
  return [
    ...unknownRulesOf(ns, 4, iptables?.file ?? ""),
    ...unknownRulesOf(ns, 6, ip6tables?.file ?? ""),
    ...unknownNftRulesOf(ns),
  ];
}

function leaves(reply: Track | null): boolean {
  return reply !== null && reply.last("out") !== undefined && reply.last("drop") === undefined;
}

function end(kind: string, name: string, { tuple }: Event): Endpoint {
  const port = tuple.dstPort === 0 ? null : tuple.dstPort;
  return { kind, namespace: "", name, node: NODE, ip: formatIp(tuple.dst), port };
}

/** Answers of the node's stand-in listener say nothing about the node. */
function withoutReply(result: TraceResult): TraceResult {
  return result.verdict === "delivered" ? { ...result, reply: { verdict: "none", hops: [] } } : result;
}

/** What each dump is called, and what it should be. */
const EXPECTED: Readonly<Record<string, readonly [string, string]>> = {
  "iptables.restore": ["rules", "what iptables-save prints"],
  "ip6tables.restore": ["rules", "what ip6tables-save prints"],
  "ipset.restore": ["sets", "what ipset save prints"],
  "ipvs.restore": ["virtual services", "what ipvsadm -Sn prints"],
  "nft.apply": ["rules", "what nft list ruleset prints"],
};

function inputErrorOf(cause: NetlinkError, dumps: Dumps): InputError {
  const op = cause.failed;
  const file = op == null ? "" : fileOf(op, dumps);
  const six = op?.op === "iptables.restore" && op.family === "ipv6";
  const [what, usual] = EXPECTED[six ? "ip6tables.restore" : (op?.op ?? "")] ?? [
    op?.op ?? "dump",
    "a dump that fits together",
  ];
  const { message } = cause;
  const place = message.startsWith(`${file}:`) ? /^:(\d+)(?::(\d+))?: /.exec(message.slice(file.length)) : null;
  const said = place === null ? message : message.slice(file.length + place[0].length);
  // Some messages say by themselves what they found and what they expected.
  const [, where = "", found = said, expected = usual] = /^(?:(.*): )?found (.+), expected (.+)$/.exec(said) ?? [];
  const field = where === "" ? what : `${what}: ${where}`;
  const column = place?.[2] === undefined ? {} : { column: Number(place[2]) };
  return new InputError({ file, line: Number(place?.[1] ?? 0), ...column, field, found, expected }, { cause });
}

/** The dump that an operation came from. */
function fileOf(op: RtnlOp, dumps: Dumps): string {
  switch (op.op) {
    case "iptables.restore":
    case "ipset.restore":
    case "ipvs.restore":
    case "nft.apply":
      return op.source ?? "";
    case "neigh.replace":
      return dumps.neighs?.file ?? "";
    case "addr.add":
      return dumps.addrs?.file ?? "";
    case "link.add":
      return dumps.links?.file ?? dumps.addrs?.file ?? "";
    default: {
      const { routes, routes6 } = dumps;
      const six = op.op === "route.replace" && op.dst.includes(":");
      return (six ? (routes6 ?? routes) : (routes ?? routes6))?.file ?? "";
    }
  }
}
