/** kube-proxy's nftables rules: Services in a verdict map, endpoints by chance. A packet goes through PREROUTING. */
import { tableText } from "../../cluster/kube-proxy/nftables/table.ts";
import type { Host } from "../../dataplane/host/host.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import { formatIpv4, type Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";
import { ENDPOINTS, type Engine, type Looked, node, serviceAddress, TARGET_PORT } from "./engine.ts";
import { establishedFlow, firstPacket } from "./prerouting.ts";

const TABLE = "ip kube-proxy";

export class NftablesEngine implements Engine {
  readonly name: string = "nftables";
  readonly variants: readonly string[] = [""];
  readonly #host: Host = node();
  readonly #endpoints: Map<number, number> = new Map();
  #services = 0;
  #flow = 0;

  use(): void {}

  load(services: number): void {
    this.#services = services;
    const head = tableText({ family: 4, masqueradeBit: 14, nodePortIps: ["192.168.0.11"], serviceCidrs: [] });
    const lines: string[] = [];
    for (let n = 0; n < services; n++) lines.push(...this.#lines(n, 0, 2));
    this.#apply(`${head}${lines.join("\n")}\n`);
  }

  #apply(text: string): void {
    applyOps(this.#host, [{ op: "nft.apply", netns: "host", text }]);
  }

  /** From so many endpoints to so many: what the mode writes for one Service. */
  #lines(n: number, from: number, to: number): string[] {
    const id = `${n.toString(36).toUpperCase().padStart(8, "A")}-default/svc-${n}/udp/`;
    const service = `service-${id}`;
    const ip = formatIpv4(serviceAddress(n));
    const chainOf = (i: number): string => `endpoint-${id}__${ENDPOINTS[i]}/${TARGET_PORT}`;
    const lines: string[] = from === 0 ? [`add chain ${TABLE} ${service}`] : [`flush chain ${TABLE} ${service}`];
    for (let i = from; i < to; i++) lines.push(`add chain ${TABLE} ${chainOf(i)}`);
    lines.push(
      `add rule ${TABLE} ${service} ip daddr ${ip} udp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade`,
    );
    const all = Array.from({ length: to }, (_, i) => `${i} : goto ${chainOf(i)}`).join(" , ");
    lines.push(`add rule ${TABLE} ${service} numgen random mod ${to} vmap { ${all} }`);
    for (let i = from; i < to; i++) {
      lines.push(`add rule ${TABLE} ${chainOf(i)} ip saddr ${ENDPOINTS[i]} jump mark-for-masquerade`);
      lines.push(`add rule ${TABLE} ${chainOf(i)} meta l4proto udp dnat to ${ENDPOINTS[i]}:${TARGET_PORT}`);
    }
    for (let i = to; i < from; i++)
      lines.push(`flush chain ${TABLE} ${chainOf(i)}`, `delete chain ${TABLE} ${chainOf(i)}`);
    if (from === 0) {
      lines.push(`add element ${TABLE} cluster-ips { ${ip} }`);
      lines.push(`add element ${TABLE} service-ips { ${ip} . udp . 80 : goto ${service} }`);
    }
    return lines;
  }

  first(to: Ipv4Addr): Looked {
    return firstPacket(this.#host, to, this.#flow++);
  }

  established(to: Ipv4Addr): () => void {
    return establishedFlow(this.#host, to, this.#flow++);
  }

  set(n: number, endpoints: number): void {
    const before = this.#endpoints.get(n) ?? (n < this.#services ? 2 : 0);
    this.#apply(`${this.#lines(n, before, endpoints).join("\n")}\n`);
    this.#endpoints.set(n, endpoints);
  }

  remove(n: number): void {
    const endpoints = this.#endpoints.get(n) ?? 2;
    const made = this.#lines(n, 0, endpoints);
    const chains = made.flatMap((line) => /^add chain (.*)$/.exec(line)?.[1] ?? []);
    const elements = made.flatMap((line) => /^add element (\S+ \S+ \S+ \{ [^:]*?)(?: : .*)? \}$/.exec(line)?.[1] ?? []);
    const lines = [
      ...elements.map((e) => `delete element ${e} }`),
      ...chains.map((c) => `flush chain ${c}`),
      ...chains.map((c) => `delete chain ${c}`),
    ];
    this.#apply(`${lines.join("\n")}\n`);
    this.#endpoints.delete(n);
  }
}
