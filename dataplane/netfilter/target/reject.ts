/** REJECT (ipt_REJECT.c): drop, and tell the sender. */
import * as icmpv4 from "../../wire/icmpv4.ts";
import * as icmpv6 from "../../wire/icmpv6.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { NF_INET_FORWARD, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, NF_REJECT, REJECT_TCP_RESET } from "../hooks.ts";
import type { TargetModule } from "./module.ts";

/** `with`: code of an ICMP unreachable, or REJECT_TCP_RESET. */
export type RejectTarget = { readonly kind: "REJECT"; readonly with: number; readonly six: boolean };

/** Name as it is printed, its other name, and the code. */
const TYPES: readonly (readonly [string, string, number])[] = [
  ["icmp-net-unreachable", "net-unreach", icmpv4.NET_UNREACH],
  ["icmp-host-unreachable", "host-unreach", icmpv4.HOST_UNREACH],
  ["icmp-proto-unreachable", "proto-unreach", icmpv4.PROT_UNREACH],
  ["icmp-port-unreachable", "port-unreach", icmpv4.PORT_UNREACH],
  ["icmp-net-prohibited", "net-prohib", icmpv4.NET_ANO],
  ["icmp-host-prohibited", "host-prohib", icmpv4.HOST_ANO],
  ["tcp-reset", "tcp-rst", REJECT_TCP_RESET],
  ["icmp-admin-prohibited", "admin-prohib", icmpv4.PKT_FILTERED],
];

/** The same of ip6tables (ip6t_REJECT.c), codes of ICMPv6. */
const TYPES6: readonly (readonly [string, string, number])[] = [
  ["icmp6-no-route", "no-route", icmpv6.NOROUTE],
  ["icmp6-adm-prohibited", "adm-prohibited", icmpv6.ADM_PROHIBITED],
  ["icmp6-addr-unreachable", "addr-unreach", icmpv6.ADDR_UNREACH],
  ["icmp6-port-unreachable", "port-unreach", icmpv6.PORT_UNREACH],
  ["tcp-reset", "tcp-rst", REJECT_TCP_RESET],
  ["icmp6-policy-fail", "policy-fail", icmpv6.POLICY_FAIL],
  ["icmp6-reject-route", "reject-route", icmpv6.REJECT_ROUTE],
];

export const rejectTarget: TargetModule<RejectTarget> = {
  name: "REJECT",
  options: { "--reject-with": { args: 1 } },
  tables: ["filter"],
  hooks: (1 << NF_INET_LOCAL_IN) | (1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT),
  parse(o) {
    const text = (o.text("--reject-with") ?? "port-unreach").toLowerCase();
    const type = (o.six ? TYPES6 : TYPES).find(([name, short]) => name === text || short === text);
    if (type === undefined) return o.fail(`option --reject-with: "${text}" is not known`);
    if (type[2] === REJECT_TCP_RESET) o.needProto([PROTO_TCP], "-p tcp for tcp-reset");
    return { kind: "REJECT", with: type[2], six: o.six };
  },
  print: (t) => ` --reject-with ${(t.six ? TYPES6 : TYPES).find(([, , code]) => code === t.with)?.[0]}`,
  run(t, p) {
    p.skb.rejectWith = t.with;
    return NF_REJECT;
  },
};
