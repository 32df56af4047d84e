/** A trace from words to a result: who is meant, which address a name has, one probe, and what it showed. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIp, formatIpPort, type IpKey, ipKey, isKey6, parseIp } from "../../dataplane/wire/ip-key.ts";
import { canonicalIp, type Family, familyOf } from "../api/ip.ts";
import type { KubeObject, matchesSelector } from "../api/meta.ts";
import { type Pod, podIps } from "../api/pod.ts";
import { clusterIps, type Service, type ServicePort } from "../api/service.ts";
import { familiesHere, resolve } from "../apps/dns-client.ts";
import type { ResolvConf } from "../dns/resolv-conf.ts";
import { InputError } from "../manifests/input-error.ts";
import { CLIENTS } from "../node/outside.ts";
import type { Store } from "../store/store.ts";
import { judge } from "./judge.ts";
import type { Naming } from "./naming.ts";
import { type Protocol, probe } from "./probe.ts";
import { pcapngOf } from "./recorder.ts";
import type { Endpoint, TraceResult } from "./result.ts";
import { parseTarget, type Target, type TargetKind } from "./target.ts";
import type { Relays } from "./tracer.ts";

export type TraceOptions = {
  /** Of names that give none; "default". */
  readonly namespace?: string;
  readonly protocol?: Protocol;
  /** Which address of an end that has one of each; unless given, what a program would take: the primary one. */
  readonly family?: Family;
  readonly size?: number;
  readonly ttl?: number;
  readonly dontFragment?: boolean;
  /** Tell every rule that matched, not just those that did something. */
  readonly allRules?: boolean;
  /** Record a capture of every interface. */
  readonly capture?: boolean;
  /** Said behind the flow in the title. */
  readonly title?: string;
};

export type Traced = {
  readonly result: TraceResult;
  /** "default/a → Service default/b   flannel-vxlan, iptables, seed 1". */
  readonly title: string;
  readonly pcapng: Uint8Array | null;
};

export type TracingSources = {
  readonly store: Store;
  readonly naming: Naming;
  readonly external: NetNs;
  readonly netnsOfPod: (pod: Pod) => NetNs | undefined;
  readonly netnsOfNode: (name: string) => NetNs | undefined;
  /** The primary one first. */
  readonly nodeIps: (name: string) => readonly string[];
  readonly resolvConf: (pod: Pod | undefined) => ResolvConf;
  readonly namespaces: () => Iterable<NetNs>;
  readonly relays: Relays;
};

/** Where packets start, and how names are resolved there. */
export type Place = {
  readonly ns: NetNs;
  readonly conf: ResolvConf;
  /** With its primary address. */
  readonly end: Endpoint;
  /** All its addresses, the primary one first. */
  readonly ips: readonly string[];
};
/** What a destination's words leave open. */
export type Asked = Pick<TraceOptions, "protocol" | "family"> & { readonly namespace: string };
/** Where packets go. */
export type Destination = {
  readonly protocol: Protocol;
  readonly address: IpKey;
  readonly port: number;
  readonly title: string;
};
type Unresolved = { readonly code: string; readonly text: string; readonly title: string; readonly protocol: Protocol };

/** Milliseconds between two traces: limits on ICMP errors that the first used up are full again for the second. */
const REST = 30_000;

export class Tracing {
  readonly #from: TracingSources;
  #traced = false;

  constructor(from: TracingSources) {
    this.#from = from;
  }

