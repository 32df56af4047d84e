/**
 * What kube-proxy counts (pkg/proxy/metrics/metrics.go), in Prometheus' text format. Names and labels are kube-proxy's;
 * the sums of durations are 0, as virtual time stands still during a sync.
 */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { type IpKey, key6 } from "../../dataplane/wire/ip-key.ts";
import { ipv4 } from "../../dataplane/wire/ipv4-addr.ts";
import { LOOPBACK6 } from "../../dataplane/wire/ipv6-addr.ts";
import type { Family } from "../api/ip.ts";
import { serveHttp } from "../apps/http-server.ts";

/** Where metrics and health are asked for. */
export const METRICS_PORT = 10249;
export const HEALTHZ_PORT = 10256;
const LOOPBACKS: Readonly<Record<Family, IpKey>> = { 4: ipv4("127.0.0.1"), 6: key6(LOOPBACK6) };

/** Numbers of the moment, as a mode tells them. */
export type Gauges = {
  /** Rules, by table; of modes that write iptables. */
  readonly iptables?: Readonly<Record<string, number>>;
  /** Services that have endpoints somewhere and none on this node, though their policy is Local. */
  readonly noLocalEndpoints?: Readonly<Record<"internal" | "external", number>>;
};

export class ProxyMetrics {
  serviceChanges = 0;
  endpointChanges = 0;
  fullSyncs = 0;
  partialSyncs = 0;
  partialFailures = 0;
  /** Milliseconds of virtual time. */
  lastSync = 0;
  readonly #gauges: () => Gauges;

  constructor(gauges: () => Gauges) {
    this.#gauges = gauges;
  }

  text(): string {
    const { iptables = {}, noLocalEndpoints } = this.#gauges();
    const out: string[] = [];
    const metric = (name: string, type: "counter" | "gauge" | "summary", help: string, values: Values): void => {
      out.push(`# HELP kubeproxy_${name} ${help}`, `# TYPE kubeproxy_${name} ${type}`);
      for (const [labels, value] of values) out.push(`kubeproxy_${name}${labels} ${value}`);
    };
    const one = (value: number): Values => [["", value]];
    metric("sync_proxy_rules_service_changes_total", "counter", "Changes of Services", one(this.serviceChanges));
    metric("sync_proxy_rules_endpoint_changes_total", "counter", "Changes of endpoints", one(this.endpointChanges));
    const timed = (name: string, help: string, count: number): void =>
      metric(`${name}_duration_seconds`, "summary", help, [
        ["_sum", 0],
        ["_count", count],
      ]);
    timed("sync_proxy_rules", "Syncs", this.fullSyncs + this.partialSyncs);
    timed("sync_full_proxy_rules", "Syncs of everything", this.fullSyncs);
    timed("sync_partial_proxy_rules", "Syncs of what changed", this.partialSyncs);
    metric(
      "sync_proxy_rules_iptables_partial_restore_failures_total",
      "counter",
      "Partial syncs that failed",
      one(this.partialFailures),
    );
    metric("sync_proxy_rules_last_timestamp_seconds", "gauge", "Time of the last sync", one(this.lastSync / 1000));
    const tables = Object.entries(iptables).map(([table, n]): [string, number] => [`{table="${table}"}`, n]);
    metric("sync_proxy_rules_iptables_total", "gauge", "Rules that kube-proxy has", tables);
    const policies = Object.entries(noLocalEndpoints ?? {}).map(([policy, n]): [string, number] => [
      `{traffic_policy="${policy}"}`,
      n,
    ]);
    metric("sync_proxy_rules_no_local_endpoints_total", "gauge", "Services without an endpoint here", policies);
    return `${out.join("\n")}\n`;
  }

  /** /metrics on localhost, as the primary family calls it; /healthz for everybody. */
  serve(ns: NetNs, family: Family): void {
    serveHttp(ns, LOOPBACKS[family], METRICS_PORT, (path) =>
      path === "/metrics" ? { status: 200, headers: PLAIN, body: this.text() } : NOT_FOUND,
    );
    serveHttp(ns, ANY, HEALTHZ_PORT, (path) =>
      path === "/healthz" || path === "/livez" ? { status: 200, headers: PLAIN, body: "ok" } : NOT_FOUND,
    );
  }
}

type Values = readonly (readonly [labels: string, value: number])[];

const PLAIN = { "Content-Type": "text/plain; charset=utf-8" };
const NOT_FOUND = { status: 404, headers: PLAIN, body: "404 page not found\n" };
