/** qdisc.add, qdisc.del and filter.add: RTM_NEWQDISC, RTM_DELQDISC and RTM_NEWTFILTER (net/sched). */
import type { Host } from "../host/host.ts";
import { Tbf } from "../qdisc/tbf.ts";
import { existing } from "./apply-link.ts";
import type { Undo } from "./link.ts";
import { type FilterAdd, NetlinkError, type QdiscAdd, type QdiscDel } from "./rtnl-ops.ts";

export function qdiscOp(host: Host, op: QdiscAdd | QdiscDel, undo: Undo[]): void {
  const dev = existing(host.netns(op.netns), op.dev);
  const { qdisc, ingress, redirect } = dev;
  const there = op.kind === "tbf" ? qdisc !== null : ingress;
  if (op.op === "qdisc.add" && there) throw new NetlinkError("EEXIST", `link ${op.dev} has a qdisc ${op.kind}`);
  if (op.op === "qdisc.del" && !there) throw new NetlinkError("ENOENT", `link ${op.dev} has no qdisc ${op.kind}`);
  if (op.kind === "ingress") {
    dev.ingress = op.op === "qdisc.add";
    dev.redirect = null;
  } else if (op.op === "qdisc.add") {
    if (!(op.rate > 0 && op.burst > 0 && op.limit >= 0))
      throw new NetlinkError("EINVAL", `qdisc of ${op.dev}: rate and burst must be above 0`);
    dev.qdisc = new Tbf(dev, { rate: op.rate, burst: op.burst, limit: op.limit });
  } else {
    dev.qdisc = null;
    qdisc?.reset();
  }
  undo.push(() => {
    if (dev.qdisc !== qdisc) dev.qdisc?.reset();
    dev.qdisc = qdisc;
    dev.ingress = ingress;
    dev.redirect = redirect;
  });
}

export function filterOp(host: Host, op: FilterAdd, undo: Undo[]): void {
  const ns = host.netns(op.netns);
  const dev = existing(ns, op.dev);
  const to = existing(ns, op.redirect);
  if (!dev.ingress) throw new NetlinkError("EINVAL", `link ${op.dev} has no ingress qdisc`);
  // the first of two that take all is the one that does
  if (dev.redirect !== null) return;
  dev.redirect = to;
  undo.push(() => {
    dev.redirect = null;
  });
}
