/**
 * The rules of one Service port in iptables mode, as kube-proxy orders them inside the port
 * (pkg/proxy/iptables/proxier.go).
 *
 * Two parts: the portals, which stand in the shared chains and are written at every sync, and the port's own chains,
 * which are written only when the port changed. Leaves out the nfacct twins of localhost NodePorts.
 */
import { contains, parseCidr, parseIp } from "../../api/ip.ts";
import type { EndpointInfo } from "../endpoints-tracker.ts";
import type { LocalDetector } from "../local-detector.ts";
import { endpointChain, serviceChains } from "../names.ts";
import type { RuleOrigin } from "../rule-origin.ts";
import {
  externallyAccessible,
  type ServicePortInfo,
  usesClusterEndpoints,
  usesLocalEndpoints,
} from "../service-tracker.ts";
import type { EndpointChoice } from "../topology.ts";

export type PortContext = {
  readonly detector: LocalDetector;
  readonly masqueradeAll: boolean;
  /** Primary address of the node: source ranges that hold it let the node reach its own load balancer addresses. */
  readonly nodeIp: string | undefined;
  /** Large cluster mode: no comments in the port's chains to endpoints, which saves 40 % of the text. */
  readonly terse: boolean;
};

/** Lines, each with its newline. */
export type PortRules = {
  readonly natServices: string;
  readonly natNodePorts: string;
  readonly filterServices: string;
  readonly filterExternal: string;
  readonly filterNodePorts: string;
  readonly filterFirewall: string;
  /** The port's own chains in nat, in order. */
  readonly chains: readonly string[];
  readonly rules: string;
  /** What stands behind each of the chains. */
  readonly origins: ReadonlyMap<string, RuleOrigin>;
};

export function portRules(info: ServicePortInfo, choice: EndpointChoice, context: PortContext): PortRules {
  return new PortWriter(info, choice, context).write();
}

class PortWriter {
  readonly #info: ServicePortInfo;
  readonly #choice: EndpointChoice;
  readonly #context: PortContext;
  readonly #name: string;
  /** `-m tcp -p tcp` */
  readonly #proto: string;
  readonly #chainNames: ReturnType<typeof serviceChains>;
  readonly #endpointChains: ReadonlyMap<EndpointInfo, string>;
  readonly #origins: Map<string, RuleOrigin> = new Map();
  readonly #chains: string[] = [];
  #natServices = "";
  #natNodePorts = "";
  #filterServices = "";
  #filterExternal = "";
  #filterNodePorts = "";
  #filterFirewall = "";
  #rules = "";

