/** What one Service port has in the table: chains with their rules, affinity sets, elements of the sets and maps. */
import { contains, type Family, parseCidr, parseIp } from "../../api/ip.ts";
import type { EndpointInfo } from "../endpoints-tracker.ts";
import type { LocalDetector } from "../local-detector.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import { externallyAccessible, type ServicePortInfo } from "../service-tracker.ts";
import type { EndpointChoice } from "../topology.ts";
import { endpointNames, portNames } from "./names.ts";
import { headerOf } from "./table.ts";

export type PortContext = {
  readonly family: Family;
  readonly detector: LocalDetector;
  readonly masqueradeAll: boolean;
  readonly nodeIp: string | undefined;
};

/** Names with what they hold; an element is keyed "set key". */
export type PortObjects = {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly sets: ReadonlyMap<string, string>;
  readonly elements: ReadonlyMap<string, string>;
  readonly origins: ReadonlyMap<string, RuleOrigin>;
};

export function portObjects(info: ServicePortInfo, choice: EndpointChoice, context: PortContext): PortObjects {
  return new PortWriter(info, choice, context).write();
}

class PortWriter {
  readonly #info: ServicePortInfo;
  readonly #choice: EndpointChoice;
  readonly #context: PortContext;
  readonly #ip: string;
  readonly #proto: string;
  readonly #chains: Map<string, string[]> = new Map();
  readonly #sets: Map<string, string> = new Map();
  readonly #elements: Map<string, string> = new Map();
  readonly #origins: Map<string, RuleOrigin> = new Map();

  constructor(info: ServicePortInfo, choice: EndpointChoice, context: PortContext) {
    this.#info = info;
    this.#choice = choice;
    this.#context = context;
    this.#ip = headerOf(context.family);
    this.#proto = info.protocol.toLowerCase();
  }

  write(): PortObjects {
    const { cluster, local, any } = this.#choice;
    const { clusterIp, port, internalPolicyLocal, externalPolicyLocal } = this.#info;
    const names = portNames(this.#info);
    const internal = internalPolicyLocal ? local : cluster;
    const external = externalPolicyLocal ? local : cluster;
    const internalChain = internalPolicyLocal ? names.local : names.service;
    this.#elements.set(`cluster-ips ${clusterIp}`, "");
    this.#portal(clusterIp, port, internal.length > 0 ? internalChain : null);
    this.#outside(any ? names.external : null, external.length > 0);
    if (cluster.length > 0) this.#balance(names.service, cluster, "traffic to all endpoints");
    if (local.length > 0 && (internalPolicyLocal || externalPolicyLocal))
      this.#balance(names.local, local, "traffic to endpoints of this node");
    if (internal.length > 0) this.#masqueradeOutsiders(internalChain);
    if (any && externallyAccessible(this.#info)) this.#externalChain(names, external.length > 0);
    if (this.#info.sourceRanges.length > 0 && this.#info.loadBalancerIps.length > 0 && any)
      this.#firewall(names.firewall);
    for (const [i, e] of this.#choice.reachable.entries()) this.#endpoint(e, i + 1, this.#choice.reachable.length);
    return { chains: this.#chains, sets: this.#sets, elements: this.#elements, origins: this.#origins };
  }

  /** ClusterIP: to its chain, or to the check that refuses. */
  #portal(ip: string, port: number, chain: string | null): void {
    const key = `${ip} . ${this.#proto} . ${port}`;
    if (chain !== null) this.#elements.set(`service-ips ${key}`, `goto ${chain}`);
    else this.#elements.set(`no-endpoint-services ${key}${this.#comment}`, this.#refusal);
  }

  /** Addresses and ports towards the outside. Those without an endpoint for them are refused, too. */
  #outside(chain: string | null, served: boolean): void {
    const { externalIps, loadBalancerIps, nodePort, port } = this.#info;
    for (const ip of [...externalIps, ...loadBalancerIps]) {
      const key = `${ip} . ${this.#proto} . ${port}`;
      if (chain !== null) this.#elements.set(`service-ips ${key}`, `goto ${chain}`);
      if (!served) this.#elements.set(`no-endpoint-services ${key}${this.#comment}`, this.#refusal);
    }
    if (nodePort === 0) return;
    const key = `${this.#proto} . ${nodePort}`;
    if (chain !== null) this.#elements.set(`service-nodeports ${key}`, `goto ${chain}`);
    if (!served) this.#elements.set(`no-endpoint-nodeports ${key}${this.#comment}`, this.#refusal);
  }

  get #refusal(): string {
    return this.#choice.any ? "drop" : "goto reject-chain";
  }

  get #comment(): string {
    return ` comment "${this.#info.portName}"`;
  }

  #masqueradeOutsiders(chain: string): void {
    const { detector, masqueradeAll } = this.#context;
    if (!masqueradeAll && detector === null) return;
    const origin = masqueradeAll || detector === null ? "" : ` ${detector.nft(this.#ip, false)}`;
    this.#rules(chain).unshift(`${this.#ip} daddr ${this.#info.clusterIp}${origin} jump mark-for-masquerade`);
  }

  #externalChain({ external, service, local }: ReturnType<typeof portNames>, served: boolean): void {
    const rules = this.#rules(external);
    this.#origins.set(external, this.#origin("traffic from outside the cluster"));
    const { externalPolicyLocal } = this.#info;
    const { detector } = this.#context;
    if (!externalPolicyLocal) rules.push("jump mark-for-masquerade");
    else {
      if (detector !== null)
        rules.push(`${detector.nft(this.#ip, true)} goto ${service} comment "short-circuit pod traffic"`);
      rules.push('fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"');
      rules.push(`fib saddr type local goto ${service} comment "short-circuit local traffic"`);
    }
    if (served) rules.push(`goto ${externalPolicyLocal ? local : service}`);
    // The short way needs a chain even where no endpoint is left for it.
    if (externalPolicyLocal) this.#rules(service);
  }

