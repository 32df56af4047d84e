/** Names for a trace: which pod a namespace is, which object stands behind a rule, who has an address. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { TracedRule } from "../../dataplane/skb/trace.ts";
import { formatIp } from "../../dataplane/wire/ip-key.ts";
import type { KubeObject } from "../api/meta.ts";
import { podCidrs } from "../api/node.ts";
import type { Pod } from "../api/pod.ts";
import type { KubeProxy } from "../kube-proxy/kube-proxy.ts";
import type { Origin } from "../manifests/load.ts";
import { ROUTER } from "../node/outside.ts";
import type { Store } from "../store/store.ts";
import type { Names } from "./hops.ts";
import type { Endpoint } from "./result.ts";
import type { Event } from "./tracer.ts";

export type NamingSources = {
  readonly store: Store;
  /** The pod of a sandbox namespace. */
  readonly podOf: (ns: NetNs) => Pod | undefined;
  readonly proxies: ReadonlyMap<string, KubeProxy>;
  /** By "kind/namespace/name". */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly external: NetNs;
};

export class Naming implements Names {
  readonly #from: NamingSources;
  allRules = false;

  constructor(from: NamingSources) {
    this.#from = from;
  }

  placeOf(ns: NetNs): string {
    const pod = this.#from.podOf(ns);
    return pod === undefined ? "host" : `pod ${pod.metadata.namespace}/${pod.metadata.name}`;
  }

  originOfRule(node: string, rule: TracedRule): string {
    const comment = commentOf(rule.text);
    // A chain of an object stands for it; in a shared chain, the comment or the chain jumped to names the object.
    const target = /-[jg] (\S+)/.exec(rule.text)?.[1] ?? "";
    const proxy = this.#from.proxies.get(node);
    const behindTarget = /^KUBE-(SVC|SVL|EXT|FW|SEP)-/.test(target) ? proxy?.originOf(target) : undefined;
    const origin = behindTarget ?? proxy?.originOf(rule.chain, comment);
    if (origin !== undefined) {
      const place = this.#placeOfObject(origin.kind, origin.namespace, origin.name);
      const name = origin.kind === "kube-proxy" ? origin.detail : `${origin.kind} ${origin.namespace}/${origin.name}`;
      const which = /[0-9]+ of [0-9]+$/.exec(origin.detail)?.[0];
      return `${name}${place}${which === undefined ? "" : `, endpoint ${which}`}`;
    }
    if (rule.chain.startsWith("FLANNEL-") || target.startsWith("FLANNEL-")) return "flanneld";
    if (rule.chain.startsWith("CNI-")) return "CNI plugin";
    return comment;
  }

  originOfRoute(node: string, route: string): string {
    // a route to one address is the load balancer's
    if (node === ROUTER && /^blackhole \S+\//.test(route)) return "addresses of the cluster, which nobody outside has";
    const remote = /^(\S+) via \S+ dev flannel(?:-v6)?\.\S+ onlink/.exec(route)?.[1];
    if (remote === undefined) return "";
    const owner = this.#from.store.list("Node").find((n) => podCidrs(n).includes(remote));
    return owner === undefined || owner.metadata.name === node ? "" : `flannel lease of ${owner.metadata.name}`;
  }

  /** Who received the packet. */
  receiverOf(event: Event): Endpoint {
    const ip = formatIp(event.tuple.dst);
    const port = event.tuple.dstPort === 0 ? null : event.tuple.dstPort;
    return { ...this.ownerOf(event.ns), ip, port };
  }

  /** The end that a namespace is. */
  ownerOf(ns: NetNs): Omit<Endpoint, "ip" | "port"> {
    const pod = this.#from.podOf(ns);
    if (pod !== undefined) {
      const { namespace = "default", name } = pod.metadata;
      return { kind: "Pod", namespace, name, node: ns.node };
    }
    if (ns === this.#from.external) return { kind: "External", namespace: "", name: "external", node: "" };
    return { kind: "Node", namespace: "", name: ns.node, node: ns.node };
  }

  /** ", web.yaml:12", of the object or of what made it. */
  #placeOfObject(kind: string, namespace: string, name: string): string {
    const origin = this.originOfObject(kind, namespace, name);
    return origin === undefined ? "" : `, ${origin.file}:${origin.line}`;
  }

  /** Where an object is written; for one that a controller made, where its owner is. */
  originOfObject(kind: string, namespace: string, name: string): Origin | undefined {
    let at: { kind: string; name: string } | undefined = { kind, name };
    for (let depth = 0; at !== undefined && depth < 5; depth++) {
      const origin = this.#from.origins.get(`${at.kind}/${namespace}/${at.name}`);
      if (origin !== undefined) return origin;
      const object: KubeObject | undefined = this.#from.store.get(at.kind, namespace, at.name);
      at = object?.metadata.ownerReferences?.find((o) => o.controller === true);
    }
    return undefined;
  }
}

function commentOf(rule: string): string {
  const match = /--comment (?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(rule);
  return match?.[1]?.replace(/\\(.)/g, "$1") ?? match?.[2] ?? "";
}
