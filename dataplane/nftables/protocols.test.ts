/** Which rules ask for two protocols of one layer, and which say an address of a family that they may not have: as nft says. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { NftError } from "./nft-error.ts";
import { applyNft } from "./parse.ts";
import { printRule } from "./print-rule.ts";
import { Ruleset } from "./ruleset.ts";

const SETS = [
  "set sp { type inet_proto; }",
  "set dyn { type ipv4_addr; flags dynamic; size 9; }",
  "map m4m { type ipv4_addr : mark; }",
  "map m4 { type ipv4_addr : ipv4_addr; }",
  "map mm { type mark : ipv4_addr; }",
  "map m6 { type mark : ipv6_addr; }",
];
const HOOKS: Readonly<Record<string, string>> = {
  dnat: "type nat hook prerouting",
  redirect: "type nat hook prerouting",
  snat: "type nat hook postrouting",
  masquerade: "type nat hook postrouting",
};

/** One rule in a chain where it may stand. */
function textOf(family: string, rule: string): string {
  const nat = rule.split(" ").find((word) => HOOKS[word] !== undefined);
  const hook = nat === undefined ? `type filter hook ${family === "netdev" ? "ingress" : "input"}` : HOOKS[nat];
  const device = family === "netdev" ? 'device "lo" ' : "";
  return `table ${family} t {\n${SETS.join("\n")}\nchain c {\n${hook} ${device}priority 0;\n${rule}\n}\n}\n`;
}

function refusal(family: string, rule: string): NftError | null {
  try {
    applyNft(new Ruleset((r) => printRule(r)), textOf(family, rule), "t.nft", 0);
    return null;
  } catch (error) {
    if (error instanceof NftError) return error;
    throw error;
  }
}

