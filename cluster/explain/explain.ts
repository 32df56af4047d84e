/**
 * What a node does with a flow's first packet, from nothing but its dumps: the packet is put on the interface that it would
 * come in by, and walks the emulated stack with exactly those addresses, routes and rules.
 *
 * Taken as given: forwarding is on, neighbours answer unless a dump says that they did not, and whatever is for the node
 * itself finds a listener. Left out: policy rules, bridges as bridges (a bridge here is an interface that takes packets), IPv6.
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { localOut } from "../../dataplane/ip/output.ts";
import { neighFor } from "../../dataplane/neigh/neigh.ts";
import { type NetlinkError, NetlinkError as NetlinkFailure, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { completeChecksum } from "../../dataplane/skb/partial-checksum.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIpv4, ipv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { InputError } from "../manifests/input-error.ts";
import { deliver, type Flow, firstPacket, needIpv4 } from "../trace/first-packet.ts";
import type { Names } from "../trace/hops.ts";
import { judge } from "../trace/judge.ts";
import type { Endpoint, TraceResult } from "../trace/result.ts";
import { type Event, Track } from "../trace/tracer.ts";
import { type Dumps, opsOf, silentOf } from "./dumps.ts";

export type ExplainOptions = {
  /** The interface that the packet comes in by; without it, the one that leads back to its source. */
  readonly input?: string;
  readonly allRules?: boolean;
  readonly seed?: number;
};

const NODE = "node";
/** Milliseconds after which a neighbour that does not answer was given up. */
const PATIENCE = 4000;

/** A node rebuilt from its dumps. */
export class ExplainedNode {
  readonly #host: Host;

  private constructor(host: Host) {
    this.#host = host;
  }

  /** Throws InputError for dumps that are malformed or contradict each other. */
  static async load(dumps: Dumps, seed = 1): Promise<ExplainedNode> {
    const host = new Host(new World(seed), NODE);
    const backend = new EmulatedBackend(host);
    for (const op of opsOf(dumps)) {
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
      if (dev !== undefined) neighFor(dev, ipv4(address));
    }
    for (const dev of host.root.devs.values()) dev.noarp = true;
    return new ExplainedNode(host);
  }

  /** Throws InputError for a flow of IPv6: the dumps are read for IPv4. */
  explain(flow: Flow, options: ExplainOptions = {}): TraceResult {
    needIpv4(flow, "an IPv4 flow");
    const ns = this.#host.root;
    const world = this.#host.world;
    const skb = firstPacket(flow, world);
    let reply: Track | null = null;
    const forward = new Track((track) => {
      if (reply !== null) return false;
      reply = track;
      return true;
    });
    skb.trace = forward;
    const stop = this.#listen(flow);
    try {
      if (ns.fib.isLocal(flow.src)) {
        skb.dst = ns.fib.dst(flow.dst);
        completeChecksum(skb);
        localOut(ns, skb);
      } else {
        const dev = this.#inputOf(flow, options.input);
        dev.up = true;
        deliver(dev, skb);
      }
      world.loop.run({ deadline: world.loop.time + PATIENCE });
    } finally {
      stop();
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
      name: formatIpv4(flow.src),
      node: "",
      ip: formatIpv4(flow.src),
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
    const found = name ?? `no route to ${formatIpv4(flow.src)}`;
    const names = [...ns.devsByName.keys()].filter((n) => n !== "lo").join(", ");
    throw new InputError({
      file: "command line",
      line: 0,
      field: "--in",
      found,
      expected: `one of ${names || "(no interfaces)"}`,
    });
  }

  #listen({ protocol, dstPort }: Flow): () => void {
    const ns = this.#host.root;
    const sockets = [
      TcpListener.listen(ns, ANY, dstPort, () => ({ data: () => {} })),
      protocol === "UDP" ? UdpSocket.bind(ns, ANY, dstPort, { datagram: () => {} }) : null,
    ];
    return () => {
      for (const socket of sockets) socket?.close();
    };
  }
}

function leaves(reply: Track | null): boolean {
  return reply !== null && reply.last("out") !== undefined && reply.last("drop") === undefined;
}

function end(kind: string, name: string, { tuple }: Event): Endpoint {
  const port = tuple.dstPort === 0 ? null : tuple.dstPort;
  return { kind, namespace: "", name, node: NODE, ip: formatIpv4(tuple.dst), port };
}

/** Answers of the node's stand-in listener say nothing about the node. */
function withoutReply(result: TraceResult): TraceResult {
  return result.verdict === "delivered" ? { ...result, reply: { verdict: "none", hops: [] } } : result;
}

function inputErrorOf(cause: NetlinkError, dumps: Dumps): InputError {
  const op = cause.failed;
  const line = Number(/:(\d+):/.exec(cause.message)?.[1] ?? 0);
  return new InputError(
    {
      file: op == null ? "" : fileOf(op, dumps),
      line,
      field: op?.op ?? "dump",
      found: cause.message,
      expected: "a dump that fits together",
    },
    { cause },
  );
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
    default:
      return dumps.routes?.file ?? "";
  }
}
