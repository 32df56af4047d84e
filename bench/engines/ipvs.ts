/**
 * Virtual services of ipvs. A packet goes through local delivery: the connection, the service, the scheduler, and out to the
 * destination. What is looked at is counted as probes of the hash tables.
 */
import type { Host } from "../../dataplane/host/host.ts";
import type { IpvsEngine as Ipvs } from "../../dataplane/ipvs/ipvs.ts";
import { ipvsOf } from "../../dataplane/ipvs/text.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import { formatIpv4, type Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";
import { ENDPOINTS, type Engine, type Looked, node, packet, serviceAddress, TARGET_PORT } from "./engine.ts";

/** Milliseconds of virtual time that pass with each new flow, so that as many connections end as begin. */
const STEP = 1000;

export class IpvsEngine implements Engine {
  readonly name: string = "ipvs";
  readonly variants: readonly string[] = [""];
  readonly #host: Host = node();
  readonly #endpoints: Map<number, number> = new Map();
  #services = 0;
  #flow = 0;

  use(): void {}

  load(services: number): void {
    this.#services = services;
    const lines: string[] = [];
    for (let n = 0; n < services; n++) lines.push(...this.#lines(n, 0, 2));
    this.#restore(lines);
  }

  get #ipvs(): Ipvs {
    const ipvs = ipvsOf(this.#host.root);
    if (ipvs === null) throw new Error("there are no virtual services");
    return ipvs;
  }

  #restore(lines: readonly string[]): void {
    applyOps(this.#host, [{ op: "ipvs.restore", netns: "host", text: `${lines.join("\n")}\n` }]);
  }

  #lines(n: number, from: number, to: number): string[] {
    const service = `-u ${formatIpv4(serviceAddress(n))}:80`;
    const lines = from === 0 ? [`-A ${service} -s rr`] : [];
    for (const ip of ENDPOINTS.slice(from, to)) lines.push(`-a ${service} -r ${ip}:${TARGET_PORT} -m -w 1`);
    for (const ip of ENDPOINTS.slice(to, from)) lines.push(`-d ${service} -r ${ip}:${TARGET_PORT}`);
    return lines;
  }

  first(to: Ipv4Addr): Looked {
    const { root, world } = this.#host;
    world.loop.run({ deadline: world.loop.time + STEP });
    const ipvs = this.#ipvs;
    const before = ipvs.services.probes + ipvs.conns.probes;
    const skb = packet(this.#host, to, this.#flow++);
    if (ipvs.localIn(root, skb) === 0) world.pool.free(skb);
    const examined = ipvs.services.probes + ipvs.conns.probes - before;
    return { examined, linear: examined };
  }

  established(to: Ipv4Addr): () => void {
    const { root, world } = this.#host;
    const ipvs = this.#ipvs;
    const flow = this.#flow++;
    return () => {
      const skb = packet(this.#host, to, flow);
      if (ipvs.localIn(root, skb) === 0) world.pool.free(skb);
      world.loop.runNow();
    };
  }

  set(n: number, endpoints: number): void {
    const before = this.#endpoints.get(n) ?? (n < this.#services ? 2 : 0);
    this.#restore(this.#lines(n, before, endpoints));
    this.#endpoints.set(n, endpoints);
  }

  remove(n: number): void {
    this.#restore([`-D -u ${formatIpv4(serviceAddress(n))}:80`]);
    this.#endpoints.delete(n);
  }
}
