/** Applies operations to a host, whole or not at all: what was done before a failure is undone in reverse. */
import type { Host } from "../host/host.ts";
import { ipvsOp } from "../ipvs/text.ts";
import { flushConntrack } from "../netfilter/conntrack-op.ts";
import { ipsetOp } from "../netfilter/ipset-text.ts";
import { restoreRules } from "../netfilter/restore-op.ts";
import { nftOp } from "../nftables/nft-op.ts";
import { addLinkOp, delLinkOp, setLinkOp } from "./apply-link.ts";
import { addrOp, fdbOp, neighOp, routeOp, sysctlOp } from "./apply-net.ts";
import { filterOp, qdiscOp } from "./apply-qdisc.ts";
import { vlanOp } from "./apply-vlan.ts";
import type { Undo } from "./link.ts";
import { NetlinkError, type RtnlOp } from "./rtnl-ops.ts";

/** Throws NetlinkError, with the operation that failed; the host is as before then. */
export function applyOps(host: Host, ops: readonly RtnlOp[]): void {
  const undo: Undo[] = [];
  for (const op of ops) {
    try {
      applyOne(host, op, undo);
    } catch (cause) {
      for (const step of undo.reverse()) step();
      if (!(cause instanceof NetlinkError)) throw cause;
      throw new NetlinkError(cause.code, cause.message, op, { cause });
    }
  }
}

function applyOne(host: Host, op: RtnlOp, undo: Undo[]): void {
  switch (op.op) {
    case "link.add":
      addLinkOp(host, op, undo);
      return;
    case "link.set":
      setLinkOp(host, op, undo);
      return;
    case "link.del":
      delLinkOp(host, op, undo);
      return;
    case "addr.add":
    case "addr.del":
      addrOp(host, op, undo);
      return;
    case "route.add":
    case "route.replace":
    case "route.del":
      routeOp(host, op, undo);
      return;
    case "neigh.replace":
    case "neigh.del":
      neighOp(host, op, undo);
      return;
    case "fdb.replace":
    case "fdb.del":
      fdbOp(host, op, undo);
      return;
    case "sysctl.set":
      sysctlOp(host, op, undo);
      return;
    case "vlan.add":
    case "vlan.del":
    case "vlan.flush":
      vlanOp(host, op, undo);
      return;
    case "qdisc.add":
    case "qdisc.del":
      qdiscOp(host, op, undo);
      return;
    case "filter.add":
      filterOp(host, op, undo);
      return;
    case "iptables.restore":
      undo.push(restoreRules(host.netns(op.netns), op));
      return;
    case "ipvs.restore":
      undo.push(ipvsOp(host.netns(op.netns), op));
      return;
    case "ipset.restore":
      undo.push(ipsetOp(host.netns(op.netns), op));
      return;
    case "nft.apply":
      undo.push(nftOp(host.netns(op.netns), op));
      return;
    case "conntrack.flush":
      flushConntrack(host.netns(op.netns), op);
      return;
    default:
      throw new NetlinkError("EINVAL", `operation ${(op as { op: string }).op} is not known`, op);
  }
}
