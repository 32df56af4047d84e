/**
 * What a node's rules do to the first packet of a flow: the real hooks are run over a real packet, once for each outcome
 * that chance allows, and the answers are put together.
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import {
  NF_ACCEPT,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_REJECT,
} from "../../dataplane/netfilter/hooks.ts";
import { netfilterOf } from "../../dataplane/netfilter/restore-op.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { Skb } from "../../dataplane/skb/skb.ts";
import type { PacketTrace, TracedRule, TraceStep } from "../../dataplane/skb/trace.ts";
import { u16 } from "../../dataplane/wire/bytes.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { formatIpv4, type Ipv4Addr, parseIpv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { contains4, parsePrefix4 } from "../../dataplane/wire/prefix.ts";
import { Choices } from "../trace/choices.ts";
import { type Flow, firstPacket, formatFlow } from "../trace/first-packet.ts";
import type { ProxyConfig } from "./config.ts";

export type FlowVerdict = {
  readonly flow: string;
  /** dnat: to one of `endpoints`; reject and drop; accept: delivered as it is; none: no rule is about it. */
  readonly verdict: "dnat" | "reject" | "drop" | "accept" | "none";
  /** "ip:port", sorted. */
  readonly endpoints: readonly string[];
  /** Whether the source address is replaced; where the source is one endpoint of several, as for the others. */
  readonly masquerade: boolean;
};

type Outcome = {
  readonly verdict: FlowVerdict["verdict"];
  readonly endpoint: string | null;
  readonly masquerade: boolean;
  /** The endpoint is the source itself. */
  readonly hairpin: boolean;
};

/** The rules that the packet matched, and nothing else of its trace. */
class MatchedRules implements PacketTrace {
  readonly rules: TracedRule[] = [];

  report(_ns: NetNs, _skb: Skb, step: TraceStep): void {
    if (step.step === "hook") this.rules.push(...step.rules);
  }

  answer(): null {
    return null;
  }
}

/** The node's address where none was given (TEST-NET-1, RFC 5737). */
const SOME_ADDRESS = "192.0.2.1";

/** A node with nothing on it but its addresses and these rules. */
export class FlowEvaluator {
  readonly #host: Host;
  readonly #world: World;
  readonly #config: ProxyConfig;

  private constructor(host: Host, config: ProxyConfig) {
    this.#host = host;
    this.#world = host.world;
    this.#config = config;
  }

