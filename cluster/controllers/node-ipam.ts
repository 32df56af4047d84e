/**
 * Pod CIDRs of nodes, out of the cluster CIDR (the node IPAM controller of kube-controller-manager). A CIDR that a node
 * asks for itself is kept. Nodes get the second block first: the first one is used last.
 */
import { ClusterError } from "../api/cluster-error.ts";
import { type Cidr, type Family, formatCidr, overlaps, parseCidr, WIDTH } from "../api/ip.ts";
import { type Node, podCidrs } from "../api/node.ts";
import type { Controller } from "../client/manager.ts";
import { compareNames } from "../scheduler/scheduler.ts";
import type { Kind, Store, WatchEvent } from "../store/store.ts";

/** The prefix length of what a node gets, of each family. */
export type NodeMaskSizes = Readonly<Partial<Record<Family, number>>>;
/** Unless settings say otherwise. */
export const NODE_MASK_SIZES: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };

export type NodeIpamSettings = {
  /** One CIDR, or one of each family. */
  readonly clusterCidrs: readonly string[];
  readonly nodeMaskSizes?: NodeMaskSizes;
};

type Pool = { readonly cidr: Cidr; readonly text: string; readonly bits: number; readonly blocks: number };

export class NodeIpamController implements Controller {
  readonly name: string = "node-ipam";
  readonly kinds: readonly Kind[] = ["Node"];
  readonly #store: Store;
  readonly #pools: readonly Pool[];

  constructor(store: Store, settings: NodeIpamSettings) {
    this.#store = store;
    this.#pools = settings.clusterCidrs.map((text) => poolOf(text, settings));
    const [a, b] = this.#pools;
    if (a !== undefined && b !== undefined && a.cidr.family === b.cidr.family)
      throw new ClusterError("CidrInvalid", `cluster CIDRs ${a.text} and ${b.text}: two of one family`);
  }

  keys(event: WatchEvent): readonly string[] {
    return event.type === "DELETED" ? [] : [event.object.metadata.name];
  }

  async sync(keys: readonly string[]): Promise<void> {
    const nodes = this.#store.list("Node");
    const taken = this.#pools.map((pool) => this.#takenIn(pool, nodes));
    checkOverlaps(nodes);
    for (const name of [...keys].sort(compareNames)) {
      const node = this.#store.get("Node", "", name);
      if (node === undefined || podCidrs(node).length > 0 || this.#pools.length === 0) continue;
      const podCIDRs = this.#pools.map((pool, i) => take(pool, taken[i] ?? new Set(), node));
      await this.#store.update({ ...node, spec: { ...node.spec, podCIDR: podCIDRs[0] ?? "", podCIDRs } });
    }
  }

  /** Blocks of the pool that some node's CIDR touches. */
  #takenIn(pool: Pool, nodes: readonly Node[]): Set<number> {
    const out = new Set<number>();
    const host = BigInt(WIDTH[pool.cidr.family] - pool.bits);
    for (const node of nodes)
      for (const text of podCidrs(node)) {
        const cidr = parseCidr(text);
        if (cidr === null || !overlaps(cidr, pool.cidr)) continue;
        const first = cidr.base < pool.cidr.base ? 0 : Number((cidr.base - pool.cidr.base) >> host);
        const count = cidr.bits >= pool.bits ? 1 : Math.min(pool.blocks, 2 ** (pool.bits - cidr.bits));
        for (let i = 0; i < count; i++) out.add(first + i);
      }
    return out;
  }
}

function poolOf(text: string, settings: NodeIpamSettings): Pool {
  const cidr = parseCidr(text);
  if (cidr === null) throw new ClusterError("CidrInvalid", `cluster CIDR ${text}: not a CIDR`);
  const bits = settings.nodeMaskSizes?.[cidr.family] ?? Math.max(NODE_MASK_SIZES[cidr.family], cidr.bits);
  if (bits < cidr.bits || bits > WIDTH[cidr.family])
    throw new ClusterError("CidrInvalid", `cluster CIDR ${text}: holds no block of /${bits} for a node`);
  return { cidr, text, bits, blocks: Math.min(2 ** (bits - cidr.bits), 65536) };
}

function take(pool: Pool, taken: Set<number>, node: Node): string {
  for (let i = 1; i <= pool.blocks; i++) {
    const block = i % pool.blocks;
    if (taken.has(block)) continue;
    taken.add(block);
    const host = BigInt(WIDTH[pool.cidr.family] - pool.bits);
    return formatCidr({ family: pool.cidr.family, base: pool.cidr.base + (BigInt(block) << host), bits: pool.bits });
  }
  throw new ClusterError(
    "CidrExhausted",
    `cluster CIDR ${pool.text}: no free /${pool.bits} for it (${taken.size} of ${pool.blocks} in use)`,
    node,
    ["spec", "podCIDR"],
  );
}

/** Sorted by start, CIDRs that overlap stand side by side. */
function checkOverlaps(nodes: readonly Node[]): void {
  const all = nodes.flatMap((node) => podCidrs(node).flatMap((text) => [{ node, text, cidr: parseCidr(text) }]));
  const sorted = all.flatMap((e) => (e.cidr === null ? [] : [{ ...e, cidr: e.cidr }]));
  sorted.sort(
    (a, b) =>
      a.cidr.family - b.cidr.family ||
      (a.cidr.base < b.cidr.base ? -1 : a.cidr.base > b.cidr.base ? 1 : a.cidr.bits - b.cidr.bits),
  );
  for (let i = 1; i < sorted.length; i++) {
    const [a, b] = [sorted[i - 1], sorted[i]];
    if (a !== undefined && b !== undefined && overlaps(a.cidr, b.cidr))
      throw new ClusterError("CidrOverlap", `${b.text} overlaps ${a.text} of Node ${a.node.metadata.name}`, b.node, [
        "spec",
        "podCIDR",
      ]);
  }
}
