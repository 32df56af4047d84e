/** REJECT (ipt_REJECT.c): drop, and tell the sender. */
import * as icmpv4 from "../../wire/icmpv4.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { NF_INET_FORWARD, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, NF_REJECT, REJECT_TCP_RESET } from "../hooks.ts";
import type { TargetModule } from "./module.ts";

/** `with`: code of an ICMP unreachable, or REJECT_TCP_RESET. */
export type RejectTarget = { readonly kind: "REJECT"; readonly with: number };

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

export const rejectTarget: TargetModule<RejectTarget> = {
  name: "REJECT",
  options: { "--reject-with": { args: 1 } },
  tables: ["filter"],
  hooks: (1 << NF_INET_LOCAL_IN) | (1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT),
  parse(o) {
    const text = (o.text("--reject-with") ?? "icmp-port-unreachable").toLowerCase();
    const type = TYPES.find(([name, short]) => name === text || short === text);
    if (type === undefined) return o.fail(`option --reject-with: "${text}" is not known`);
    if (type[2] === REJECT_TCP_RESET) o.needProto([PROTO_TCP], "-p tcp for tcp-reset");
    return { kind: "REJECT", with: type[2] };
  },
  print: (t) => ` --reject-with ${TYPES.find(([, , code]) => code === t.with)?.[0]}`,
  run(t, p) {
    p.skb.rejectWith = t.with;
    return NF_REJECT;
  },
};
