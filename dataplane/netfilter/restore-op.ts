/** The operation iptables.restore on a namespace. */
import type { NetNs } from "../netns/netns.ts";
import { type IptablesRestore, NetlinkError } from "../netns/rtnl-ops.ts";

/** Replaces tables, or adds to them, and answers how to undo it. Throws NetlinkError EINVAL for text that is wrong. */
export function restoreRules(_ns: NetNs, op: IptablesRestore): () => void {
  throw new NetlinkError("EOPNOTSUPP", "iptables rules are not supported yet", op);
}
