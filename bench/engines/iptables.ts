/** kube-proxy's iptables rules, walked rule by rule or by hash. A packet goes through PREROUTING: conntrack, then DNAT. */
import type { Host } from "../../dataplane/host/host.ts";
import { applyOps } from "../../dataplane/netns/rtnl-apply.ts";
import type { Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";
import { type ServiceLines, serviceLines, serviceRules } from "../layouts/service-rules.ts";
import { ENDPOINTS, type Engine, type Looked, node, serviceAddress, TARGET_PORT } from "./engine.ts";
import { establishedFlow, firstPacket } from "./prerouting.ts";

export class IptablesEngine implements Engine {
  readonly name: string = "iptables";
  readonly variants: readonly string[] = [" linear", " indexed"];
  readonly #host: Host = node();
  readonly #written: Map<number, ServiceLines> = new Map();
  #services = 0;
  #flow = 0;

  use(variant: string): void {
    this.#host.world.evaluator = variant === " linear" ? "linear" : "indexed";
  }

  load(services: number): void {
    this.#services = services;
    this.#restore(serviceRules(services, serviceAddress, ENDPOINTS.slice(0, 2), TARGET_PORT));
  }

  #restore(text: string): void {
    applyOps(this.#host, [{ op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true }]);
  }

  first(to: Ipv4Addr): Looked {
    return firstPacket(this.#host, to, this.#flow++);
  }

  established(to: Ipv4Addr): () => void {
    return establishedFlow(this.#host, to, this.#flow++);
  }

  /** What kube-proxy's partial sync comes to: the Service's own chains anew, and its line where it changed. */
  set(n: number, endpoints: number): void {
    const before = this.#written.get(n) ?? (n < this.#services ? this.#lines(n, 2) : null);
    const now = this.#lines(n, endpoints);
    const gone = before?.chains.filter((c) => !now.chains.includes(c)) ?? [];
    this.#restore(
      [
        "*nat",
        ...[...now.chains, ...gone].map((c) => `:${c} - [0:0]`),
        ...(before === null ? [`-I KUBE-SERVICES ${Math.min(n, this.#services) + 1} ${now.jump}`] : []),
        ...now.rules,
        ...gone.map((c) => `-X ${c}`),
        "COMMIT\n",
      ].join("\n"),
    );
    this.#written.set(n, now);
  }

  remove(n: number): void {
    const lines = this.#written.get(n) ?? this.#lines(n, 2);
    const chains = lines.chains.flatMap((c) => [`:${c} - [0:0]`]);
    const text = [...chains, `-D KUBE-SERVICES ${lines.jump}`, ...lines.chains.map((c) => `-X ${c}`)].join("\n");
    this.#restore(`*nat\n${text}\nCOMMIT\n`);
    this.#written.delete(n);
  }

  #lines(n: number, endpoints: number): ServiceLines {
    return serviceLines(n, serviceAddress(n), ENDPOINTS.slice(0, endpoints), TARGET_PORT);
  }
}