const TAKEN: readonly (readonly [family: string, ...rules: readonly string[]])[] = [
  [
    "ip",
    "meta protocol ip6 accept",
    "meta protocol ip ip saddr 10.0.0.1 accept",
    "icmp type echo-request accept",
    "icmpv6 type echo-request accept",
    "ip protocol icmpv6 icmpv6 type echo-request accept",
    "ip protocol tcp meta l4proto udp accept",
    "ether type ip6 ip6 saddr fd00::1 accept",
    "vlan id 5 accept",
    "ip protocol { udp, tcp } reject with tcp reset",
    "meta l4proto != tcp reject with tcp reset",
    "tcp dport 80 reject with tcp reset",
    "ct original saddr 10.0.0.1 accept",
    "dnat to 10.0.0.1",
    "dnat ip to 10.0.0.1",
    "meta protocol ip6 dnat to 10.0.0.1",
    "dnat ip addr . port to tcp dport map { 80 : 10.0.0.1 . 80 }",
    "dnat to tcp dport map { 80 : 10.0.0.1 . 80 }",
  ],
  [
    "ip6",
    "icmp type echo-request accept",
    "ip6 nexthdr icmp icmp type echo-request accept",
    "ct original saddr fd00::1 accept",
    "dnat to fd00::1",
    "dnat ip6 to fd00::1",
    "dnat to meta mark map @m6",
    "dnat to tcp dport map { 80 : fd00::1 . 80 }",
  ],
  [
    "inet",
    "meta protocol ip ip6 saddr fd00::1 accept",
    "ip6 saddr fd00::1 meta nfproto ipv4 accept",
    "ip saddr 10.0.0.1 meta nfproto ipv6 ip6 saddr fd00::1 accept",
    "ip saddr 10.0.0.1 icmpv6 type echo-request accept",
    "ip saddr 10.0.0.1 icmpv6 type echo-request ip daddr 10.0.0.1 accept",
    "ip6 nexthdr icmp accept",
    "meta nfproto != ipv4 ip saddr 10.0.0.1 accept",
    "meta nfproto vmap { ipv4 : accept } ip6 saddr fd00::1 accept",
    "meta nfproto . tcp dport { ipv4 . 80 } ip6 saddr fd00::1 accept",
    "meta nfproto ipv4 ether type ip6 ip6 saddr fd00::1 accept",
    "ether type ip ip saddr 10.0.0.1 accept",
    "ip saddr 10.0.0.1 ether type ip6 ip6 saddr fd00::1 accept",
    "meta l4proto @sp udp dport 80 accept",
    "meta l4proto 6-17 udp dport 80 accept",
    "meta l4proto != tcp udp dport 80 accept",
    "meta l4proto . tcp dport { udp . 80 } accept",
    "tcp dport 80 meta l4proto udp accept",
    "tcp dport 80 th dport 80 accept",
    "th dport 80 tcp dport 80 accept",
    "ip saddr vmap { 10.0.0.1 : accept } ip daddr 10.0.0.1 drop",
    "ct original ip saddr 10.0.0.1 ip6 saddr fd00::1 accept",
    "ip saddr 10.0.0.1 ct original saddr 10.0.0.1 accept",
    "meta nfproto ipv6 ct original saddr fd00::1 accept",
    "add @dyn { ip saddr } accept",
    "ip ttl set 5",
    "tcp dport 80 reject with icmpv6 type no-route",
    "ip saddr 10.0.0.1 reject with icmpx type no-route",
    "dnat ip6 to fd00::1",
    "dnat ip to 10.0.0.1",
    "ip saddr 10.0.0.2 dnat to 10.0.0.1",
    "ip6 saddr fd00::2 dnat to fd00::1",
    "meta nfproto ipv6 dnat to fd00::1",
    "meta nfproto { ipv4 } dnat to 10.0.0.1",
    "icmp type echo-request dnat to 10.0.0.1",
    "meta nfproto ipv6 snat to fd00::1-fd00::9",
    "tcp dport 80 dnat to :80",
    "tcp dport 80 dnat ip to 10.0.0.1:80",
    "tcp dport 80 redirect to :80",
    "ip6 saddr fd00::1 tcp dport 80 redirect to :80",
    "redirect",
    "masquerade",
    "dnat ip to ip saddr map @m4",
    "dnat ip to meta mark map @mm",
    "dnat ip6 addr . port to tcp dport map { 80 : fd00::1 . 80 }",
  ],
  ["arp", "arp operation request accept", "ether saddr 00:01:02:03:04:05 accept", "@nh,16,16 80 accept"],
  [
    "bridge",
    "arp operation request accept",
    "ether type ip ip saddr 10.0.0.1 accept",
    "vlan id 5 ip saddr 10.0.0.1 accept",
    "ether type vlan vlan id 5 accept",
    "vlan id 5 ether type ip accept",
    "meta protocol ip ip saddr 10.0.0.1 accept",
    "meta protocol { ip, ip6 } tcp dport 80 accept",
    "ip6 saddr fd00::1 meta protocol ip ip saddr 10.0.0.1 accept",
    "arp operation request th dport 80 accept",
  ],
  ["netdev", "vlan id 5 ip6 saddr fd00::1 accept", "meta protocol ip ip saddr 10.0.0.1 accept"],
];

