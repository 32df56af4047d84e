/**
 * userspace mode, as it was until Kubernetes 1.25: every Service port has a relay on the node, rules lead its traffic
 * there, and the relay opens connections of its own to the endpoints, so that these see the node and not the client.
 *
 * One address family alone, as then: kube-proxy 1.25 checked whether a node can do both in the other modes only
 * (cmd/kube-proxy/app/server_others.go). Only ready endpoints count; traffic policies, topology, source ranges and SCTP are not known here.
 */
import type { NetNs } from "../../../dataplane/netns/netns.ts";
import { type Family, familyOf } from "../../api/ip.ts";
import { type Jump, missingJumps } from "../jumps.ts";
import type { ModeContext, ProxyMode, ProxyNode, SyncStats } from "../mode.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import type { ServicePortInfo } from "../service-tracker.ts";
import type { Relay } from "./relay.ts";
import { changeText, fullText, type PortalRules, portalRules, USERSPACE_JUMPS } from "./rules.ts";
import { TcpRelay } from "./tcp-relay.ts";
import { UdpRelay } from "./udp-relay.ts";

const netns = "host";
/** Where a node has told no address. */
const NO_ADDRESS: Readonly<Record<Family, string>> = { 4: "127.0.0.1", 6: "::1" };

type Portal = { readonly info: ServicePortInfo; readonly relay: Relay; readonly rules: PortalRules };

export class UserspaceMode implements ProxyMode {
  readonly #context: ModeContext;
  readonly #ns: NetNs;
  /** Service, then "TCP name". */
  readonly #portals: Map<string, Map<string, Portal>> = new Map();
  #hostIp: string;
  #all = false;

  /** `ns` is where the relays' sockets are. */
  constructor(context: ModeContext, ns: NetNs) {
    this.#context = context;
    this.#ns = ns;
    this.#hostIp = hostIpOf(context.node, context.family);
  }

  setNode(node: ProxyNode): void {
    this.#hostIp = hostIpOf(node, this.#context.family);
    this.#all = true;
  }

  async sync(full: boolean): Promise<SyncStats> {
    const { backend, node, family } = this.#context;
    const { changed, gone, come } = this.#updateAll();
    const protocol = family === 4 ? "ipv4" : "ipv6";
    const saved = full ? await backend.iptablesSave(netns, protocol) : "";
    const text = full ? this.#fullText(missingJumps(saved, USERSPACE_JUMPS)) : changeText(gone, come);
    const source = `kube-proxy on ${node.name}`;
    if (text !== "")
      await backend.apply([{ op: "iptables.restore", netns, family: protocol, text, noflush: true, source }]);
    const kind = full ? "full" : changed === 0 ? "none" : "partial";
    return { kind, services: changed, octets: text.length };
  }

  originOf(chain: string, comment: string): RuleOrigin | undefined {
    if (!/^KUBE-(PORTALS|NODEPORT)-/.test(chain)) return undefined;
    const m = /^([a-z0-9.-]+)\/([a-z0-9.-]+)(?::([a-z0-9.-]+))?$/.exec(comment);
    if (m === null) return { kind: "kube-proxy", namespace: "kube-system", name: "kube-proxy", detail: comment };
    const detail = m[3] === undefined ? "" : `port ${m[3]}`;
    return { kind: "Service", namespace: m[1] ?? "", name: m[2] ?? "", detail };
  }

  relayedTo(protocol: "TCP" | "UDP", port: number): readonly string[] | undefined {
    for (const portals of this.#portals.values())
      for (const { info, relay } of portals.values())
        if (relay.port === port && info.protocol === protocol) return relay.balancer.endpoints;
    return undefined;
  }

  /** All that iptables-restore is to be given on a node without rules; relays are opened for it. */
  render(): string {
    this.#updateAll();
    return this.#fullText(USERSPACE_JUMPS);
  }

  #fullText(missing: readonly Jump[]): string {
    const rules = [...this.#portals.keys()]
      .sort()
      .flatMap((key) => [...(this.#portals.get(key)?.values() ?? [])].map((p) => p.rules));
    return fullText(rules, missing);
  }

  #updateAll(): {
    readonly changed: number;
    readonly gone: readonly PortalRules[];
    readonly come: readonly PortalRules[];
  } {
    const { services, endpoints } = this.#context;
    const changed = new Set([...services.takeChanged(), ...endpoints.takeChanged()]);
    if (this.#all) for (const key of [...services.keys(), ...this.#portals.keys()]) changed.add(key);
    this.#all = false;
    const [gone, come]: [PortalRules[], PortalRules[]] = [[], []];
    for (const key of [...changed].sort()) this.#update(key, gone, come);
    return { changed: changed.size, gone, come };
  }

  /** A port that stays keeps its relay, and with it the place in the round and its clients. */
  #update(key: string, gone: PortalRules[], come: PortalRules[]): void {
    const old = this.#portals.get(key) ?? new Map<string, Portal>();
    const now = new Map<string, Portal>();
    for (const info of this.#context.services.portsOf(key)) {
      if (info.protocol === "SCTP") continue;
      const name = `${info.protocol} ${info.portName}`;
      const known = old.get(name);
      old.delete(name);
      const relay = known?.relay ?? this.#open(info);
      const ready = this.#context.endpoints.endpointsOf(key, info.id.port).filter((e) => e.ready);
      relay.balancer.set(
        ready.map((e) => e.text),
        info.stickySeconds,
      );
      const rules = portalRules(info, relay.port, this.#hostIp);
      now.set(name, { info, relay, rules });
      if (known !== undefined && JSON.stringify(known.rules) === JSON.stringify(rules)) continue;
      if (known !== undefined) gone.push(known.rules);
      come.push(rules);
    }
    for (const { relay, rules } of old.values()) {
      relay.close();
      gone.push(rules);
    }
    if (now.size === 0) this.#portals.delete(key);
    else this.#portals.set(key, now);
  }

  #open({ protocol, portName }: ServicePortInfo): Relay {
    return protocol === "UDP" ? UdpRelay.open(this.#ns, portName) : TcpRelay.open(this.#ns, portName);
  }
}

function hostIpOf(node: ProxyNode, family: Family): string {
  return node.ips.find((ip) => familyOf(ip) === family) ?? NO_ADDRESS[family];
}
