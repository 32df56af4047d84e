/**
 * The kubelets of all nodes of this process: pods that are bound to a node get a sandbox there, are wired and reported
 * Running and Ready; pods that are gone are taken down. One controller for all nodes, so that an event costs one look
 * and not one per node. A pod that cannot be wired stays Pending with the reason, and is tried again when its
 * node changes, or on `retry`.
 */
import type { Backend } from "../../backend/ops.ts";
import { type Family, familyOf } from "../api/ip.ts";
import { keyOf, splitKey } from "../api/meta.ts";
import { isFinished, type Pod, type PodCondition, type PodStatus } from "../api/pod.ts";
import type { Controller } from "../client/manager.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";
import { messageOf, type PodNetwork, type Sandbox, setUpPod, tearDownPod } from "./pod-worker.ts";

export type KubeletNode = {
  readonly name: string;
  /** The node's addresses, primary first. */
  readonly ips: readonly string[];
  readonly backend: Backend;
  readonly network: PodNetwork;
};

export type PodFailure = { readonly pod: string; readonly node: string; readonly error: unknown };

const READY_CONDITIONS: readonly string[] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

export class Kubelets implements Controller {
  readonly name: string = "kubelet";
  readonly kinds: readonly Kind[] = ["Pod", "Node"];
  readonly #store: Store;
  readonly #nodes: Map<string, KubeletNode> = new Map();
  readonly #sandboxes: Map<string, { readonly node: KubeletNode; readonly sandbox: Sandbox }> = new Map();
  readonly #failed: Map<string, PodFailure & { readonly uid: string }> = new Map();

  constructor(store: Store, nodes: readonly KubeletNode[] = []) {
    this.#store = store;
    for (const node of nodes) this.#nodes.set(node.name, node);
  }

  /** A node more. Its pods are looked at when they are marked or change. */
  addNode(node: KubeletNode): void {
    this.#nodes.set(node.name, node);
  }

  /** The sandbox of a pod, by namespace/name. */
  sandboxOf(key: string): Sandbox | undefined {
    return this.#sandboxes.get(key)?.sandbox;
  }

  get failures(): readonly PodFailure[] {
    return [...this.#failed.values()].map(({ pod, node, error }) => ({ pod, node, error }));
  }

  /** Forgets failures; the caller marks the keys that are returned. */
  retry(): readonly string[] {
    const keys = [...this.#failed.keys()];
    this.#failed.clear();
    return keys;
  }

  /** A node that changed (its network became ready) is reason for another try. */
  #retryNode(node: string): readonly string[] {
    const keys = [...this.#failed].filter(([, f]) => f.node === node).map(([key]) => key);
    for (const key of keys) this.#failed.delete(key);
    return keys;
  }

  keys({ object, type }: WatchEvent): readonly string[] {
    if (object.kind === "Node") return this.#retryNode(object.metadata.name);
    const pod = object as Pod;
    const key = keyOf(pod);
    if (type === "DELETED") return this.#sandboxes.has(key) || this.#failed.has(key) ? [key] : [];
    if (!this.#nodes.has(pod.spec.nodeName ?? "")) return [];
    const uid = pod.metadata.uid ?? "";
    const running = this.#sandboxes.get(key)?.sandbox.pod.metadata.uid === uid;
    if (running) return isFinished(pod) ? [key] : [];
    return this.#failed.get(key)?.uid === uid ? [] : [key];
  }

  async sync(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { namespace, name } = splitKey(key);
      await this.#sync(key, this.#store.get("Pod", namespace, name));
    }
  }

  async #sync(key: string, pod: Pod | undefined): Promise<void> {
    const wanted = pod !== undefined && !isFinished(pod) ? pod : undefined;
    const current = this.#sandboxes.get(key);
    if (current !== undefined && current.sandbox.pod.metadata.uid !== wanted?.metadata.uid) {
      await tearDownPod(current.sandbox, { ...current.node, nodeIps: current.node.ips });
      this.#sandboxes.delete(key);
    }
    if (wanted === undefined) this.#failed.delete(key);
    const node = this.#nodes.get(wanted?.spec.nodeName ?? "");
    if (wanted === undefined || node === undefined || this.#sandboxes.has(key)) return;
    if (this.#failed.get(key)?.uid === wanted.metadata.uid) return;
    try {
      const sandbox = await setUpPod(wanted, { ...node, nodeIps: node.ips });
      this.#sandboxes.set(key, { node, sandbox });
      this.#failed.delete(key);
      const ips = primaryFirst(sandbox.ips, familyOf(node.ips[0] ?? ""));
      await this.#store.update({ ...wanted, status: runningStatus(wanted, node, ips) });
    } catch (error) {
      this.#failed.set(key, { pod: key, node: node.name, uid: wanted.metadata.uid ?? "", error });
      await this.#store.update({ ...wanted, status: failedStatus(wanted, node, messageOf(error)) });
    }
  }

  /** Takes down all pods of all nodes. */
  async close(): Promise<void> {
    for (const { node, sandbox } of this.#sandboxes.values())
      await tearDownPod(sandbox, { ...node, nodeIps: node.ips });
    this.#sandboxes.clear();
  }
}

/** Plugins answer in an order of their own; a pod's primary address has the family of its node's. */
function primaryFirst(ips: readonly string[], primary: Family): readonly string[] {
  return [...ips].sort((a, b) => Number(familyOf(b) === primary) - Number(familyOf(a) === primary));
}

function runningStatus(pod: Pod, node: KubeletNode, ips: readonly string[]): PodStatus {
  const [podIP] = ips;
  return {
    ...hostStatus(pod, node),
    phase: "Running",
    ...(podIP === undefined ? {} : { podIP, podIPs: ips.map((ip) => ({ ip })) }),
    conditions: [
      ...READY_CONDITIONS.map((type): PodCondition => ({ type, status: "True" })),
      { type: "PodScheduled", status: "True" },
    ],
  };
}

function failedStatus(pod: Pod, node: KubeletNode, message: string): PodStatus {
  return {
    ...hostStatus(pod, node),
    phase: "Pending",
    reason: "FailedCreatePodSandBox",
    message,
    conditions: [
      ...READY_CONDITIONS.map(
        (type): PodCondition => ({ type, status: "False", reason: "FailedCreatePodSandBox", message }),
      ),
      { type: "PodScheduled", status: "True" },
    ],
  };
}

function hostStatus(pod: Pod, node: KubeletNode): PodStatus {
  const [hostIP] = node.ips;
  const startTime = pod.metadata.creationTimestamp;
  return {
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: node.ips.map((ip) => ({ ip })) }),
    ...(startTime === undefined ? {} : { startTime }),
  };
}