  trace(from: string, to: string, options: TraceOptions): Traced {
    const namespace = options.namespace ?? "default";
    const place = this.place(from, namespace);
    const { loop } = place.ns.world;
    if (this.#traced) loop.run({ deadline: loop.time + REST });
    this.#traced = true;
    const target = this.destination(to, place, { ...options, namespace });
    const head = (title: string): string => `${titleOf(place.end)} → ${title}   ${options.title ?? ""}`.trimEnd();
    if ("code" in target) {
      const flow = `${place.end.ip} → ${to}`;
      return { result: unsent(flow, place.end, target), title: head(target.title), pcapng: null };
    }
    const { protocol, address, port } = target;
    const family = isKey6(address) ? 6 : 4;
    if (!place.ips.some((ip) => familyOf(ip) === family)) {
      const text = `${titleOf(place.end)} has no IPv${family} address, only ${place.ips.join(" and ")}`;
      const flow = `to ${port === 0 ? formatIp(address) : formatIpPort(address, port)}`;
      const reason = { code: "ENETUNREACH", text, protocol };
      return { result: unsent(flow, place.end, reason), title: head(target.title), pcapng: null };
    }
    const stop = this.listenOutside(target);
    try {
      const { size, ttl, dontFragment } = options;
      const observed = probe(place.ns, protocol, address, port, {
        ...(size === undefined ? {} : { size }),
        ...(ttl === undefined ? {} : { ttl }),
        ...(dontFragment === undefined ? {} : { dontFragment }),
        relays: this.#from.relays,
        ...(options.capture === true ? { record: this.#from.namespaces() } : {}),
      });
      const { naming } = this.#from;
      naming.allRules = options.allRules === true;
      const question = { protocol, source: endTowards(place, address), address, port };
      const judged = judge(observed, question, naming, (event) => naming.receiverOf(event));
      const told = [
        ...(observed.forward === null ? [] : [{ track: observed.forward, hops: judged.forward }]),
        ...(observed.reply === null ? [] : [{ track: observed.reply, hops: judged.reply }]),
      ];
      const frames = observed.recorder?.frames;
      const pcapng = frames === undefined ? null : pcapngOf(frames, (ns) => naming.placeOf(ns), told);
      return { result: judged.result, title: head(target.title), pcapng };
    } finally {
      stop();
    }
  }

  /** Who a source is. Throws InputError if there is nobody of that name, or not wired. */
  place(text: string, namespace: string): Place {
    const named = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(text) && text !== "external" && parseIp(text) === undefined;
    const target = parseTarget(named ? `pod/${text}` : text, "FROM", namespace);
    if (target.type === "external") return this.#external();
    if (target.type === "address") return this.#placeOfAddress(target.address, text);
    if (target.type === "name")
      throw this.#unknown("FROM", text, "a source: pod/NAME, deploy/NAME, node/NAME or external");
    if (target.kind === "Service")
      throw this.#unknown("FROM", text, "a source that sends: pod/NAME, deploy/NAME, node/NAME");
    if (target.kind === "Node") return this.#placeOfNode(target.name, text);
    return this.#placeOfPod(this.#podBehind(target, "FROM", text), text);
  }

  /** Who a destination is: an address and a port, or why its name has none. Throws InputError for what does not exist. */
  destination(text: string, from: Place, asked: Asked): Destination | Unresolved {
    const target = parseTarget(text, "TO", asked.namespace);
    switch (target.type) {
      case "external": {
        const primary = familyOf(from.ips[0] ?? "");
        return this.#plain(CLIENTS[asked.family ?? primary], target.port, "external", asked.protocol);
      }
      case "address":
        this.#mustBeMeant(target, text);
        this.#ofFamily([target.address], asked, text);
        return this.#plain(target.address, target.port, this.#titleOfAddress(target.address), asked.protocol);
      case "name":
        return this.#named(target.name, target.port, from, asked);
      case "object":
        return this.#object(target, text, asked);
    }
  }

  /** An address that could be a shorter one and a port is taken for one only where somebody here has it. */
  #mustBeMeant({ address, or }: Target & { type: "address" }, text: string): void {
    if (or !== undefined && this.#titleOfAddress(address) === address)
      throw this.#unknown("TO", text, `${or} for a port, or [${text}] for the address`);
  }

  /** The address of the family that is asked for, the first if none is. */
  #ofFamily(ips: readonly string[], { family }: Asked, text: string): string | undefined {
    if (family === undefined || ips.length === 0) return ips[0];
    const found = ips.find((ip) => familyOf(ip) === family);
    if (found === undefined)
      throw this.#unknown("TO", `${text}, which has ${ips.join(" and ")}`, `an end with an IPv${family} address`);
    return found;
  }

  /** The world outside listens on whatever port it is asked on. Answers how to stop. */
  listenOutside({ protocol, port }: Destination): () => void {
    const ns = this.#from.external;
    if (protocol !== "tcp" && protocol !== "udp") return () => {};
    const socket =
      protocol === "tcp"
        ? TcpListener.listen(ns, ANY, port, () => ({ data: () => {}, ended: (s) => s.close() }))
        : UdpSocket.bind(ns, ANY, port, {
            datagram: (s, bytes, off, len, peer, peerPort, to) => void s.reply(to, peer, peerPort, bytes, off, len),
          });
    return () => socket?.close();
  }

  get namespaces(): () => Iterable<NetNs> {
    return this.#from.namespaces;
  }

  get naming(): Naming {
    return this.#from.naming;
  }

  #external(): Place {
    const ns = this.#from.external;
    const ips = familiesHere(ns).map((family) => CLIENTS[family]);
    const primary = this.#from.store.list("Node").flatMap((n) => this.#from.nodeIps(n.metadata.name))[0] ?? "";
    ips.sort((a, b) => Number(familyOf(b) === familyOf(primary)) - Number(familyOf(a) === familyOf(primary)));
    const end: Endpoint = { ...this.#from.naming.ownerOf(ns), ip: ips[0] ?? "", port: null };
    return { ns, conf: this.#from.resolvConf(undefined), end, ips };
  }

  #placeOfNode(name: string, text: string): Place {
    const ns = this.#from.netnsOfNode(name);
    if (ns === undefined) throw this.#unknown("FROM", text, this.#namesOf("Node", ""));
    const ips = this.#from.nodeIps(name);
    return {
      ns,
      conf: this.#from.resolvConf(undefined),
      end: { kind: "Node", namespace: "", name, node: name, ip: ips[0] ?? "", port: null },
      ips,
    };
  }

  #placeOfPod(pod: Pod, text: string): Place {
    const ns = this.#from.netnsOfPod(pod);
    const ip = pod.status?.podIP;
    if (ns === undefined || ip === undefined)
      throw this.#unknown("FROM", `${text}, which has no network`, this.#whyNot(pod));
    const { namespace = "default", name } = pod.metadata;
    const end: Endpoint = { kind: "Pod", namespace, name, node: pod.spec.nodeName ?? "", ip, port: null };
    return { ns, conf: this.#from.resolvConf(pod), end, ips: podIps(pod) };
  }

  #placeOfAddress(address: string, text: string): Place {
    const pod = this.#podAt(address, (p) => p.spec.hostNetwork !== true);
    if (pod !== undefined) return this.#placeOfPod(pod, text);
    const node = this.#nodeAt(address);
    if (node !== undefined) return this.#placeOfNode(node, text);
    if (Object.values(CLIENTS).includes(address)) return this.#external();
    throw this.#unknown("FROM", text, "an address of a pod or a node");
  }

  #plain(address: string, port: string, title: string, wanted?: Protocol): Destination {
    const protocol = wanted ?? (port === "" ? "icmp" : "tcp");
    return { protocol, address: ipKey(address), port: this.#number(port, protocol, title), title };
  }

  #named(name: string, port: string, from: Place, asked: Asked): Destination | Unresolved {
    const protocol = asked.protocol ?? (port === "" ? "icmp" : "tcp");
    const families = asked.family === undefined ? familiesHere(from.ns) : [asked.family];
    const found = resolve(from.ns, name, from.conf, families);
    if (!found.ok) {
      const text = `${found.asked}: ${found.code === "ETIMEDOUT" ? "no answer from the nameserver" : "no address of that name"}`;
      return { code: found.code, text, title: name, protocol };
    }
    const address = found.addresses[0] ?? "";
    const title = `${found.name} (${this.#titleOfAddress(address)})`;
    return { protocol, address: ipKey(address), port: this.#number(port, protocol, name), title };
  }

  #object(target: Target & { type: "object" }, text: string, asked: Asked): Destination {
    const wanted = asked.protocol;
    if (target.kind === "Service") return this.#service(target, text, asked);
    if (target.kind === "Node") {
      const ip = this.#ofFamily(this.#from.nodeIps(target.name), asked, text);
      if (ip === undefined) throw this.#unknown("TO", text, this.#namesOf("Node", ""));
      return this.#plain(ip, target.port, `Node ${target.name}`, wanted);
    }
    const pod = this.#podBehind(target, "TO", text);
    const ip = this.#ofFamily(podIps(pod), asked, text);
    if (ip === undefined) throw this.#unknown("TO", `${text}, which has no network`, this.#whyNot(pod));
    const declared = pod.spec.containers.flatMap((c) => c.ports ?? []);
    const port = declared.find((p) => p.name === target.port);
    const number = port === undefined ? target.port : String(port.containerPort);
    const own = (port ?? declared.find((p) => String(p.containerPort) === target.port))?.protocol;
    const title = `Pod ${pod.metadata.namespace}/${pod.metadata.name}`;
    return this.#plain(ip, number, title, wanted ?? (target.port === "" ? undefined : protocolOf(own)));
  }

