/**
 * One pod on one node: its sandbox namespace and its wiring. Nothing runs in it; a pod is ready as soon as it is wired.
 * Pods on the host network have no sandbox and the node's addresses.
 */
import { createHash } from "node:crypto";
import type { Backend } from "../../backend/ops.ts";
import type { Pod } from "../api/pod.ts";

export type PodNetworkResult = {
  /** Addresses of the pod, primary first. */
  readonly ips: readonly string[];
  /** The CNI result. */
  readonly result: unknown;
};

/** The seam between the kubelet and the network plugins: ADD and DEL of a conflist for one pod. */
export interface PodNetwork {
  /** Wires a sandbox. Throws CniError; the kubelet then calls `del`. */
  add(pod: Pod, netnsPath: string, containerId: string): Promise<PodNetworkResult>;
  /** Undoes `add`. What is already gone is fine; it may be called when `add` failed half way. */
  del(pod: Pod, netnsPath: string, containerId: string): Promise<void>;
}

export type Sandbox = {
  readonly pod: Pod;
  readonly containerId: string;
  /** Path of the namespace; null on the host network. */
  readonly netns: string | null;
  readonly ips: readonly string[];
  readonly result: unknown;
};

export type PodWorkerOptions = {
  readonly backend: Backend;
  readonly network: PodNetwork;
  readonly nodeIps: readonly string[];
};

/** Makes a pod's sandbox. If that fails nothing of it is left. */
export async function setUpPod(pod: Pod, { backend, network, nodeIps }: PodWorkerOptions): Promise<Sandbox> {
  const containerId = containerIdOf(pod);
  if (pod.spec.hostNetwork === true) return { pod, containerId, netns: null, ips: nodeIps, result: null };
  const netns = await backend.addNetns(`cni-${pod.metadata.uid ?? containerId.slice(0, 32)}`);
  try {
    const { ips, result } = await network.add(pod, netns, containerId);
    return { pod, containerId, netns, ips, result };
  } catch (error) {
    await cleanUp(pod, netns, containerId, backend, network, error);
    throw error;
  }
}

export async function tearDownPod(
  { pod, netns, containerId }: Sandbox,
  { backend, network }: PodWorkerOptions,
): Promise<void> {
  if (netns === null) return;
  await network.del(pod, netns, containerId);
  await backend.delNetns(netns);
}

/** After a failed ADD: DEL, and the namespace goes even if DEL fails too. */
async function cleanUp(
  pod: Pod,
  netns: string,
  containerId: string,
  backend: Backend,
  network: PodNetwork,
  cause: unknown,
): Promise<void> {
  try {
    await network.del(pod, netns, containerId);
  } catch (error) {
    throw new AggregateError(
      [cause, error],
      `pod ${pod.metadata.namespace}/${pod.metadata.name}: ADD failed, and DEL after it: ${messageOf(cause)}; ${messageOf(error)}`,
    );
  } finally {
    await backend.delNetns(netns);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** 64 hexadecimal digits, as containerd's. */
export function containerIdOf(pod: Pod): string {
  return createHash("sha256")
    .update(`${pod.metadata.uid} ${pod.metadata.namespace}/${pod.metadata.name}`)
    .digest("hex");
}
