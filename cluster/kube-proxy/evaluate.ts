/**
 * What kube-proxy of a node does to the first packet of a flow, in any mode: a real packet walks an emulated node on which
 * kube-proxy has written its state, once for each outcome that is possible, and the answers are put together.
 *
 * The node has its addresses, a card towards everything and an interface towards its pods, and nothing else.
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { Host } from "../../dataplane/host/host.ts";
import { World } from "../../dataplane/host/world.ts";
import { localOutEither } from "../../dataplane/ip6/either.ts";
import { ipvsOf } from "../../dataplane/ipvs/text.ts";
import { netfilterOf } from "../../dataplane/netfilter/restore-op.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { DropReason } from "../../dataplane/wire/drop-reason.ts";
import { formatIpPort, type IpKey, inPrefix, parseIp, parsePrefix } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { type Family, familyOf, nth, parseCidr } from "../api/ip.ts";
import type { KubeObject } from "../api/meta.ts";
import { nodeObject } from "../kubelet/node-object.ts";
import { InputError, type InputIssue } from "../manifests/input-error.ts";
import { Choices } from "../trace/choices.ts";
import { deliver, type Flow, familyOfFlow, firstPacket, formatFlow } from "../trace/first-packet.ts";
import { Track } from "../trace/tracer.ts";
import { unknownRulesOf } from "../trace/unknown-rules.ts";
import type { ProxyConfig } from "./config.ts";
import { KubeProxy } from "./kube-proxy.ts";
import type { ProxyNode } from "./mode.ts";

export type FlowVerdict = {
  readonly flow: string;
  /** dnat: to one of `endpoints`; reject and drop; accept: delivered as it is; none: nothing is about it. */
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

/** The node's address where none was given (TEST-NET-1, RFC 5737). */
const SOME_ADDRESS = "192.0.2.1";
const SOME_GATEWAY = "192.0.2.2/32";
/** The same of IPv6 (RFC 3849). */
const SOME_ADDRESS6 = "2001:db8::1";
const SOME_GATEWAY6 = "2001:db8::2/128";
const CARD = "eth0";
/** Longer than anything is remembered of an earlier packet: connections, session affinity. */
const FORGET = 7 * 86_400_000;
/** ipvs schedulers that decide by the packet and the weights alone, not by what came before. */
const FIXED_SCHEDULERS: readonly string[] = ["sh", "dh", "mh", "fo"];

export type RulesOptions = {
  /** What errors and warnings call the text. */
  readonly source?: string;
  readonly family?: Family;
  /** Rules with matches or targets that are not known match nothing, and are in `warnings`. */
  readonly lenient?: boolean;
};

export class FlowEvaluator {
  readonly #host: Host;
  readonly #world: World;
  readonly #config: ProxyConfig;
  readonly #families: readonly Family[];
  readonly #proxy: KubeProxy | null;
  /** Rules that match nothing because they are not known, where they were read leniently. */
  readonly warnings: readonly InputIssue[];

  private constructor(
    host: Host,
    config: ProxyConfig,
    families: readonly Family[],
    proxy: KubeProxy | null,
    warnings: readonly InputIssue[] = [],
  ) {
    this.warnings = warnings;
    this.#families = families;
    this.#host = host;
    this.#world = host.world;
    this.#config = config;
    this.#proxy = proxy;
  }

  /** A node on which kube-proxy has seen these Services and EndpointSlices. */
  static async ofObjects(
    objects: readonly KubeObject[],
    node: ProxyNode,
    config: ProxyConfig,
    randomFully = true,
  ): Promise<FlowEvaluator> {
    const { host, backend } = await bareNode(node.ips, config, node.podCidrs);
    const options = { nodeName: node.name, backend, config, randomFully, sockets: host.root };
    const { podCidrs, name, zone } = node;
    const ips = node.ips.length > 0 ? node.ips : [SOME_ADDRESS];
    // userspace mode has one family, that of the node's primary address.
    const families: readonly Family[] = config.mode === "userspace" ? [familyOf(ips[0] ?? "")] : [4, 6];
    const proxy = new KubeProxy({ ...options, families });
    const described = nodeObject({ name, ips, podCidrs, ...(zone && { zone }) });
    for (const object of [described, ...objects])
      proxy.keys({ type: "ADDED", object, previous: undefined, revision: 1 });
    await proxy.sync();
    return new FlowEvaluator(host, config, families, proxy);
  }

  /** A node with these rules, in the words of iptables-restore, or of ip6tables-restore. */
  static async ofRules(
    text: string,
    nodeIps: readonly string[],
    config: ProxyConfig,
    { source = "kube-proxy", family = 4, lenient = false }: RulesOptions = {},
  ): Promise<FlowEvaluator> {
    const { host, backend } = await bareNode(nodeIps, config, []);
    const protocol = family === 4 ? "ipv4" : "ipv6";
    const op = {
      op: "iptables.restore",
      netns: "host",
      family: protocol,
      text,
      noflush: true,
      lenient,
      source,
    } as const;
    await backend.apply([op]);
    const warnings = lenient ? unknownRulesOf(host.root, family, source) : [];
    return new FlowEvaluator(host, config, [family], null, warnings);
  }