  #firewall(chain: string): void {
    const { sourceRanges, loadBalancerIps, port } = this.#info;
    const own = this.#context.nodeIp === undefined ? null : parseIp(this.#context.nodeIp);
    const holdsNode = sourceRanges.some((range) => {
      const cidr = parseCidr(range);
      return cidr !== null && own !== null && contains(cidr, own);
    });
    const allowed = [...sourceRanges, ...(holdsNode ? loadBalancerIps : [])];
    this.#rules(chain).push(`${this.#ip} saddr != { ${allowed.join(", ")} } drop`);
    this.#origins.set(chain, this.#origin("source ranges of the load balancer"));
    for (const ip of loadBalancerIps)
      this.#elements.set(`firewall-ips ${ip} . ${this.#proto} . ${port}`, `goto ${chain}`);
  }

  /** First whom an endpoint remembers, then a fair draw. */
  #balance(chain: string, endpoints: readonly EndpointInfo[], detail: string): void {
    const rules = this.#rules(chain);
    this.#origins.set(chain, this.#origin(detail));
    if (this.#info.stickySeconds > 0)
      for (const e of endpoints) {
        const { chain: to, affinity } = endpointNames(this.#info, e);
        rules.push(`${this.#ip} saddr @${affinity} goto ${to}`);
      }
    const ways = endpoints.map((e, i) => `${i} : goto ${endpointNames(this.#info, e).chain}`);
    rules.push(`numgen random mod ${endpoints.length} vmap { ${ways.join(" , ")} }`);
  }

  #endpoint(e: EndpointInfo, n: number, of: number): void {
    const { chain, affinity } = endpointNames(this.#info, e);
    const rules = this.#rules(chain);
    const { stickySeconds, id } = this.#info;
    rules.push(`${this.#ip} saddr ${e.ip} jump mark-for-masquerade`);
    if (stickySeconds > 0) {
      const type = this.#context.family === 4 ? "ipv4_addr" : "ipv6_addr";
      this.#sets.set(affinity, `{ type ${type} ; flags dynamic,timeout ; timeout ${stickySeconds}s ; }`);
      rules.push(`update @${affinity} { ${this.#ip} saddr }`);
    }
    rules.push(`meta l4proto ${this.#proto} dnat to ${e.text}`);
    const detail = `endpoint ${e.text}, ${n} of ${of}`;
    const { target } = e;
    this.#origins.set(
      chain,
      target?.kind === "Pod"
        ? { kind: "Pod", namespace: target.namespace ?? id.namespace, name: target.name ?? "", detail }
        : this.#origin(detail),
    );
  }

  #rules(chain: string): string[] {
    let rules = this.#chains.get(chain);
    if (rules === undefined) {
      rules = [];
      this.#chains.set(chain, rules);
    }
    return rules;
  }

  #origin(detail: string): RuleOrigin {
    const { namespace, name, port } = this.#info.id;
    return { kind: "Service", namespace, name, detail: port === "" ? detail : `port ${port}, ${detail}` };
  }
}
