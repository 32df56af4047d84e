/** A tracked connection as the packet sees it. The table, its states and timeouts are in `conntrack.ts`. */

import type { Skb } from "../skb/skb.ts";

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

/**
 * A packet that the kernel makes in answer to another, an ICMP error or a reset, belongs to the other's connection even
 * before that is in the table (nf_ct_attach): so it is translated back on its way out.
 */
export function attachCt(answer: Skb, about: Skb): void {
  // What answers an untracked packet belongs to nothing, but is marked as if it did: see `target/ct.ts`.
  if (about.ct === null && about.ctInfo !== IP_CT_UNTRACKED) return;
  answer.ct = about.ct;
  answer.ctInfo = about.ctInfo < IP_CT_ESTABLISHED_REPLY ? IP_CT_RELATED_REPLY : IP_CT_RELATED;
}