  #service(target: Target & { type: "object" }, text: string, asked: Asked): Destination {
    const wanted = asked.protocol;
    const service = this.#from.store.get("Service", target.namespace, target.name) as Service | undefined;
    if (service === undefined) throw this.#unknown("TO", text, this.#namesOf("Service", target.namespace));
    const ip = this.#ofFamily(clusterIps(service), asked, text);
    const title = `Service ${target.namespace}/${target.name}`;
    if (ip === undefined) {
      const kind = service.spec.type === "ExternalName" ? "an ExternalName" : "a headless";
      throw this.#unknown("TO", `${title}, ${kind} Service`, `its DNS name: ${target.name}.${target.namespace}:PORT`);
    }
    const ports = service.spec.ports ?? [];
    const port = choosePort(ports, target.port, wanted);
    const list = ports.map((p) => (p.name === undefined ? String(p.port) : `${p.port} (${p.name})`)).join(", ");
    if (port === undefined && !/^[0-9]+$/.test(target.port)) {
      throw this.#unknown("TO", target.port === "" ? `${text}, without a port` : text, `one of its ports: ${list}`);
    }
    const protocol = wanted ?? protocolOf(port?.protocol);
    return { protocol, address: ipKey(ip), port: port?.port ?? Number(target.port), title };
  }

  /** The pod of that name, or the first ready one of a workload. */
  #podBehind(target: Target & { type: "object" }, argument: string, text: string): Pod {
    const { store } = this.#from;
    if (target.kind === "Pod") {
      const pod = store.get("Pod", target.namespace, target.name);
      if (pod === undefined) throw this.#unknown(argument, text, this.#namesOf("Pod", target.namespace));
      return pod;
    }
    const owner = store.get(target.kind, target.namespace, target.name);
    if (owner === undefined) throw this.#unknown(argument, text, this.#namesOf(target.kind, target.namespace));
    const pods = this.#podsOf(owner);
    const pod = pods.find((p) => p.status?.podIP !== undefined) ?? pods[0];
    if (pod === undefined) throw this.#unknown(argument, `${text}, which has no pods`, "a workload with a pod");
    return pod;
  }

  #podsOf(owner: KubeObject): readonly Pod[] {
    const selector = (owner as { spec?: { selector?: Parameters<typeof matchesSelector>[0] } }).spec?.selector;
    const { namespace = "default" } = owner.metadata;
    if (selector === undefined) return this.#from.store.list("Pod", { namespace, owner: owner.metadata.uid ?? "" });
    return this.#from.store.list("Pod", { namespace, selector });
  }

  #number(port: string, protocol: Protocol, title: string): number {
    if (protocol === "icmp") return 0;
    if (/^[0-9]+$/.test(port)) return Number(port);
    throw this.#unknown("TO", port === "" ? `${title} without a port` : `port ${port}`, "a port number");
  }

  #titleOfAddress(address: string): string {
    const service = this.#from.store.list("Service").find((s) => hasClusterIp(s, address));
    if (service !== undefined) return `Service ${service.metadata.namespace}/${service.metadata.name}`;
    const pod = this.#podAt(address);
    if (pod !== undefined) return `Pod ${pod.metadata.namespace}/${pod.metadata.name}`;
    const node = this.#nodeAt(address);
    return node === undefined ? address : `Node ${node}`;
  }

  #podAt(address: string, fits: (pod: Pod) => boolean = () => true): Pod | undefined {
    return this.#from.store.list("Pod").find((p) => podIps(p).includes(address) && fits(p));
  }

  #nodeAt(address: string): string | undefined {
    const nodes = this.#from.store.list("Node").map((n) => n.metadata.name);
    return nodes.find((name) => this.#from.nodeIps(name).includes(address));
  }

  #unknown(argument: string, found: string, expected: string): InputError {
    return new InputError({ file: "command line", line: 0, field: argument, found, expected });
  }

  #namesOf(kind: TargetKind, namespace: string): string {
    const options = namespace === "" ? {} : { namespace };
    const names = this.#from.store.list(kind, options).map((o) => o.metadata.name);
    const where = namespace === "" ? "" : ` in namespace ${namespace}`;
    if (names.length === 0) return `a ${kind}${where}, of which there is none`;
    return `a ${kind}${where}: ${names.slice(0, 8).join(", ")}${names.length > 8 ? ", …" : ""}`;
  }

  #whyNot(pod: Pod): string {
    const condition = pod.status?.conditions?.find((c) => c.status === "False" && c.message !== undefined);
    return `a pod that is wired${condition?.message === undefined ? "" : ` (${condition.message})`}`;
  }
}

