/**
 * The scheduler: binds pods to nodes.
 *
 * A node must pass the filters; among those that do, the one with the fewest pods of the same controller wins, then the
 * one with the fewest pods, then the first by name (numbers in names count as numbers). So replicas land on different
 * nodes, and the result depends on nothing but the objects. Leaves out resources other than the number of pods,
 * preferred affinities, spread constraints, priorities and preemption.
 */
import { controllerOf, keyOf, matchesSelector, splitKey } from "../api/meta.ts";
import type { Node } from "../api/node.ts";
import { isFinished, isTerminating, type Pod, type PodAffinityTerm, type PodCondition } from "../api/pod.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { whyNotNode } from "./filters.ts";

const DEFAULT_POD_LIMIT = 110;

type NodeState = { readonly node: Node; readonly order: number; readonly limit: number; pods: number };

export class Scheduler implements Controller {
  readonly name: string = "scheduler";
  readonly kinds: readonly Kind[] = ["Pod", "Node"];
  readonly #store: Store;
  /** Keys of pods that no node would take; a change of any node or pod may help them. */
  readonly #waiting: Set<string> = new Set();

  constructor(store: Store) {
    this.#store = store;
  }

  keys(event: WatchEvent): readonly string[] {
    const { object, type } = event;
    if (object.kind === "Node") return type === "DELETED" ? [] : [...this.#waiting];
    const key = keyOf(object);
    if (type === "DELETED") {
      this.#waiting.delete(key);
      return [...this.#waiting];
    }
    const pod = object as Pod;
    if (pod.spec.nodeName !== undefined || isTerminating(pod) || isFinished(pod)) return [];
    return type === "ADDED" || !this.#waiting.has(key) ? [key] : [];
  }

  async sync(keys: readonly string[]): Promise<void> {
    const pods = keys.flatMap((key) => {
      const { namespace, name } = splitKey(key);
      const pod = this.#store.get("Pod", namespace, name);
      return pod === undefined || pod.spec.nodeName !== undefined || isTerminating(pod) ? [] : [pod];
    });
    if (pods.length === 0) return;
    const cycle = new Cycle(this.#store);
    const groups = new Map<string, Pod[]>();
    for (const pod of pods) {
      const group = hasPodAffinity(pod) ? `pod ${keyOf(pod)}` : (controllerOf(pod)?.uid ?? `pod ${keyOf(pod)}`);
      const members = groups.get(group);
      if (members === undefined) groups.set(group, [pod]);
      else members.push(pod);
    }
    for (const members of groups.values()) await this.#place(cycle, members);
  }

  /** Places pods of one controller, which differ in nothing that matters here but their names. */
  async #place(cycle: Cycle, pods: readonly Pod[]): Promise<void> {
    const queues = new Map<string, NodeQueue>();
    for (const pod of pods) {
      const pin = JSON.stringify([pod.spec.affinity, pod.spec.nodeSelector, pod.spec.tolerations]);
      const queue = queues.get(pin) ?? cycle.candidates(pod);
      queues.set(pin, queue);
      const best = queue.take();
      if (best === undefined) {
        await this.#refuse(pod, queue.why());
        continue;
      }
      best.pods++;
      const bound = await this.#store.update({
        ...pod,
        spec: { ...pod.spec, nodeName: best.node.metadata.name },
        status: {
          ...pod.status,
          phase: pod.status?.phase ?? "Pending",
          conditions: withCondition(pod, { type: "PodScheduled", status: "True" }),
        },
      });
      this.#waiting.delete(keyOf(pod));
      cycle.placed(bound);
    }
  }

  async #refuse(pod: Pod, message: string): Promise<void> {
    this.#waiting.add(keyOf(pod));
    const condition: PodCondition = { type: "PodScheduled", status: "False", reason: "Unschedulable", message };
    await this.#store.update({
      ...pod,
      status: { ...pod.status, phase: "Pending", conditions: withCondition(pod, condition) },
    });
  }
}

function withCondition(pod: Pod, condition: PodCondition): readonly PodCondition[] {
  return [...(pod.status?.conditions ?? []).filter((c) => c.type !== condition.type), condition];
}

function hasPodAffinity(pod: Pod): boolean {
  return pod.spec.affinity?.podAffinity !== undefined || pod.spec.affinity?.podAntiAffinity !== undefined;
}

/** One look at the cluster: nodes, how many pods each has, and where each controller's pods are. */
class Cycle {
  readonly #states: readonly NodeState[];
  readonly #byName: ReadonlyMap<string, NodeState>;
  readonly #store: Store;
  readonly #ofOwner: Map<string, Map<NodeState, number>> = new Map();

