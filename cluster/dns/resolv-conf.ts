/** A pod's resolv.conf, as the kubelet writes it for the pod's dnsPolicy, and the names that a resolver makes of it. */
import type { Pod } from "../api/pod.ts";

export type ResolvConf = {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  /** `ndots:5`; an option without a value is its name alone. */
  readonly options: readonly string[];
};

export type DnsSettings = {
  /** Addresses of kube-dns. */
  readonly clusterDns: readonly string[];
  readonly clusterDomain?: string;
  /** The node's own resolv.conf; empty unless given. */
  readonly node?: ResolvConf;
};

/** What the kubelet keeps at most. */
const MAX_NAMESERVERS = 3;
const MAX_SEARCHES = 32;
const DEFAULT_NDOTS = 1;

export function resolvConfOf(pod: Pod, settings: DnsSettings): ResolvConf {
  const { dnsConfig } = pod.spec;
  const base = baseConf(pod, settings);
  const options = new Map(base.options.map((o) => [o.split(":")[0] ?? o, o]));
  for (const { name, value } of dnsConfig?.options ?? [])
    options.set(name, value === undefined ? name : `${name}:${value}`);
  return {
    nameservers: [...new Set([...base.nameservers, ...(dnsConfig?.nameservers ?? [])])].slice(0, MAX_NAMESERVERS),
    searches: [...new Set([...base.searches, ...(dnsConfig?.searches ?? [])])].slice(0, MAX_SEARCHES),
    options: [...options.values()],
  };
}

function baseConf(pod: Pod, settings: DnsSettings): ResolvConf {
  const node = settings.node ?? { nameservers: [], searches: [], options: [] };
  const { dnsPolicy = "ClusterFirst", hostNetwork } = pod.spec;
  if (dnsPolicy === "None") return { nameservers: [], searches: [], options: [] };
  if (dnsPolicy === "Default" || (dnsPolicy === "ClusterFirst" && hostNetwork === true)) return node;
  const domain = settings.clusterDomain ?? "cluster.local";
  const namespace = pod.metadata.namespace ?? "default";
  return {
    nameservers: settings.clusterDns,
    searches: [`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...node.searches],
    options: ["ndots:5"],
  };
}

/** The file's text (resolv.conf(5)). */
export function formatResolvConf(conf: ResolvConf): string {
  const lines = [
    ...(conf.searches.length > 0 ? [`search ${conf.searches.join(" ")}`] : []),
    ...conf.nameservers.map((n) => `nameserver ${n}`),
    ...(conf.options.length > 0 ? [`options ${conf.options.join(" ")}`] : []),
  ];
  return lines.map((l) => `${l}\n`).join("");
}

/** The names to ask for, in order, as glibc's resolver does; a name that ends in a dot is asked for alone. */
export function searchNames(name: string, conf: ResolvConf): readonly string[] {
  if (name.endsWith(".")) return [name.slice(0, -1)];
  const ndots = Number(conf.options.find((o) => o.startsWith("ndots:"))?.slice(6) ?? DEFAULT_NDOTS);
  const dots = name.split(".").length - 1;
  const searched = conf.searches.map((s) => `${name}.${s}`);
  return dots >= ndots ? [name, ...searched] : [...searched, name];
}
