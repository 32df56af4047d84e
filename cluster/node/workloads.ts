/** Starts what each wired pod listens on, in its namespace, and stops it with the pod. Knows which pod a namespace is. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { keyOf, splitKey } from "../api/meta.ts";
import type { Pod } from "../api/pod.ts";
import { serve } from "../apps/serve.ts";
import type { Controller } from "../client/manager.ts";
import type { DnsServer } from "../dns/server.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { environmentOf } from "../workload/env.ts";
import { listenersOf } from "../workload/listeners.ts";

type Running = { readonly uid: string; readonly ns: NetNs; readonly close: readonly (() => void)[] };

const NO_ANSWER = new Uint8Array(0);

export class Workloads implements Controller {
  readonly name: string = "workloads";
  readonly kinds: readonly Kind[] = ["Pod"];
  readonly #store: Store;
  readonly #dns: DnsServer;
  readonly #netnsOf: (pod: Pod) => NetNs | undefined;
  readonly #running = new Map<string, Running>();
  readonly #pods = new Map<NetNs, Pod>();

  /** `netnsOf` answers where a wired pod's packets start. */
  constructor(store: Store, dns: DnsServer, netnsOf: (pod: Pod) => NetNs | undefined) {
    this.#store = store;
    this.#dns = dns;
    this.#netnsOf = netnsOf;
  }

  /** The pod whose sandbox this is. */
  podOf(ns: NetNs): Pod | undefined {
    return this.#pods.get(ns);
  }

  keys({ object }: WatchEvent): readonly string[] {
    return [keyOf(object)];
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      const pod = this.#store.get("Pod", namespace, name);
      const ip = pod?.status?.podIP;
      const current = this.#running.get(key);
      if (current !== undefined && (ip === undefined || current.uid !== pod?.metadata.uid)) this.#stop(key, current);
      if (pod !== undefined && ip !== undefined && !this.#running.has(key)) this.#start(key, pod, ip);
    }
  }

  #start(key: string, pod: Pod, podIp: string): void {
    const ns = this.#netnsOf(pod);
    if (ns === undefined) return;
    const dns = (query: Uint8Array, overTcp: boolean): Uint8Array =>
      this.#dns.answer(query, overTcp ? "tcp" : "udp") ?? NO_ANSWER;
    const server = { podName: pod.metadata.name, podIp, dns };
    const close: (() => void)[] = [];
    for (const listener of listenersOf(pod, (c) => environmentOf(pod, c, this.#store).vars)) {
      const stop = serve(ns, listener.protocol, listener.port, listener.app, server);
      if (stop !== null) close.push(stop);
    }
    this.#running.set(key, { uid: pod.metadata.uid ?? "", ns, close });
    if (pod.spec.hostNetwork !== true) this.#pods.set(ns, pod);
  }

  #stop(key: string, { close, ns }: Running): void {
    for (const stop of close) stop();
    this.#running.delete(key);
    this.#pods.delete(ns);
  }
}