  constructor(info: ServicePortInfo, choice: EndpointChoice, context: PortContext) {
    this.#info = info;
    this.#choice = choice;
    this.#context = context;
    this.#name = info.portName;
    const protocol = info.protocol.toLowerCase();
    this.#proto = `-m ${protocol} -p ${protocol}`;
    this.#chainNames = serviceChains(info.portName, info.protocol);
    this.#endpointChains = new Map(
      choice.reachable.map((e) => [e, endpointChain(info.portName, info.protocol, e.text)]),
    );
  }

  write(): PortRules {
    this.#portals();
    this.#internal();
    this.#external();
    this.#sourceRanges();
    const { cluster, local, reachable } = this.#choice;
    if (cluster.length > 0 && usesClusterEndpoints(this.#info))
      this.#balance(this.#chainNames.svc, cluster, "all endpoints");
    if (local.length > 0 && usesLocalEndpoints(this.#info))
      this.#balance(this.#chainNames.svl, local, "endpoints of this node");
    for (const [i, endpoint] of reachable.entries()) this.#endpoint(endpoint, i + 1, reachable.length);
    return {
      natServices: flat(this.#natServices),
      natNodePorts: flat(this.#natNodePorts),
      filterServices: flat(this.#filterServices),
      filterExternal: flat(this.#filterExternal),
      filterNodePorts: flat(this.#filterNodePorts),
      filterFirewall: flat(this.#filterFirewall),
      chains: this.#chains,
      rules: flat(this.#rules),
      origins: this.#origins,
    };
  }

  get #hasInternal(): boolean {
    return this.#info.internalPolicyLocal ? this.#choice.local.length > 0 : this.#choice.any;
  }

  get #hasExternal(): boolean {
    return this.#info.externalPolicyLocal ? this.#choice.local.length > 0 : this.#choice.any;
  }

  get #hasFirewall(): boolean {
    return this.#choice.any && this.#info.loadBalancerIps.length > 0 && this.#info.sourceRanges.length > 0;
  }

  get #internalChain(): string {
    return this.#info.internalPolicyLocal ? this.#chainNames.svl : this.#chainNames.svc;
  }

  /** What happens to traffic that no endpoint may take: rejected if there is none at all, dropped if none is here. */
  get #refusal(): { readonly comment: string; readonly target: string } {
    return this.#choice.any
      ? { comment: quoted(`${this.#name} has no local endpoints`), target: "DROP" }
      : { comment: quoted(`${this.#name} has no endpoints`), target: "REJECT" };
  }

  /** The rules in the shared chains: which addresses and ports lead where. */
  #portals(): void {
    const { clusterIp, port, externalIps, loadBalancerIps, nodePort, healthCheckNodePort } = this.#info;
    const { comment, target } = this.#refusal;
    const { any } = this.#choice;
    const { ext, fw } = this.#chainNames;
    if (this.#hasInternal) this.#natServices += this.#capture("cluster IP", clusterIp, this.#internalChain);
    else
      this.#filterServices += `-A KUBE-SERVICES -m comment --comment ${comment} ${this.#proto} -d ${clusterIp} --dport ${port} -j ${target}\n`;
    const refuse = (match: string): void => {
      if (!this.#hasExternal)
        this.#filterExternal += `-A KUBE-EXTERNAL-SERVICES -m comment --comment ${comment} ${match} -j ${target}\n`;
    };
    for (const ip of externalIps) {
      if (any) this.#natServices += this.#capture("external IP", ip, ext);
      refuse(`${this.#proto} -d ${ip} --dport ${port}`);
    }
    for (const ip of loadBalancerIps) {
      if (any) this.#natServices += this.#capture("loadbalancer IP", ip, this.#hasFirewall ? fw : ext);
      if (this.#hasFirewall)
        this.#filterFirewall += `-A KUBE-PROXY-FIREWALL -m comment --comment ${quoted(`${this.#name} traffic not accepted by ${fw}`)} ${this.#proto} -d ${ip} --dport ${port} -j DROP\n`;
    }
    for (const ip of loadBalancerIps) refuse(`${this.#proto} -d ${ip} --dport ${port}`);
    if (nodePort !== 0) {
      if (any)
        this.#natNodePorts += `-A KUBE-NODEPORTS -m comment --comment ${this.#name} ${this.#proto} --dport ${nodePort} -j ${ext}\n`;
      refuse(`-m addrtype --dst-type LOCAL ${this.#proto} --dport ${nodePort}`);
    }
    if (healthCheckNodePort !== 0)
      this.#filterNodePorts += `-A KUBE-NODEPORTS -m comment --comment ${quoted(`${this.#name} health check node port`)} -m tcp -p tcp --dport ${healthCheckNodePort} -j ACCEPT\n`;
  }

  #capture(what: string, ip: string, chain: string): string {
    return `-A KUBE-SERVICES -m comment --comment ${quoted(`${this.#name} ${what}`)} ${this.#proto} -d ${ip} --dport ${this.#info.port} -j ${chain}\n`;
  }

  /** ClusterIP traffic from outside the cluster is masqueraded, so that the reply comes back this way. */
  #internal(): void {
    const { detector, masqueradeAll } = this.#context;
    if (!this.#hasInternal || (!masqueradeAll && detector === null)) return;
    const origin = masqueradeAll || detector === null ? "" : ` ${detector.ifNotLocal}`;
    const { clusterIp, port } = this.#info;
    this.#rules += `-A ${this.#internalChain} -m comment --comment ${quoted(`${this.#name} cluster IP`)} ${this.#proto} -d ${clusterIp} --dport ${port}${origin} -j KUBE-MARK-MASQ\n`;
  }

  #external(): void {
    if (!this.#choice.any || !externallyAccessible(this.#info)) return;
    const { ext, svc, svl } = this.#chainNames;
    this.#chain(ext, "traffic from outside the cluster");
    const rule = (what: string, rest: string): void => {
      this.#rules += `-A ${ext} -m comment --comment ${quoted(`${what} ${this.#name} external destinations`)} ${rest}\n`;
    };
    if (!this.#info.externalPolicyLocal) rule("masquerade traffic for", "-j KUBE-MARK-MASQ");
    else {
      const { detector } = this.#context;
      if (detector !== null) rule("pod traffic for", `${detector.ifLocal} -j ${svc}`);
      rule("masquerade LOCAL traffic for", "-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ");
      rule("route LOCAL traffic for", `-m addrtype --src-type LOCAL -j ${svc}`);
    }
    if (this.#hasExternal) this.#rules += `-A ${ext} -j ${this.#info.externalPolicyLocal ? svl : svc}\n`;
  }

  /** What passes no range falls out of the chain without a destination, and the filter table drops it. */
  #sourceRanges(): void {
    if (!this.#hasFirewall) return;
    const { fw, ext } = this.#chainNames;
    const { sourceRanges, loadBalancerIps } = this.#info;
    this.#chain(fw, "source ranges of the load balancer");
    const head = `-A ${fw} -m comment --comment ${quoted(`${this.#name} loadbalancer IP`)}`;
    for (const range of sourceRanges) this.#rules += `${head} -s ${range} -j ${ext}\n`;
    const node = this.#context.nodeIp === undefined ? null : parseIp(this.#context.nodeIp);
    const holdsNode = (range: string): boolean => {
      const cidr = parseCidr(range);
      return cidr !== null && node !== null && contains(cidr, node);
    };
    if (sourceRanges.some(holdsNode)) for (const ip of loadBalancerIps) this.#rules += `${head} -s ${ip} -j ${ext}\n`;
    this.#rules += `-A ${fw} -m comment --comment ${quoted(`other traffic to ${this.#name} will be dropped by KUBE-PROXY-FIREWALL`)}\n`;
  }

  /** One rule an endpoint: first those that know the client, then a fair draw. */
  #balance(chain: string, endpoints: readonly EndpointInfo[], detail: string): void {
    this.#chain(chain, detail);
    const comment = (e: EndpointInfo): string => this.#comment(quoted(`${this.#name} -> ${e.text}`));
    const { stickySeconds } = this.#info;
    if (stickySeconds > 0)
      for (const e of endpoints) {
        const to = this.#endpointChains.get(e) ?? "";
        this.#rules += `-A ${chain}${comment(e)} -m recent --name ${to} --rcheck --seconds ${stickySeconds} --reap -j ${to}\n`;
      }
    for (const [i, e] of endpoints.entries()) {
      const left = endpoints.length - i;
      const draw = left > 1 ? ` -m statistic --mode random --probability ${probability(left)}` : "";
      this.#rules += `-A ${chain}${comment(e)}${draw} -j ${this.#endpointChains.get(e)}\n`;
    }
  }

  /** The endpoint's own chain: masquerade what comes back to its sender (hairpin), remember the client, rewrite. */
  #endpoint(endpoint: EndpointInfo, n: number, of: number): void {
    const chain = this.#endpointChains.get(endpoint) ?? "";
    const { target, text, ip } = endpoint;
    this.#chains.push(chain);
    this.#origins.set(
      chain,
      target?.kind === "Pod"
        ? {
            kind: "Pod",
            namespace: target.namespace ?? this.#info.id.namespace,
            name: target.name ?? "",
            detail: `endpoint ${text}, ${n} of ${of}`,
          }
        : this.#origin(`endpoint ${text}, ${n} of ${of}`),
    );
    const head = `-A ${chain}${this.#comment(this.#name)}`;
    const remember = this.#info.stickySeconds > 0 ? ` -m recent --name ${chain} --set` : "";
    this.#rules += `${head} -s ${ip} -j KUBE-MARK-MASQ\n${head}${remember} ${this.#proto} -j DNAT --to-destination ${text}\n`;
  }

  #comment(text: string): string {
    return this.#context.terse ? "" : ` -m comment --comment ${text}`;
  }

  #chain(name: string, detail: string): void {
    this.#chains.push(name);
    this.#origins.set(name, this.#origin(detail));
  }

  #origin(detail: string): RuleOrigin {
    const { namespace, name, port } = this.#info.id;
    return { kind: "Service", namespace, name, detail: port === "" ? detail : `port ${port}, ${detail}` };
  }
}

/** The same text in one piece: it is joined again and again, and V8 would walk the pieces each time. */
function flat(text: string): string {
  text.charCodeAt(0);
  return text;
}

function quoted(text: string): string {
  return `"${text}"`;
}

/** 1/n with ten decimals, as kube-proxy prints it. */
export function probability(n: number): string {
  return (1 / n).toFixed(10);
}
