/** All matches. A new one is a file here and a line in each of the places below. */
import type { NfPacket } from "../packet.ts";
import { type AddrtypeMatch, addrtypeMatch } from "./addrtype.ts";
import { type CommentMatch, commentMatch } from "./comment.ts";
import { type ConnlimitMatch, connlimitMatch } from "./connlimit.ts";
import { type ConntrackMatch, conntrackMatch, type StateMatch, stateMatch, testState } from "./conntrack.ts";
import { type DscpMatch, dscpMatch } from "./dscp.ts";
import { type HashlimitMatch, hashlimitMatch } from "./hashlimit.ts";
import { type IcmpMatch, icmpMatch } from "./icmp.ts";
import { type Icmp6Match, icmp6Match } from "./icmp6.ts";
import { type IprangeMatch, iprangeMatch } from "./iprange.ts";
import { type IpvsMatch, ipvsMatch } from "./ipvs.ts";
import { type LengthMatch, lengthMatch } from "./length.ts";
import { type LimitMatch, limitMatch } from "./limit.ts";
import { type MacMatch, macMatch } from "./mac.ts";
import { type ConnmarkMatch, connmarkMatch, type MarkMatch, markMatch } from "./mark.ts";
import type { MatchModule } from "./module.ts";
import { type MultiportMatch, multiportMatch } from "./multiport.ts";
import { type NfacctMatch, nfacctMatch } from "./nfacct.ts";
import { type OwnerMatch, ownerMatch } from "./owner.ts";
import { type PhysdevMatch, physdevMatch } from "./physdev.ts";
import { type PkttypeMatch, pkttypeMatch } from "./pkttype.ts";
import { type PolicyMatch, policyMatch } from "./policy.ts";
import { type QuotaMatch, quotaMatch } from "./quota.ts";
import { type RecentMatch, recentMatch } from "./recent.ts";
import { type RpfilterMatch, rpfilterMatch } from "./rpfilter.ts";
import { type SctpMatch, sctpMatch } from "./sctp.ts";
import { type SetMatch, setMatch } from "./set.ts";
import { type SocketMatch, socketMatch } from "./socket.ts";
import { type StatisticMatch, statisticMatch } from "./statistic.ts";
import { type StringMatch, stringMatch } from "./string.ts";
import { type TcpMatch, tcpMatch } from "./tcp.ts";
import { type TcpmssMatch, tcpmssMatch } from "./tcpmss.ts";
import { type TosMatch, tosMatch } from "./tos.ts";
import { type HlMatch, hlMatch, type TtlMatch, ttlMatch } from "./ttl.ts";
import { type UdpMatch, udpMatch } from "./udp.ts";

export type Match =
  | TcpMatch
  | UdpMatch
  | CommentMatch
  | MarkMatch
  | ConnmarkMatch
  | ConntrackMatch
  | StateMatch
  | StatisticMatch
  | AddrtypeMatch
  | RecentMatch
  | SetMatch
  | DscpMatch
  | IcmpMatch
  | Icmp6Match
  | LengthMatch
  | LimitMatch
  | MacMatch
  | MultiportMatch
  | OwnerMatch
  | PhysdevMatch
  | PkttypeMatch
  | SctpMatch
  | TcpmssMatch
  | ConnlimitMatch
  | HashlimitMatch
  | NfacctMatch
  | PolicyMatch
  | QuotaMatch
  | RpfilterMatch
  | SocketMatch
  | StringMatch
  | TosMatch
  | TtlMatch
  | HlMatch
  | IprangeMatch
  | IpvsMatch;

type ModuleOf = { readonly [K in Match["kind"]]: MatchModule<Extract<Match, { kind: K }>> };

const MODULES: ModuleOf = {
  tcp: tcpMatch,
  udp: udpMatch,
  comment: commentMatch,
  mark: markMatch,
  connmark: connmarkMatch,
  conntrack: conntrackMatch,
  state: stateMatch,
  statistic: statisticMatch,
  addrtype: addrtypeMatch,
  recent: recentMatch,
  set: setMatch,
  dscp: dscpMatch,
  icmp: icmpMatch,
  icmp6: icmp6Match,
  length: lengthMatch,
  limit: limitMatch,
  mac: macMatch,
  multiport: multiportMatch,
  owner: ownerMatch,
  physdev: physdevMatch,
  pkttype: pkttypeMatch,
  sctp: sctpMatch,
  tcpmss: tcpmssMatch,
  connlimit: connlimitMatch,
  hashlimit: hashlimitMatch,
  nfacct: nfacctMatch,
  policy: policyMatch,
  quota: quotaMatch,
  rpfilter: rpfilterMatch,
  socket: socketMatch,
  string: stringMatch,
  tos: tosMatch,
  ttl: ttlMatch,
  hl: hlMatch,
  iprange: iprangeMatch,
  ipvs: ipvsMatch,
};

/** The module that `-m` names. */
export function matchModule(name: string): MatchModule<Match> | undefined {
  return Object.hasOwn(MODULES, name) ? (MODULES[name as Match["kind"]] as MatchModule<Match>) : undefined;
}

export function printMatch(m: Match): string {
  return `-m ${m.kind}${(MODULES[m.kind] as MatchModule<Match>).print(m)}`;
}

/** Whether a match keeps something of its own between packets (`NfState.own`, `NfState.connections`). */
export function remembers(m: Match): boolean {
  switch (m.kind) {
    case "limit":
    case "quota":
    case "connlimit":
      return true;
    case "statistic":
      return m.mode === "nth";
    default:
      return false;
  }
}

/** Numbers for the matches that nearly every packet meets: a rule keeps them, so that a walk need not look at `kind`. */
const OP_OTHER = 0;
const OP_ALWAYS = 1;
const OP_STATE = 2;
const OP_MARK = 3;
const OP_TCP = 4;
const OP_UDP = 5;

export function matchOp(m: Match): number {
  switch (m.kind) {
    case "comment":
      return OP_ALWAYS;
    case "conntrack":
      return m.stateOnly ? OP_STATE : OP_OTHER;
    case "mark":
      return OP_MARK;
    case "tcp":
      return OP_TCP;
    case "udp":
      return OP_UDP;
    default:
      return OP_OTHER;
  }
}

/** `op` is the match's matchOp. */
export function testMatch(op: number, m: Match, p: NfPacket): boolean {
  switch (op) {
    case OP_ALWAYS:
      return true;
    case OP_STATE:
      return testState(m as ConntrackMatch, p);
    case OP_MARK:
      return markMatch.test(m as MarkMatch, p);
    case OP_TCP:
      return tcpMatch.test(m as TcpMatch, p);
    case OP_UDP:
      return udpMatch.test(m as UdpMatch, p);
    default:
      return (MODULES[m.kind] as MatchModule<Match>).test(m, p);
  }
}
