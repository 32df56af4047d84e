/**
 * For kube-proxy's tests: objects with few words, and a walker that asks rendered rules where a packet goes.
 * The walker knows the matches that kube-proxy writes and takes every branch of a random draw.
 */
import type { Endpoint, EndpointSlice } from "../api/endpoint-slice.ts";
import { contains, parseCidr, parseIp } from "../api/ip.ts";
import type { Service, ServiceSpec, ServiceStatus } from "../api/service.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig } from "./config.ts";
import { EndpointsTracker } from "./endpoints-tracker.ts";
import { IptablesRenderer } from "./iptables/renderer.ts";
import type { ProxyNode } from "./mode.ts";
import { ServiceTracker } from "./service-tracker.ts";

export function service(key: string, spec: ServiceSpec, status?: ServiceStatus): Service {
  const [namespace = "", name = ""] = key.split("/");
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace, name },
    spec,
    ...(status === undefined ? {} : { status }),
  };
}

/** `endpoints`: "ip" or "ip@node", or a whole endpoint. */
export function slice(
  key: string,
  port: string,
  number: number,
  endpoints: readonly (string | Endpoint)[],
  suffix: string = "1",
): EndpointSlice {
  const [namespace = "", name = ""] = key.split("/");
  const list = endpoints.map((e) => {
    if (typeof e !== "string") return e;
    const [ip = "", nodeName] = e.split("@");
    return { addresses: [ip], conditions: { ready: true }, ...(nodeName === undefined ? {} : { nodeName }) };
  });
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace, name: `${name}-${suffix}`, labels: { "kubernetes.io/service-name": name } },
    addressType: list.some((e) => e.addresses[0]?.includes(":")) ? "IPv6" : "IPv4",
    endpoints: list,
    ports: [{ name: port, port: number, protocol: "TCP" }],
  };
}

export const NODE: ProxyNode = { name: "test-node", ips: ["192.168.0.2"], podCidrs: ["10.180.0.0/24"] };

export function render(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
  config: Partial<ProxyConfig> = {},
  family: 4 | 6 = 4,
  node: ProxyNode = NODE,
): { readonly renderer: IptablesRenderer; readonly services: ServiceTracker; readonly endpoints: EndpointsTracker } {
  const trackers = { services: new ServiceTracker(family), endpoints: new EndpointsTracker(family, node.name) };
  for (const s of services) trackers.services.set(s);
  for (const s of slices) trackers.endpoints.set(s);
  const full = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.0.0.0/8,fd00::/8", ...config };
  const renderer = new IptablesRenderer(
    { family, node, config: full, randomFully: true },
    trackers.services,
    trackers.endpoints,
  );
  renderer.update();
  return { renderer, ...trackers };
}

export type Flow = { readonly src: string; readonly dst: string; readonly port: number; readonly proto?: string };
/** Sorted endpoints, or REJECT or DROP, or "" for untouched; ", masq" is added if the packet is masqueraded. */
export type Outcome = string;

type Rules = ReadonlyMap<string, readonly (readonly string[])[]>;
type State = { readonly dst: string; readonly marked: boolean };

/** Where a new packet goes. Addresses of the node (and 127.0.0.1) are LOCAL. */
export function walk(text: string, flow: Flow, node: ProxyNode = NODE): Outcome {
  const nat = tableOf(text, "nat");
  const filter = tableOf(text, "filter");
  const fromNode = isLocal(flow.src, node);
  const refused = [fromNode ? "OUTPUT" : isLocal(flow.dst, node) ? "INPUT" : "FORWARD"]
    .map((hook) => verdictOf(filter, hook, flow, node))
    .find((v) => v !== undefined);
  const outcomes = new Map<string, boolean>();
  run(nat, fromNode ? "OUTPUT" : "PREROUTING", flow, node, { dst: "", marked: false }, (s) => {
    if (s.dst !== "") outcomes.set(s.dst, s.marked || outcomes.get(s.dst) === true);
  });
  if (outcomes.size === 0) return refused ?? "";
  const masq = [...outcomes.values()].every((m) => m)
    ? ", masq"
    : [...outcomes.values()].some((m) => m)
      ? ", masq for some"
      : "";
  return [...outcomes.keys()].sort().join(" ") + masq;
}