  constructor(store: Store) {
    this.#store = store;
    const nodes = [...store.list("Node")].sort((a, b) => compareNames(a.metadata.name, b.metadata.name));
    this.#states = nodes.map((node, order) => ({
      node,
      order,
      limit: Number(node.status?.allocatable?.pods ?? node.status?.capacity?.pods ?? DEFAULT_POD_LIMIT),
      pods: 0,
    }));
    this.#byName = new Map(this.#states.map((s) => [s.node.metadata.name, s]));
    for (const pod of store.list("Pod")) {
      const state = this.#byName.get(pod.spec.nodeName ?? "");
      if (state === undefined || isFinished(pod)) continue;
      state.pods++;
      this.#count(pod, state);
    }
  }

  placed(pod: Pod): void {
    const state = this.#byName.get(pod.spec.nodeName ?? "");
    if (state !== undefined) this.#count(pod, state);
  }

  candidates(pod: Pod): NodeQueue {
    const reasons = new Map<string, number>();
    const siblings = this.#ofOwner.get(controllerOf(pod)?.uid ?? "");
    const entries: Entry[] = [];
    const other = this.#podFilter(pod);
    for (const state of this.#states) {
      const why = whyNotNode(pod, state.node) ?? (state.pods >= state.limit ? "Too many pods" : other(state.node));
      if (why === null) entries.push({ state, siblings: siblings?.get(state) ?? 0 });
      else reasons.set(why, (reasons.get(why) ?? 0) + 1);
    }
    return new NodeQueue(entries, reasons, this.#states.length);
  }

  #count(pod: Pod, state: NodeState): void {
    const owner = controllerOf(pod)?.uid;
    if (owner === undefined) return;
    const counts = this.#ofOwner.get(owner) ?? new Map<NodeState, number>();
    counts.set(state, (counts.get(state) ?? 0) + 1);
    this.#ofOwner.set(owner, counts);
  }

  /** Required pod affinity and anti-affinity: pods that match, by the domains of the nodes that they run on. */
  #podFilter(pod: Pod): (node: Node) => string | null {
    if (!hasPodAffinity(pod)) return () => null;
    const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
    const domainsOf = (term: PodAffinityTerm): ReadonlySet<string> => {
      const namespaces = term.namespaces ?? [pod.metadata.namespace ?? "default"];
      const out = new Set<string>();
      for (const namespace of namespaces)
        for (const other of this.#store.list("Pod", { namespace })) {
          const node = this.#byName.get(other.spec.nodeName ?? "")?.node;
          const domain = node?.metadata.labels?.[term.topologyKey];
          if (
            domain !== undefined &&
            term.labelSelector !== undefined &&
            matchesSelector(term.labelSelector, other.metadata.labels)
          )
            out.add(domain);
        }
      return out;
    };
    const apart = (podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map((t) => ({
      key: t.topologyKey,
      domains: domainsOf(t),
    }));
    const together = (podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map((t) => ({
      key: t.topologyKey,
      domains: domainsOf(t),
      // The first pod of a group that wants to be together has nobody to join.
      first: t.labelSelector !== undefined && matchesSelector(t.labelSelector, pod.metadata.labels),
    }));
    return (node) => {
      const domain = (key: string): string => node.metadata.labels?.[key] ?? "";
      if (apart.some((t) => t.domains.has(domain(t.key)))) return "node(s) didn't match pod anti-affinity rules";
      if (together.some((t) => !t.domains.has(domain(t.key)) && !(t.first && t.domains.size === 0)))
        return "node(s) didn't match pod affinity rules";
      return null;
    };
  }
}

type Entry = { readonly state: NodeState; siblings: number };

/** A binary heap of nodes: fewest siblings, then fewest pods, then first by name. */
class NodeQueue {
  readonly #heap: Entry[];
  readonly #reasons: Map<string, number>;
  readonly #total: number;

  constructor(entries: Entry[], reasons: Map<string, number>, total: number) {
    this.#heap = entries;
    this.#reasons = reasons;
    this.#total = total;
    for (let i = (entries.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  /** The best node, which is counted as having one pod more (the caller counts it in the state). */
  take(): NodeState | undefined {
    const top = this.#heap[0];
    if (top === undefined) return undefined;
    const { state } = top;
    if (state.pods >= state.limit) {
      this.#reasons.set("Too many pods", (this.#reasons.get("Too many pods") ?? 0) + 1);
      const last = this.#heap.pop();
      if (last !== undefined && last !== top) this.#heap[0] = last;
      this.#down(0);
      return this.take();
    }
    top.siblings++;
    this.#pushes = { pods: state.pods + 1, entry: top };
    this.#down(0);
    this.#pushes = null;
    return state;
  }

  why(): string {
    const reasons = [...this.#reasons].sort().map(([why, n]) => `${n} ${why}`);
    return `0/${this.#total} nodes are available: ${reasons.length === 0 ? "there are no nodes" : reasons.join(", ")}.`;
  }

  /** The entry that is about to have one pod more. */
  #pushes: { readonly pods: number; readonly entry: Entry } | null = null;

  #podsOf(entry: Entry): number {
    return this.#pushes?.entry === entry ? this.#pushes.pods : entry.state.pods;
  }

  #less(a: Entry, b: Entry): boolean {
    if (a.siblings !== b.siblings) return a.siblings < b.siblings;
    const x = this.#podsOf(a);
    const y = this.#podsOf(b);
    return x === y ? a.state.order < b.state.order : x < y;
  }

  #down(from: number): void {
    const heap = this.#heap;
    for (let i = from; ; ) {
      let best = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        const [a, b] = [heap[child], heap[best]];
        if (a !== undefined && b !== undefined && this.#less(a, b)) best = child;
      }
      const [a, b] = [heap[i], heap[best]];
      if (best === i || a === undefined || b === undefined) return;
      heap[i] = b;
      heap[best] = a;
      i = best;
    }
  }
}

/** node-2 before node-10. */
export function compareNames(a: string, b: string): number {
  const x = a.split(/(\d+)/);
  const y = b.split(/(\d+)/);
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const [p = "", q = ""] = [x[i], y[i]];
    if (p === q) continue;
    if (i % 2 === 1 && p !== "" && q !== "" && Number(p) !== Number(q)) return Number(p) - Number(q);
    return p < q ? -1 : 1;
  }
  return 0;
}