function choosePort(ports: readonly ServicePort[], text: string, wanted?: Protocol): ServicePort | undefined {
  const fits = ports.filter((p) => wanted === undefined || protocolOf(p.protocol) === wanted);
  if (text === "") return fits.length === 1 ? fits[0] : undefined;
  return fits.find((p) => p.name === text || String(p.port) === text);
}

function protocolOf(name: string | undefined): Protocol {
  return name === "UDP" ? "udp" : name === "SCTP" ? "sctp" : "tcp";
}

function titleOf(end: Endpoint): string {
  if (end.kind === "Pod") return `${end.namespace}/${end.name}`;
  return end.kind === "Node" ? `Node ${end.name}` : end.name;
}

/** Whatever way a manifest writes it. */
function hasClusterIp(service: Service, address: string): boolean {
  return clusterIps(service).some((ip) => canonicalIp(ip) === address);
}

/** The source by the address that it speaks from to this destination's family. */
function endTowards({ end, ips }: Place, address: IpKey): Endpoint {
  const family = isKey6(address) ? 6 : 4;
  return { ...end, ip: ips.find((ip) => familyOf(ip) === family) ?? end.ip };
}

/** Nothing is sent to a name that has no address, or from where there is no address to send from. */
function unsent(flow: string, source: Endpoint, { code, text, protocol }: Omit<Unresolved, "title">): TraceResult {
  return {
    flow: `${protocol.toUpperCase()} ${flow}`,
    verdict: "dropped",
    reason: { code, text, hop: 0 },
    source,
    deliveredTo: null,
    masqueraded: false,
    hops: [],
    reply: { verdict: "none", hops: [] },
    rules: { examined: 0, linear: 0 },
  };
}