/** Rule, the word of our error's place, and what was expected there. */
type Refused = readonly [rule: string, at: string, expected: string];
const REFUSED: readonly (readonly [family: string, ...rules: readonly Refused[]])[] = [
  [
    "ip",
    ["ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["ip6 nexthdr tcp accept", "ip6", "a field of ip"],
    ["ip6 hoplimit set 5", "ip6", "a field of ip"],
    ["meta mark set jhash ip6 saddr mod 2", "ip6", "a field of ip"],
    ["meta protocol ip6 ip6 saddr fd00::1 accept", "ip6 saddr", "a field of ip"],
    ["arp operation request accept", "arp", "a field of ip"],
    ["ct original ip6 saddr fd00::1 accept", "original", "a field of ip"],
    ["tcp dport 80 udp dport 80 accept", "udp", "a field of tcp"],
    ["meta l4proto tcp udp dport 80 accept", "udp", "a field of tcp"],
    ["ip protocol tcp udp dport 80 accept", "udp", "a field of tcp"],
    ["reject with icmpv6 type no-route", "icmpv6", "icmp or tcp"],
    ["reject with icmpx type no-route", "icmpx", "icmp or tcp"],
    ["meta l4proto udp reject with tcp reset", "tcp", "icmp, icmpv6 or icmpx"],
    ["icmp type echo-request reject with tcp reset", "tcp", "icmp, icmpv6 or icmpx"],
    ["dnat to fd00::1", "fd00::1", "ipv4_addr"],
    ["dnat to [fd00::1]", "fd00::1", "ipv4_addr"],
    ["dnat ip6 to fd00::1", "ip6", "expected ip,"],
    ["dnat to meta mark map @m6", "meta", "ipv4_addr"],
    ["ether type ip6 dnat ip to 10.0.0.1", "ip to", "expected ip6,"],
  ],
  [
    "ip6",
    ["ip saddr 10.0.0.1 accept", "ip", "a field of ip6"],
    ["ip6 saddr . ip saddr { fd00::1 . 10.0.0.1 } accept", "ip saddr", "a field of ip6"],
    ["jhash ip saddr mod 2 == 0 accept", "ip", "a field of ip6"],
    ["ip ttl set 5", "ip", "a field of ip6"],
    ["add @dyn { ip saddr } accept", "ip", "a field of ip6"],
    ["ct original ip saddr 10.0.0.1 accept", "original", "a field of ip6"],
    ["reject with icmp type net-unreachable", "icmp", "icmpv6 or tcp"],
    ["dnat ip to 10.0.0.1", "ip", "expected ip6,"],
    ["dnat to 10.0.0.1", "10.0.0.1", "ipv6_addr"],
    ["dnat ip to fd00::1", "ip", "expected ip6,"],
    ["dnat to meta mark map @mm", "meta", "ipv6_addr"],
  ],
  [
    "inet",
    ["ip6 saddr fd00::1 ip daddr 10.0.0.1 accept", "ip daddr", "a field of ip6"],
    ["ip6 saddr . ip saddr { fd00::1 . 10.0.0.1 } accept", "ip saddr", "a field of ip6"],
    ["meta nfproto ipv4 ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["meta nfproto { ipv6 } ip saddr 10.0.0.1 accept", "ip saddr", "a field of ip6"],
    ["icmp type echo-request ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["icmpv6 type echo-request ip saddr 10.0.0.1 accept", "ip saddr", "a field of ip6"],
    ["ip saddr 10.0.0.1 icmpv6 type echo-request ip6 saddr fd00::1 accept", "ip6 saddr", "a field of ip"],
    ["ip saddr != 10.0.0.1 ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["ip saddr vmap { 10.0.0.1 : accept } ip6 saddr fd00::1 drop", "ip6", "a field of ip"],
    ["meta mark set ip saddr map @m4m ip6 saddr fd00::1 drop", "ip6", "a field of ip"],
    ["ip ttl set 5 ip6 saddr fd00::1 drop", "ip6", "a field of ip"],
    ["ip protocol tcp ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["ip6 nexthdr udp tcp dport 80 accept", "tcp", "a field of udp"],
    ["udp dport 80 icmp type echo-request accept", "icmp", "a field of udp"],
    ["tcp dport 80 meta l4proto udp udp dport 80 accept", "udp dport", "a field of tcp"],
    ["ether type ip6 ip saddr 10.0.0.1 accept", "ip saddr", "a field of ip6"],
    ["arp operation request accept", "arp", "a field of inet"],
    ["ip6 saddr fd00::1 ct original ip saddr 10.0.0.1 accept", "original", "a field of ip6"],
    ["ct original saddr 10.0.0.1 accept", "saddr", "expected ip or ip6"],
    ["ip saddr 10.0.0.1 reject with icmpv6 type no-route", "icmpv6", "icmp or tcp"],
    ["icmpv6 type echo-request reject with icmp type net-unreachable", "icmp type net", "icmpv6 or tcp"],
    ["dnat to fd00::1", "to", "expected ip or ip6"],
    ["snat to 10.0.0.1", "to", "expected ip or ip6"],
    ["meta l4proto tcp dnat to [fd00::1]:80", "to", "expected ip or ip6"],
    ["meta protocol ip6 dnat to fd00::1", "to", "expected ip or ip6"],
    ["dnat ip to fd00::1", "fd00::1", "ipv4_addr"],
    ["dnat ip6 to 10.0.0.1", "10.0.0.1", "ipv6_addr"],
    ["ip saddr 10.0.0.2 dnat to fd00::1", "fd00::1", "ipv4_addr"],
    ["ip saddr 10.0.0.2 dnat ip6 to fd00::1", "ip6", "expected ip,"],
    ["ip6 saddr fd00::2 dnat ip to 10.0.0.1", "ip to", "expected ip6,"],
    ["tcp dport 80 dnat ip to :80", ":80", "an address"],
    ["dnat to meta mark map @mm", "to", "expected ip or ip6"],
    ["dnat ip6 to meta mark map @mm", "meta", "ipv6_addr"],
    ["dnat ip to meta mark map @m6", "meta", "ipv4_addr"],
    ["dnat to meta mark map { 1 : 10.0.0.1 }", "to", "expected ip or ip6"],
    ["dnat addr . port to tcp dport map { 80 : fd00::1 . 80 }", "addr", "expected to"],
  ],
  [
    "arp",
    ["ip saddr 10.0.0.1 accept", "ip", "a field of arp"],
    ["tcp dport 80 accept", "tcp", "a field of arp"],
    ["icmp type echo-request accept", "icmp", "a field of arp"],
    ["reject", "reject", "ARP"],
  ],
  [
    "bridge",
    ["ip6 saddr fd00::1 ip daddr 10.0.0.1 accept", "ip daddr", "a field of ip6"],
    ["arp operation request ip saddr 10.0.0.1 accept", "ip saddr", "a field of arp"],
    ["ether type ip6 ip saddr 10.0.0.1 accept", "ip saddr", "a field of ip6"],
    ["vlan id 5 vlan type ip6 ip saddr 10.0.0.1 accept", "ip saddr", "a field of ip6"],
    ["ip saddr 10.0.0.1 vlan id 5 accept", "vlan", "a field of ether"],
    ["ether type arp tcp dport 80 accept", "tcp", "a field of arp"],
    ["meta protocol ip ip6 saddr fd00::1 accept", "ip6", "a field of ip"],
    ["ether type arp reject", "reject", "ARP"],
    ["meta protocol ip6 reject with icmp type net-unreachable", "icmp", "icmpv6 or tcp"],
  ],
  ["netdev", ["meta protocol ip ip6 saddr fd00::1 accept", "ip6", "a field of ip"]],
];

describe("a rule's protocols", () => {
  it.each(TAKEN.flatMap(([family, ...rules]) => rules.map((rule) => [family, rule] as const)))(
    "are none that exclude each other in table %s: %s",
    (family, rule) => {
      expect(refusal(family, rule)).toBeNull();
    },
  );

  it.each(REFUSED.flatMap(([family, ...rules]) => rules.map((rule) => [family, ...rule] as const)))(
    "exclude each other in table %s: %s",
    (family, rule, at, expected) => {
      const error = refusal(family, rule);
      expect(error).toMatchObject({ code: "EINVAL", reason: expect.stringContaining(expected) });
      const lines = textOf(family, rule).split("\n");
      expect(error?.line).toBe(lines.length - 3);
      expect(rule.slice((error?.column ?? 0) - 1).startsWith(at)).toBe(true);
    },
  );

  it("are judged as the real nft judges them", { timeout: 120_000 }, ({ skip }) => {
    const reason = missing("root", "netns", "nft");
    if (reason !== null) skip(reason);
    const refuses = (family: string, rule: string): boolean =>
      spawnSync("unshare", ["-n", "nft", "-f", "-"], { input: textOf(family, rule) }).status !== 0;
    const taken = TAKEN.flatMap(([family, ...rules]) => rules.filter((rule) => refuses(family, rule)));
    const refused = REFUSED.flatMap(([family, ...rules]) => rules.filter(([rule]) => !refuses(family, rule)));
    expect([taken, refused]).toEqual([[], []]);
  });
});
