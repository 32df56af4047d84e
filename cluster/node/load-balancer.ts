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
import { type Family, familyOf, hostPort, WIDTH } from "../api/ip.ts";
import { keyOf, splitKey } from "../api/meta.ts";
import { nodeIps } from "../api/node.ts";
import type { Service } from "../api/service.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { ROUTER_OUTSIDE } from "./outside.ts";

/** Where addresses come from unless a Service names one (TEST-NET-2, RFC 5737, its upper half; RFC 3849). */
export const LOAD_BALANCER_CIDRS: Readonly<Record<Family, string>> = {
  4: "198.51.100.128/25",
  6: "2001:db8:1b::/112",
};

const netns = "host";
/** Of what the router passes on as its own. */
const MARK = "0x1/0x1";
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
  readonly #rules: Record<Family, string> = { 4: "", 6: "" };

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
    const families = new Set([...nodes.keys()].map(familyOf));
    const rules: Record<Family, string> = { 4: "", 6: "" };
    for (const key of [...this.#services].sort()) {
      const { namespace, name } = splitKey(key);
      const service = this.#store.get("Service", namespace, name);
      if (service === undefined) continue;
      for (const { ip, proxied } of addressesOf(service)) {
        // An address of a node needs no way to it, and there is none to a family that nodes have not.
        if (nodes.has(ip) || !families.has(familyOf(ip))) continue;
        const node = this.#nodeFor(service, familyOf(ip), nodes);
        ways.set(ip, proxied ? "router" : (node ?? "nowhere"));
        if (proxied && node !== undefined) rules[familyOf(ip)] += proxyRules(service, ip, node);
      }
    }
    await this.#route(ways);
    for (const family of [4, 6] as const) await this.#write(family, rules[family]);
  }

  async #write(family: Family, rules: string): Promise<void> {
    if (rules === this.#rules[family]) return;
    this.#rules[family] = rules;
    const masquerade = `-A POSTROUTING -m mark --mark ${MARK} -j MASQUERADE\n`;
    const text = `*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n${rules}${masquerade}COMMIT\n`;
    const source = this.name;
    await this.#router.apply([{ op: "iptables.restore", netns, family: `ipv${family}`, text, noflush: false, source }]);
  }

  async #route(ways: ReadonlyMap<string, Way>): Promise<void> {
    const [router, external]: [RtnlOp[], RtnlOp[]] = [[], []];
    for (const [ip, way] of this.#ways) {
      if (ways.get(ip) === way) continue;
      const dst = prefixOf(ip);
      if (way !== "router") router.push({ op: "route.del", netns, dst });
      external.push({ op: "route.del", netns, dst });
    }
    for (const [ip, way] of ways) {
      if (this.#ways.get(ip) === way) continue;
      const dst = prefixOf(ip);
      if (way === "nowhere") router.push({ op: "route.add", netns, dst, type: "blackhole" });
      else if (way !== "router") router.push({ op: "route.add", netns, dst, via: way });
      external.push({ op: "route.add", netns, dst, via: ROUTER_OUTSIDE[familyOf(ip)] });
    }
    if (router.length > 0) await this.#router.apply(router);
    if (external.length > 0) await this.#external.apply(external);
    this.#ways = ways;
  }

  /** Addresses of nodes, with the nodes' names. */
  #nodes(): ReadonlyMap<string, string> {
    return new Map(
      this.#store.list("Node").flatMap((node) => nodeIps(node).map((ip): [string, string] => [ip, node.metadata.name])),
    );
  }

  /** The address of the node that gets a Service's traffic: what the health check node ports would say. */
  #nodeFor(service: Service, family: Family, nodes: ReadonlyMap<string, string>): string | undefined {
    const local =
      service.spec.externalTrafficPolicy === "Local" ? this.#nodesWithEndpoints(service, family) : undefined;
    return [...nodes].find(([ip, name]) => familyOf(ip) === family && (local === undefined || local.has(name)))?.[0];
  }

  #nodesWithEndpoints(service: Service, family: Family): ReadonlySet<string> {
    const { namespace = "", name } = service.metadata;
    const slices = this.#store
      .list("EndpointSlice", { namespace })
      .filter((s) => serviceNameOf(s) === name && s.addressType === `IPv${family}`);
    const ready = slices.flatMap((s) => s.endpoints.filter((e) => e.conditions?.ready ?? true));
    return new Set(ready.flatMap((e) => e.nodeName ?? []));
  }
}

/** The address alone, as a prefix. */
function prefixOf(ip: string): string {
  return `${ip}/${WIDTH[familyOf(ip)]}`;
}

/** A load balancer that is a proxy: its connections are its own. */
function proxyRules(service: Service, ip: string, node: string): string {
  let rules = "";
  for (const { port, nodePort, protocol = "TCP" } of service.spec.ports ?? []) {
    if (!nodePort) continue;
    const proto = protocol.toLowerCase();
    const comment = `-m comment --comment "load balancer of ${keyOf(service)}"`;
    const match = `-A PREROUTING -d ${prefixOf(ip)} -p ${proto} -m ${proto} --dport ${port} ${comment}`;
    rules += `${match} -j MARK --set-xmark ${MARK}\n${match} -j DNAT --to-destination ${hostPort(node, nodePort)}\n`;
  }
  return rules;
}

type Outside = { readonly ip: string; readonly proxied: boolean };

/** The addresses that a Service has outside. */
function addressesOf({ spec, status }: Service): readonly Outside[] {
  if (spec.type === "ExternalName") return [];
  const external = (spec.externalIPs ?? []).map((ip) => ({ ip, proxied: false }));
  const balanced = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) =>
    ip === undefined || ip === "" ? [] : [{ ip, proxied: ipMode === "Proxy" }],
  );
  return [...external, ...balanced];
}
