/**
 * The load balancer of the emulated provider: what the network outside must know for the addresses that Services have there.
 *
 * Load balancer addresses of mode VIP and external IPs are routed to a node, as BGP or ARP announcements would have it; with
 * external policy Local to one that has a ready endpoint, and to none where there is none. Addresses of mode Proxy belong
 * to the router, which passes their connections on to node ports as its own.
 */
import { EmulatedBackend } from "../../backend/emulated.ts";
import type { Host } from "../../dataplane/host/host.ts";
import type { RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";
import { type EndpointSlice, serviceNameOf } from "../api/endpoint-slice.ts";
import { familyOf } from "../api/ip.ts";
import { keyOf, splitKey } from "../api/meta.ts";
import { nodeIps } from "../api/node.ts";
import type { Service } from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { ROUTER_OUTSIDE } from "./outside.ts";

/** Where addresses come from unless a Service names one (TEST-NET-2, RFC 5737, its upper half). */
export const LOAD_BALANCER_CIDR = "198.51.100.128/25";

const netns = "host";
/** A node's address; or nowhere, as none is fit; or the router itself. */
type Way = string | "nowhere" | "router";

export class LoadBalancer implements Controller {
  readonly name = "load balancer";
  readonly kinds: readonly Kind[] = ["Service", "EndpointSlice", "Node"];
  readonly #store: Store;
  readonly #router: EmulatedBackend;
  readonly #external: EmulatedBackend;
  /** Services that have addresses outside. */
  readonly #services: Set<string> = new Set();
  #ways: ReadonlyMap<string, Way> = new Map();
  #rules = "";

  constructor(store: Store, router: Host, external: Host) {
    this.#store = store;
    this.#router = new EmulatedBackend(router);
    this.#external = new EmulatedBackend(external);
  }

  keys({ object, type }: WatchEvent): readonly string[] {
    if (object.kind === "Node") return this.#services.size > 0 ? ["sync"] : [];
    if (object.kind === "EndpointSlice") {
      const key = `${object.metadata.namespace}/${serviceNameOf(object as EndpointSlice)}`;
      return this.#services.has(key) ? ["sync"] : [];
    }
    const key = keyOf(object);
    const was = this.#services.has(key);
    const is = type !== "DELETED" && addressesOf(object as Service).length > 0;
    if (is) this.#services.add(key);
    else this.#services.delete(key);
    return was || is ? ["sync"] : [];
  }

  async sync(): Promise<void> {
    const ways = new Map<string, Way>();
    const nodes = this.#nodes();
    let rules = "";
    for (const key of [...this.#services].sort()) {
      const { namespace, name } = splitKey(key);
      const service = this.#store.get("Service", namespace, name);
      if (service === undefined) continue;
      const node = this.#nodeFor(service, nodes);
      for (const { ip, proxied } of addressesOf(service)) {
        // An address of a node needs no way to it.
        if (nodes.has(ip)) continue;
        ways.set(ip, proxied ? "router" : (node ?? "nowhere"));
        if (proxied && node !== undefined) rules += proxyRules(service, ip, node);
      }
    }
    await this.#route(ways);
    if (rules === this.#rules) return;
    this.#rules = rules;
    const text = `*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n${rules}COMMIT\n`;
    const restore = { op: "iptables.restore", netns, family: "ipv4", text, noflush: false, source: this.name } as const;
    await this.#router.apply([restore]);
  }

  async #route(ways: ReadonlyMap<string, Way>): Promise<void> {
    const [router, external]: [RtnlOp[], RtnlOp[]] = [[], []];
    for (const [ip, way] of this.#ways) {
      if (ways.get(ip) === way) continue;
      const dst = `${ip}/32`;
      if (way !== "router") router.push({ op: "route.del", netns, dst });
      external.push({ op: "route.del", netns, dst });
    }
    for (const [ip, way] of ways) {
      if (this.#ways.get(ip) === way) continue;
      const dst = `${ip}/32`;
      if (way === "nowhere") router.push({ op: "route.add", netns, dst, type: "blackhole" });
      else if (way !== "router") router.push({ op: "route.add", netns, dst, via: way });
      external.push({ op: "route.add", netns, dst, via: ROUTER_OUTSIDE });
    }
    if (router.length > 0) await this.#router.apply(router);
    if (external.length > 0) await this.#external.apply(external);
    this.#ways = ways;
  }

  /** Addresses of nodes, with the nodes' names. */
  #nodes(): ReadonlyMap<string, string> {
    return new Map(
      this.#store.list("Node").flatMap((node) =>
        nodeIps(node)
          .filter((ip) => familyOf(ip) === 4)
          .map((ip): [string, string] => [ip, node.metadata.name]),
      ),
    );
  }

  /** The address of the node that gets a Service's traffic: what the health check node ports would say. */
  #nodeFor(service: Service, nodes: ReadonlyMap<string, string>): string | undefined {
    const local = service.spec.externalTrafficPolicy === "Local" ? this.#nodesWithEndpoints(service) : undefined;
    return [...nodes].find(([, name]) => local === undefined || local.has(name))?.[0];
  }

  #nodesWithEndpoints(service: Service): ReadonlySet<string> {
    const { namespace = "", name } = service.metadata;
    const slices = this.#store.list("EndpointSlice", { namespace }).filter((s) => serviceNameOf(s) === name);
    const ready = slices.flatMap((s) => s.endpoints.filter((e) => e.conditions?.ready ?? true));
    return new Set(ready.flatMap((e) => e.nodeName ?? []));
  }
}

/** A load balancer that is a proxy: its connections are its own. */
function proxyRules(service: Service, ip: string, node: string): string {
  let rules = "";
  for (const { port, nodePort, protocol = "TCP" } of service.spec.ports ?? []) {
    if (!nodePort) continue;
    const proto = protocol.toLowerCase();
    const head = `-p ${proto} -m ${proto}`;
    const comment = `-m comment --comment "load balancer of ${keyOf(service)}"`;
    rules += `-A PREROUTING -d ${ip}/32 ${head} --dport ${port} ${comment} -j DNAT --to-destination ${node}:${nodePort}\n`;
    rules += `-A POSTROUTING -d ${node}/32 ${head} --dport ${nodePort} -m conntrack --ctorigdst ${ip} ${comment} -j MASQUERADE\n`;
  }
  return rules;
}

type Outside = { readonly ip: string; readonly proxied: boolean };

/** The IPv4 addresses that a Service has outside. */
function addressesOf({ spec, status }: Service): readonly Outside[] {
  if (spec.type === "ExternalName") return [];
  const external = (spec.externalIPs ?? []).map((ip) => ({ ip, proxied: false }));
  const balanced = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) =>
    ip === undefined || ip === "" ? [] : [{ ip, proxied: ipMode === "Proxy" }],
  );
  return [...external, ...balanced].filter(({ ip }) => familyOf(ip) === 4);
}
