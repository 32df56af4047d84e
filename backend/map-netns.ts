/** An operation with its namespaces renamed: a sandbox path on one side of a socket is a name on the other. */
import type { NetnsRef, RtnlOp } from "../dataplane/netns/rtnl-ops.ts";

export function mapNetns(op: RtnlOp, map: (netns: NetnsRef) => NetnsRef): RtnlOp {
  const netns = map(op.netns);
  if (op.op === "link.set" && op.toNetns !== undefined) return { ...op, netns, toNetns: map(op.toNetns) };
  if (op.op === "link.add" && op.kind === "veth" && op.peer.netns !== undefined) {
    return { ...op, netns, peer: { ...op.peer, netns: map(op.peer.netns) } };
  }
  return { ...op, netns };
}
