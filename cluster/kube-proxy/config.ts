/**
 * KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1): every field known by name, the ones that matter here typed.
 * Unlike the API server, kube-proxy refuses unknown fields, so they are errors. Leaves out the meaning of client
 * connection, logging, health and metrics settings.
 */

import { parseCidr } from "../api/ip.ts";
import { formatPath, show } from "../api/issue.ts";
import {
  any,
  bool,
  int,
  isMapping,
  list,
  map,
  natural,
  obj,
  oneOf,
  opaque,
  type Schema,
  str,
  walk,
} from "../api/schema.ts";
import { splitDocuments } from "../manifests/document.ts";
import { InputError } from "../manifests/input-error.ts";

export type ProxyMode = "iptables" | "ipvs" | "nftables" | "userspace";
export type DetectLocalMode = "ClusterCIDR" | "NodeCIDR" | "BridgeInterface" | "InterfaceNamePrefix";

export type ProxyConfig = {
  readonly mode: ProxyMode;
  /** One CIDR, or one of each family with a comma; empty: none. */
  readonly clusterCIDR: string;
  readonly detectLocalMode: DetectLocalMode;
  readonly bridgeInterface: string;
  readonly interfaceNamePrefix: string;
  /** CIDRs, or the one word "primary"; empty: all addresses (nftables: the primary one). */
  readonly nodePortAddresses: readonly string[];
  readonly hostnameOverride: string;
  readonly masqueradeBit: number;
  readonly masqueradeAll: boolean;
  readonly localhostNodePorts: boolean;
  readonly tcpBeLiberal: boolean;
  readonly ipvs: {
    readonly scheduler: string;
    readonly strictARP: boolean;
    readonly excludeCIDRs: readonly string[];
    /** Seconds; 0: the kernel's. */
    readonly tcpTimeout: number;
    readonly tcpFinTimeout: number;
    readonly udpTimeout: number;
  };
  readonly conntrack: {
    readonly maxPerCore: number;
    readonly min: number;
    /** Seconds. */
    readonly tcpEstablishedTimeout: number;
    readonly tcpCloseWaitTimeout: number;
  };
};

export const DEFAULT_PROXY_CONFIG: ProxyConfig = {
  mode: "iptables",
  clusterCIDR: "",
  detectLocalMode: "ClusterCIDR",
  bridgeInterface: "",
  interfaceNamePrefix: "",
  nodePortAddresses: [],
  hostnameOverride: "",
  masqueradeBit: 14,
  masqueradeAll: false,
  localhostNodePorts: true,
  tcpBeLiberal: false,
  ipvs: { scheduler: "rr", strictARP: false, excludeCIDRs: [], tcpTimeout: 0, tcpFinTimeout: 0, udpTimeout: 0 },
  conntrack: { maxPerCore: 32768, min: 131072, tcpEstablishedTimeout: 86400, tcpCloseWaitTimeout: 3600 },
};

const duration: Schema = str;
const bit: Schema = { type: "int", min: 0, max: 31 };
export const IPVS_SCHEDULERS: readonly string[] = [
  "rr",
  "wrr",
  "lc",
  "wlc",
  "fo",
  "ovf",
  "lblc",
  "lblcr",
  "dh",
  "sh",
  "mh",
  "sed",
  "nq",
  "twos",
];

