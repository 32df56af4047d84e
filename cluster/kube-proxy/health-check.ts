/**
 * The health check node ports of Services with external policy Local (pkg/proxy/healthcheck/service_health.go): a load
 * balancer asks each node whether it has endpoints. 200 with their number, or 503.
 */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import type { TcpListener } from "../../dataplane/sock/tcp.ts";
import { serveHttp } from "../apps/http-server.ts";
import type { Proxier } from "./proxier.ts";

/** What a family's proxier knows. */
type Known = Pick<Proxier, "services" | "endpoints">;

type Check = { readonly port: number; readonly listener: TcpListener };

export class HealthChecks {
  readonly #ns: NetNs;
  readonly #families: readonly Known[];
  readonly #checks: Map<string, Check> = new Map();

  /** `families` in the order in which they are asked: the first that has a Service counts its endpoints. */
  constructor(ns: NetNs, families: readonly Known[]) {
    this.#ns = ns;
    this.#families = families;
  }

  /** Opens and closes ports as these Services now want them. */
  update(keys: Iterable<string>): void {
    for (const key of keys) {
      const ports = this.#families.flatMap(({ services }) => services.portsOf(key));
      const port = ports.find((p) => p.healthCheckNodePort !== 0)?.healthCheckNodePort;
      const old = this.#checks.get(key);
      if (old?.port === port) continue;
      old?.listener.close();
      this.#checks.delete(key);
      if (port === undefined) continue;
      const listener = this.#listen(key, port);
      // Taken by somebody else on the node: kube-proxy says so in its log and goes on.
      if (listener !== null) this.#checks.set(key, { port, listener });
    }
  }

  #listen(key: string, port: number): TcpListener | null {
    const [namespace = "", name = ""] = key.split("/");
    return serveHttp(this.#ns, ANY, port, () => {
      const localEndpoints = this.#localEndpoints(key);
      const body = JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: true });
      const headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": String(localEndpoints),
      };
      return { status: localEndpoints > 0 ? 200 : 503, headers, body };
    });
  }

  /** Ready endpoints on this node, each address once. */
  #localEndpoints(key: string): number {
    const known = this.#families.find(({ services }) => services.portsOf(key).length > 0);
    const ips = (known?.services.portsOf(key) ?? [])
      .flatMap((p) => known?.endpoints.endpointsOf(key, p.id.port) ?? [])
      .filter((e) => e.isLocal && e.ready)
      .map((e) => e.ip);
    return new Set(ips).size;
  }
}