  /** Throws InputError for a flow of a family that no rules here are about. */
  evaluate(flow: Flow): FlowVerdict {
    this.#checkFamily(flow);
    const outcomes = this.#eachDestination(flow, () => this.#eachChance(flow)).flatMap((o) => this.#relayed(flow, o));
    const endpoints = new Set(outcomes.flatMap((o) => (o.endpoint === null ? [] : [o.endpoint])));
    const verdict = outcomes.find((o) => o.verdict === "dnat")?.verdict ?? outcomes[0]?.verdict ?? "none";
    const others = outcomes.filter((o) => !o.hairpin);
    const masquerade = (others.length > 0 ? others : outcomes).some((o) => o.masquerade);
    return { flow: formatFlow(flow), verdict, endpoints: [...endpoints].sort(byAddress), masquerade };
  }

  #checkFamily(flow: Flow): void {
    const [only, other] = this.#families;
    if (other !== undefined || familyOfFlow(flow) === only) return;
    const why = this.#proxy === null ? "the rules are" : "userspace mode is";
    const expected = `an IPv${only} flow: ${why} of one family here`;
    throw new InputError({ file: "flow", line: 0, field: "family", found: formatFlow(flow), expected });
  }

  /** userspace: what came to a relay goes on to an endpoint, from the node's address. */
  #relayed(flow: Flow, outcome: Outcome): readonly Outcome[] {
    const port = Number(outcome.endpoint?.split(":").at(-1) ?? 0);
    const behind = flow.protocol === "SCTP" ? undefined : this.#proxy?.relayedTo(flow.protocol, port);
    if (outcome.verdict !== "dnat" || behind === undefined) return [outcome];
    if (behind.length === 0) return [{ verdict: "reject", endpoint: null, masquerade: false, hairpin: false }];
    return behind.map((endpoint) => ({ ...outcome, endpoint, masquerade: true }));
  }

  /** ipvs: once for each destination that its scheduler could choose, with the others out of the way. */
  #eachDestination(flow: Flow, run: () => readonly Outcome[]): readonly Outcome[] {
    const protocol = { TCP: ipv4.PROTO_TCP, UDP: ipv4.PROTO_UDP, SCTP: ipv4.PROTO_SCTP }[flow.protocol];
    const service = ipvsOf(this.#host.root)?.services.lookup(protocol, flow.dst | 0, flow.dstPort, 0) ?? null;
    if (service === null || FIXED_SCHEDULERS.includes(service.scheduler.name)) return run();
    const usable = service.destinations.filter((d) => d.usable);
    if (usable.length < 2) return run();
    const weights = service.destinations.map((d) => d.weight);
    const reset = (weightOf: (i: number) => number): void => {
      for (const [i, d] of service.destinations.entries()) d.weight = weightOf(i);
      service.scheduler.changed(service);
    };
    try {
      return usable.flatMap((one) => {
        reset((i) => (service.destinations[i] === one ? one.weight || 1 : 0));
        return run();
      });
    } finally {
      reset((i) => weights[i] ?? 0);
    }
  }

  /** Once for each way in which chance could decide. */
  #eachChance(flow: Flow): readonly Outcome[] {
    const choices = new Choices();
    const outcomes: Outcome[] = [];
    const before = this.#world.chance;
    this.#world.chance = choices.chance;
    try {
      do {
        outcomes.push(this.#once(flow));
        netfilterOf(this.#host.root)?.conntrack.deleteWhere(() => true);
        this.#world.loop.run({ deadline: this.#world.loop.time + FORGET });
      } while (choices.next());
    } finally {
      this.#world.chance = before;
    }
    return outcomes;
  }

  #once(flow: Flow): Outcome {
    const ns = this.#host.root;
    const skb = firstPacket(flow, this.#world);
    let refused = false;
    const track = new Track(() => {
      refused = true;
      return false;
    });
    skb.trace = track;
    if (ns.fib.isLocal(flow.src)) {
      skb.dst = ns.fib.dst(flow.dst);
      localOutEither(ns, skb);
    } else deliver(this.#deviceOf(flow.src), skb);
    this.#world.loop.runNow();
    return this.#outcomeOf(flow, track, refused);
  }

  #outcomeOf(flow: Flow, track: Track, refused: boolean): Outcome {
    const end = track.events.findLast((e) => ["out", "deliver", "drop"].includes(e.step.step));
    if (end === undefined) return { verdict: "drop", endpoint: null, masquerade: false, hairpin: false };
    const unheard = end.step.step === "drop" && end.step.reason === DropReason.NO_SOCKET;
    const masquerade = track.events.some(
      (e) => e.step.step === "hook" && e.step.rules.some((r) => masquerades(r.text)),
    );
    if (end.step.step === "drop" && !unheard)
      return { verdict: refused ? "reject" : "drop", endpoint: null, masquerade, hairpin: false };
    const { dst, dstPort } = end.tuple;
    if (dst === flow.dst && dstPort === flow.dstPort)
      return { verdict: end.step.step === "out" ? "none" : "accept", endpoint: null, masquerade, hairpin: false };
    return { verdict: "dnat", endpoint: formatIpPort(dst, dstPort), masquerade, hairpin: dst === flow.src };
  }

  /** Pods come in by their interface, the rest by the node's card. */
  #deviceOf(src: IpKey): NetDev {
    const ns = this.#host.root;
    const pods = this.#config.clusterCIDR.split(",").some((text) => {
      const prefix = parsePrefix(text.trim());
      return prefix !== undefined && inPrefix(prefix, src);
    });
    const dev = ns.dev(pods ? podDevice(this.#config) : CARD);
    if (dev === undefined) throw new Error("the evaluator's node lost its devices");
    return dev;
  }
}