  /** Loads iptables-restore text on a node with these addresses, the primary first. */
  static async load(
    text: string,
    nodeIps: readonly string[],
    config: ProxyConfig,
    source = "kube-proxy",
  ): Promise<FlowEvaluator> {
    const host = new Host(new World(1), "node");
    const backend = new EmulatedBackend(host);
    const netns = "host";
    const pods = config.bridgeInterface === "" ? `${config.interfaceNamePrefix || "cni"}0` : config.bridgeInterface;
    const given = nodeIps.filter((ip) => parseIpv4(ip) !== undefined);
    const addresses = given.length > 0 ? given : [SOME_ADDRESS];
    await backend.apply([
      { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
      { op: "link.add", netns, name: "eth0", kind: "dummy", up: true },
      { op: "link.add", netns, name: pods, kind: "dummy", up: true },
      ...addresses.map((ip) => ({ op: "addr.add", netns, dev: "eth0", address: `${ip}/32` }) as const),
      {
        op: "route.add",
        netns,
        dst: "default",
        dev: "eth0",
        ...(addresses[0] === undefined ? {} : { src: addresses[0] }),
      },
      { op: "iptables.restore", netns, family: "ipv4", text, noflush: true, source },
    ]);
    return new FlowEvaluator(host, config);
  }

  evaluate(flow: Flow): FlowVerdict {
    const choices = new Choices();
    const outcomes: Outcome[] = [];
    this.#world.chance = choices.chance;
    do {
      netfilterOf(this.#host.root)?.conntrack.deleteWhere(() => true);
      outcomes.push(this.#once(flow));
    } while (choices.next());
    const endpoints = new Set(outcomes.flatMap((o) => (o.endpoint === null ? [] : [o.endpoint])));
    const verdict = outcomes.find((o) => o.verdict === "dnat")?.verdict ?? outcomes[0]?.verdict ?? "none";
    const others = outcomes.filter((o) => !o.hairpin);
    const masquerade = (others.length > 0 ? others : outcomes).some((o) => o.masquerade);
    return { flow: formatFlow(flow), verdict, endpoints: [...endpoints].sort(byAddress), masquerade };
  }

  #once(flow: Flow): Outcome {
    const ns = this.#host.root;
    const skb = firstPacket(flow, this.#world);
    const matched = new MatchedRules();
    skb.trace = matched;
    try {
      const outcome = this.#walk(flow, skb);
      const masquerade = matched.rules.some((r) => /-j (MASQUERADE|SNAT)\b/.test(r.text));
      return { ...outcome, masquerade, hairpin: outcome.endpoint?.split(":")[0] === formatIpv4(flow.src) };
    } finally {
      ns.world.pool.free(skb);
    }
  }

  #walk(flow: Flow, skb: Skb): Pick<Outcome, "verdict" | "endpoint"> {
    const ns = this.#host.root;
    const nf = ns.nf;
    if (nf === null) return { verdict: "none", endpoint: null };
    const fromHere = ns.fib.dst(flow.src).type === "local";
    const output = ns.dev("eth0") ?? null;
    const lo = ns.dev("lo") ?? null;
    const first = fromHere
      ? nf.hook(ns, NF_INET_LOCAL_OUT, skb, null, ns.fib.dst(flow.dst).type === "local" ? lo : output)
      : nf.hook(ns, NF_INET_PRE_ROUTING, skb, this.#deviceOf(flow.src), null);
    if (first !== NF_ACCEPT) return ended(first);
    const dst = ipv4.dst(skb.buf, skb.network);
    const port = u16(skb.buf, skb.transport + 2);
    const moved = dst !== flow.dst || port !== flow.dstPort;
    skb.dst = ns.fib.dst(dst);
    const local = skb.dst.type === "local";
    if (!fromHere) {
      const next = local
        ? nf.hook(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)
        : nf.hook(ns, NF_INET_FORWARD, skb, skb.dev, output);
      if (next !== NF_ACCEPT) return ended(next);
    }
    if (!local || fromHere) {
      const last = nf.hook(ns, NF_INET_POST_ROUTING, skb, skb.dev, local ? lo : output);
      if (last !== NF_ACCEPT) return ended(last);
    }
    if (moved) return { verdict: "dnat", endpoint: `${formatIpv4(dst)}:${port}` };
    return { verdict: local ? "accept" : "none", endpoint: null };
  }

  /** Pods come in by their bridge, the rest by the node's card. */
  #deviceOf(src: Ipv4Addr): ReturnType<Host["root"]["dev"]> & object {
    const ns = this.#host.root;
    const pods = this.#config.clusterCIDR.split(",").some((text) => {
      const prefix = parsePrefix4(text.trim());
      return prefix !== undefined && contains4(prefix, src);
    });
    const eth0 = ns.dev("eth0");
    const bridge = [...ns.devs.values()].find((d) => d.name !== "lo" && d.name !== "eth0");
    const dev = pods && bridge !== undefined ? bridge : eth0;
    if (dev === undefined) throw new Error("the evaluator's node lost its devices");
    return dev;
  }
}

function ended(verdict: number): { verdict: "reject" | "drop"; endpoint: null } {
  return { verdict: verdict === NF_REJECT ? "reject" : "drop", endpoint: null };
}

function byAddress(a: string, b: string): number {
  const key = (text: string): number => (parseIpv4(text.split(":")[0] ?? "") ?? 0) * 65536 + Number(text.split(":")[1]);
  return key(a) - key(b);
}
