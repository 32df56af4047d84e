/** Starts what each wired pod listens on, in its namespace, and stops it with the pod. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { Pod } from "../api/pod.ts";
import { serve } from "../apps/serve.ts";
import type { DnsServer } from "../dns/server.ts";
import type { Store } from "../store/store.ts";
import { environmentOf } from "../workload/env.ts";
import { listenersOf } from "../workload/listeners.ts";

const NOTHING = new Uint8Array(0);

export class Workloads {
  readonly #store: Store;
  readonly #dns: DnsServer;
  readonly #running = new Map<string, (() => void)[]>();

  constructor(store: Store, dns: DnsServer) {
    this.#store = store;
    this.#dns = dns;
  }

  /** Opens the ports of a pod that has its address. */
  start(pod: Pod, ns: NetNs, podIp: string): void {
    const key = keyOf(pod);
    if (this.#running.has(key)) return;
    const server = {
      podName: pod.metadata.name,
      podIp,
      dns: (query: Uint8Array, overTcp: boolean) => this.#dns.answer(query, overTcp ? "tcp" : "udp") ?? NOTHING,
    };
    const close: (() => void)[] = [];
    for (const listener of listenersOf(pod, (c) => environmentOf(pod, c, this.#store).vars)) {
      if (listener.protocol === "SCTP") continue;
      const stop = serve(ns, listener.protocol, listener.port, listener.app, server);
      if (stop !== null) close.push(stop);
    }
    this.#running.set(key, close);
  }

  stop(pod: Pod): void {
    const key = keyOf(pod);
    for (const close of this.#running.get(key) ?? []) close();
    this.#running.delete(key);
  }
}

function keyOf(pod: Pod): string {
  return pod.metadata.uid ?? `${pod.metadata.namespace}/${pod.metadata.name}`;
}