function podDevice(config: ProxyConfig): string {
  return config.bridgeInterface === "" ? `${config.interfaceNamePrefix || "cni"}0` : config.bridgeInterface;
}

/** A node with these addresses, the first of each family its primary one. */
async function bareNode(
  ips: readonly string[],
  config: ProxyConfig,
  podCidrs: readonly string[],
): Promise<{ readonly host: Host; readonly backend: EmulatedBackend }> {
  const host = new Host(new World(1), "node");
  const backend = new EmulatedBackend(host);
  const netns = "host";
  const pods = podDevice(config);
  const ops: RtnlOp[] = [
    { op: "sysctl.set", netns, key: "net.ipv4.ip_forward", value: "1" },
    { op: "sysctl.set", netns, key: "net.ipv6.conf.all.forwarding", value: "1" },
    // What comes by the card leaves by it; a redirect would use up what the limit of ICMP errors leaves to REJECT.
    { op: "sysctl.set", netns, key: "net.ipv4.conf.all.send_redirects", value: "0" },
    { op: "link.add", netns, name: CARD, kind: "dummy", up: true },
    { op: "link.add", netns, name: pods, kind: "dummy", up: true },
    ...addressOps(4, ips, podCidrs, pods, [SOME_ADDRESS, SOME_GATEWAY]),
    ...addressOps(6, ips, podCidrs, pods, [SOME_ADDRESS6, SOME_GATEWAY6]),
  ];
  await backend.apply([{ op: "link.set", netns, name: "lo", up: true }, ...ops]);
  // Nobody is there to answer ARP.
  for (const dev of host.root.devs.values()) dev.noarp = true;
  return { host, backend };
}

/** The addresses of one family, a default route, and the gateway of the pods. */
function addressOps(
  family: Family,
  ips: readonly string[],
  podCidrs: readonly string[],
  pods: string,
  [someAddress, someGateway]: readonly [string, string],
): readonly RtnlOp[] {
  const netns = "host";
  const [bits, everywhere] = family === 4 ? [32, "0.0.0.0/0"] : [128, "::/0"];
  const given = ips.filter((ip) => familyOf(ip) === family);
  const addresses = given.length > 0 ? given : [someAddress];
  const gateways = podCidrs.flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr === null || cidr.family !== family ? [] : [`${nth(cidr, 1)}/${cidr.bits}`];
  });
  return [
    ...addresses.map((ip): RtnlOp => ({ op: "addr.add", netns, dev: CARD, address: `${ip}/${bits}` })),
    { op: "route.add", netns, dst: everywhere, dev: CARD, ...(addresses[0] !== undefined && { src: addresses[0] }) },
    ...(gateways.length > 0 ? gateways : [someGateway]).map(
      (address): RtnlOp => ({ op: "addr.add", netns, dev: pods, address }),
    ),
  ];
}

/** Whether a rule's target replaces the source address; its comment does not count. */
function masquerades(rule: string): boolean {
  return /-j (MASQUERADE|SNAT)\b|\b(masquerade|snat)\b/.test(rule.replace(/(--)?comment "[^"]*"/g, ""));
}

/** By address as a number, then by port; texts of one family. */
function byAddress(a: string, b: string): number {
  const [[hostA = "", portA], [hostB = "", portB]] = [splitEnd(a), splitEnd(b)];
  if (hostA === hostB) return Number(portA) - Number(portB);
  if (a.startsWith("[")) return hostA < hostB ? -1 : 1;
  return (parseIp(hostA) ?? 0) - (parseIp(hostB) ?? 0);
}

function splitEnd(text: string): readonly string[] {
  const at = text.lastIndexOf(":");
  return [text.slice(0, at), text.slice(at + 1)];
}
