/** `-m icmp6` (ip6_tables.c, icmp6_match): type and code of ICMPv6. */
import { PROTO_ICMPV6 } from "../../wire/ipv4.ts";
import { type IcmpTypeMatch, icmpTypeMatch, type TypeNames } from "./icmp-type.ts";
import type { MatchModule } from "./module.ts";

export type Icmp6Match = IcmpTypeMatch<"icmp6">;

const NAMES: TypeNames = {
  "destination-unreachable": [1],
  "no-route": [1, 0],
  "communication-prohibited": [1, 1],
  "beyond-scope": [1, 2],
  "address-unreachable": [1, 3],
  "port-unreachable": [1, 4],
  "failed-policy": [1, 5],
  "reject-route": [1, 6],
  "packet-too-big": [2],
  "time-exceeded": [3],
  "ttl-exceeded": [3],
  "ttl-zero-during-transit": [3, 0],
  "ttl-zero-during-reassembly": [3, 1],
  "parameter-problem": [4],
  "bad-header": [4, 0],
  "unknown-header-type": [4, 1],
  "unknown-option": [4, 2],
  "echo-request": [128],
  ping: [128],
  "echo-reply": [129],
  pong: [129],
  "router-solicitation": [133],
  "router-advertisement": [134],
  "neighbour-solicitation": [135],
  "neighbor-solicitation": [135],
  "neighbour-advertisement": [136],
  "neighbor-advertisement": [136],
  redirect: [137],
};

export const icmp6Match: MatchModule<Icmp6Match> = icmpTypeMatch({
  kind: "icmp6",
  option: "--icmpv6-type",
  called: "ICMPv6",
  names: NAMES,
  proto: PROTO_ICMPV6,
  protoOption: "-p ipv6-icmp",
  hasAny: false,
});