const schema: Schema = obj(
  {
    apiVersion: oneOf("kubeproxy.config.k8s.io/v1alpha1"),
    kind: oneOf("KubeProxyConfiguration"),
    bindAddress: str,
    bindAddressHardFail: bool,
    clientConnection: obj({
      acceptContentTypes: str,
      burst: int,
      contentType: str,
      kubeconfig: str,
      qps: { type: "number" },
    }),
    clusterCIDR: str,
    configSyncPeriod: duration,
    conntrack: obj({
      max: int,
      maxPerCore: natural,
      min: natural,
      tcpBeLiberal: bool,
      tcpCloseWaitTimeout: duration,
      tcpEstablishedTimeout: duration,
      udpStreamTimeout: duration,
      udpTimeout: duration,
    }),
    detectLocal: obj({ bridgeInterface: str, interfaceNamePrefix: str }),
    detectLocalMode: oneOf("", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"),
    enableProfiling: bool,
    featureGates: map(bool),
    healthzBindAddress: str,
    hostnameOverride: str,
    iptables: obj({
      localhostNodePorts: bool,
      masqueradeAll: bool,
      masqueradeBit: bit,
      minSyncPeriod: duration,
      syncPeriod: duration,
    }),
    ipvs: obj({
      excludeCIDRs: list(str),
      minSyncPeriod: duration,
      scheduler: oneOf("", ...IPVS_SCHEDULERS),
      strictARP: bool,
      syncPeriod: duration,
      tcpFinTimeout: duration,
      tcpTimeout: duration,
      udpTimeout: duration,
    }),
    logging: opaque,
    metadata: any,
    metricsBindAddress: str,
    mode: oneOf("", "iptables", "ipvs", "nftables", "userspace"),
    nftables: obj({ masqueradeAll: bool, masqueradeBit: bit, minSyncPeriod: duration, syncPeriod: duration }),
    nodePortAddresses: list(str),
    oomScoreAdj: { type: "int", min: -1000, max: 1000 },
    portRange: str,
    resourceContainer: str,
    showHiddenMetricsForVersion: str,
    udpIdleTimeout: duration,
    windowsRunAsService: bool,
    winkernel: opaque,
  },
  "apiVersion",
  "kind",
);

/** Reads a configuration. Throws InputError for the first thing that kube-proxy would not start with. */
export function parseProxyConfig(text: string, file: string): ProxyConfig {
  const documents = splitDocuments(file, text);
  const doc = documents[0];
  if (doc === undefined || documents.length > 1) {
    const found = documents.length === 0 ? "nothing" : `${documents.length} documents`;
    throw new InputError({ file, line: 0, field: "document", found, expected: "one KubeProxyConfiguration" });
  }
  const fail = (path: readonly (string | number)[], found: string, expected: string): never => {
    throw new InputError({ file, line: doc.lineOf(path), field: formatPath(path), found, expected });
  };
  const { value } = doc;
  if (!isMapping(value)) return fail([], show(value), "a KubeProxyConfiguration");
  walk(schema, value, [], (_, path, found, expected) => fail(path, found, expected));
  const config = readConfig(value, fail);
  if (config.masqueradeBit > 31)
    fail(["iptables", "masqueradeBit"], show(config.masqueradeBit), "an integer from 0 to 31");
  const families = (config.clusterCIDR === "" ? [] : config.clusterCIDR.split(",")).map((text) => {
    const cidr = parseCidr(text.trim());
    return cidr === null ? fail(["clusterCIDR"], show(text), "a CIDR such as 10.244.0.0/16") : cidr.family;
  });
  if (families.length !== new Set(families).size)
    fail(["clusterCIDR"], show(config.clusterCIDR), "one CIDR, or one of each family with a comma");
  for (const [i, cidr] of config.nodePortAddresses.entries())
    if (parseCidr(cidr) === null && !(cidr === "primary" && config.nodePortAddresses.length === 1))
      fail(["nodePortAddresses", i], show(cidr), 'a CIDR, or "primary" alone');
  for (const [i, cidr] of config.ipvs.excludeCIDRs.entries())
    if (parseCidr(cidr) === null) fail(["ipvs", "excludeCIDRs", i], show(cidr), "a CIDR such as 10.0.0.0/8");
  if (config.detectLocalMode === "BridgeInterface" && config.bridgeInterface === "")
    fail(["detectLocal", "bridgeInterface"], "nothing", "the name of a bridge, detectLocalMode is BridgeInterface");
  if (config.detectLocalMode === "InterfaceNamePrefix" && config.interfaceNamePrefix === "")
    fail(
      ["detectLocal", "interfaceNamePrefix"],
      "nothing",
      "a prefix of names, detectLocalMode is InterfaceNamePrefix",
    );
  return config;
}

type Fail = (path: readonly (string | number)[], found: string, expected: string) => never;

/** Shapes were checked; what is absent, null or empty takes the default. */
function readConfig(value: Record<string, unknown>, fail: Fail): ProxyConfig {
  const d = DEFAULT_PROXY_CONFIG;
  const section = (name: string): Record<string, unknown> => (isMapping(value[name]) ? value[name] : {});
  const [iptables, nftables, ipvs, conntrack, detect] = [
    "iptables",
    "nftables",
    "ipvs",
    "conntrack",
    "detectLocal",
  ].map(section) as [
    Record<string, unknown>,
    Record<string, unknown>,
    Record<string, unknown>,
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  const mode = orDefault<ProxyMode>(value.mode, d.mode);
  const masquerade = mode === "nftables" ? nftables : iptables;
  const seconds = (of: Record<string, unknown>, path: readonly string[], otherwise: number): number => {
    const text = of[path[1] ?? ""];
    if (text === undefined || text === null || text === "") return otherwise;
    return parseDuration(String(text)) ?? fail(path, show(text), "a duration such as 30s or 1h0m0s");
  };
  for (const [name, of] of [
    ["iptables", iptables],
    ["nftables", nftables],
    ["ipvs", ipvs],
  ] as const)
    for (const field of ["syncPeriod", "minSyncPeriod"]) seconds(of, [name, field], 0);
  return {
    mode,
    clusterCIDR: orDefault(value.clusterCIDR, ""),
    detectLocalMode: orDefault<DetectLocalMode>(value.detectLocalMode, d.detectLocalMode),
    bridgeInterface: orDefault(detect.bridgeInterface, ""),
    interfaceNamePrefix: orDefault(detect.interfaceNamePrefix, ""),
    nodePortAddresses: orDefault<readonly string[]>(value.nodePortAddresses, []),
    hostnameOverride: orDefault(value.hostnameOverride, ""),
    masqueradeBit: orDefault(masquerade.masqueradeBit, d.masqueradeBit),
    masqueradeAll: orDefault(masquerade.masqueradeAll, false),
    localhostNodePorts: orDefault(iptables.localhostNodePorts, true),
    tcpBeLiberal: orDefault(conntrack.tcpBeLiberal, false),
    ipvs: {
      scheduler: orDefault(ipvs.scheduler, d.ipvs.scheduler),
      strictARP: orDefault(ipvs.strictARP, false),
      excludeCIDRs: orDefault<readonly string[]>(ipvs.excludeCIDRs, []),
      tcpTimeout: seconds(ipvs, ["ipvs", "tcpTimeout"], 0),
      tcpFinTimeout: seconds(ipvs, ["ipvs", "tcpFinTimeout"], 0),
      udpTimeout: seconds(ipvs, ["ipvs", "udpTimeout"], 0),
    },
    conntrack: {
      maxPerCore: orDefault(conntrack.maxPerCore, d.conntrack.maxPerCore),
      min: orDefault(conntrack.min, d.conntrack.min),
      tcpEstablishedTimeout: seconds(
        conntrack,
        ["conntrack", "tcpEstablishedTimeout"],
        d.conntrack.tcpEstablishedTimeout,
      ),
      tcpCloseWaitTimeout: seconds(conntrack, ["conntrack", "tcpCloseWaitTimeout"], d.conntrack.tcpCloseWaitTimeout),
    },
  };
}

function orDefault<T>(value: unknown, otherwise: T): T {
  return value === undefined || value === null || value === "" ? otherwise : (value as T);
}

const UNITS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 };

/** A Go duration ("1h0m0s", "500ms", "0") in seconds. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:h|ms|us|µs|ns|m|s))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)/g))
    sum += Number(n) * (UNITS[unit ?? ""] ?? 0);
  return sum;
}
