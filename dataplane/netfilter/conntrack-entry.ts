/** A tracked connection as the packet sees it. The table, its states and timeouts are in `conntrack.ts`. */

/** skb.ctInfo (enum ip_conntrack_info). */
export const IP_CT_ESTABLISHED = 0;
export const IP_CT_RELATED = 1;
export const IP_CT_NEW = 2;
export const IP_CT_ESTABLISHED_REPLY = 3;
export const IP_CT_RELATED_REPLY = 4;
export const IP_CT_UNTRACKED = 7;

/** Opaque to the stack outside netfilter. */
export interface CtEntry {
  readonly id: number;
}