function tableOf(text: string, table: string): Rules {
  const part = text.split(`*${table}\n`)[1]?.split("COMMIT")[0] ?? "";
  const rules = new Map<string, string[][]>();
  for (const line of part.split("\n")) {
    const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? m[2] ?? "");
    const [command, chain] = words;
    if (chain === undefined || (command !== "-A" && command !== "-I")) continue;
    const list = rules.get(chain) ?? [];
    if (command === "-A") list.push(words.slice(2));
    else list.unshift(words.slice(2));
    rules.set(chain, list);
  }
  return rules;
}

/** Calls `done` for each way through; returns whether the packet can come out at the end of the chain. */
function run(rules: Rules, chain: string, flow: Flow, node: ProxyNode, from: State, done: (s: State) => void): State[] {
  let states: State[] = [from];
  for (const rule of rules.get(chain) ?? []) {
    const target = rule[rule.indexOf("-j") + 1] ?? "";
    if (!rule.includes("-j") || !matches(rule, flow, node)) continue;
    const maybe = rule.includes("statistic") || rule.includes("--rcheck");
    const next: State[] = maybe ? [...states] : [];
    for (const state of states) {
      if (target === "DNAT") done({ ...state, dst: rule[rule.indexOf("--to-destination") + 1] ?? "" });
      else if (target === "MARK") next.push({ ...state, marked: true });
      else if (target !== "RETURN") next.push(...run(rules, target, flow, node, state, done));
    }
    states = dedupe(next);
  }
  return states;
}

function dedupe(states: readonly State[]): State[] {
  return [...new Map(states.map((s) => [`${s.dst} ${s.marked}`, s])).values()];
}

function verdictOf(rules: Rules, chain: string, flow: Flow, node: ProxyNode): string | undefined {
  for (const rule of rules.get(chain) ?? []) {
    if (!rule.includes("-j") || !matches(rule, flow, node)) continue;
    const target = rule[rule.indexOf("-j") + 1] ?? "";
    const verdict = target.startsWith("KUBE-")
      ? verdictOf(rules, target, flow, node)
      : target === "ACCEPT"
        ? ""
        : target;
    if (verdict !== undefined) return verdict;
  }
  return undefined;
}

function matches(rule: readonly string[], flow: Flow, node: ProxyNode): boolean {
  let not = false;
  for (let i = 0; i < rule.length; i++) {
    const word = rule[i];
    const value = rule[i + 1] ?? "";
    const test = testOf(word ?? "", value, flow, node);
    if (word === "!") not = true;
    else if (test !== undefined) {
      if (test === not) return false;
      not = false;
      i++;
    }
  }
  return true;
}

/** Undefined: the word is no match. */
function testOf(word: string, value: string, flow: Flow, node: ProxyNode): boolean | undefined {
  switch (word) {
    case "-p":
      return value === (flow.proto ?? "tcp");
    case "-s":
      return inside(value, flow.src);
    case "-d":
      return inside(value, flow.dst);
    case "--dport":
      return value === String(flow.port);
    case "--src-type":
      return isLocal(flow.src, node);
    case "--dst-type":
      return isLocal(flow.dst, node);
    case "--ctstate":
      return value.split(",").includes("NEW");
    case "--mark":
      return false;
    default:
      return undefined;
  }
}

function inside(range: string, address: string): boolean {
  const ip = parseIp(address);
  const cidr = parseCidr(range.includes("/") ? range : `${range}/${range.includes(":") ? 128 : 32}`);
  return ip !== null && cidr !== null && contains(cidr, ip);
}

function isLocal(ip: string, node: ProxyNode): boolean {
  return node.ips.includes(ip) || ip.startsWith("127.") || ip === "::1";
}
