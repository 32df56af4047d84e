/**
 * Random nftables rulesets for fast-check: a grammar over the statements that packets can be compared by. Each rule counts
 * what comes to it, and what passes all that it asks. The addresses, ports and marks are those of the random packets. Left
 * out: `ct count`, where Linux looks after the connections that are gone when its clock ticks, not with each packet.
 */
import fc from "fast-check";

const one = <T>(values: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

/** What differs between the families. `i` and `o` name addresses of the two networks by their last number. */
type Pool = {
  readonly family: "ip" | "ip6";
  readonly i: (n: number) => string;
  readonly o: (n: number) => string;
  readonly nets: readonly string[];
  readonly net: { readonly i: string; readonly o: string; readonly wide: string };
  readonly mask: string;
  readonly type: "ipv4_addr" | "ipv6_addr";
  readonly icmp: "icmp" | "icmpv6";
  readonly icmpTypes: readonly string[];
  readonly icmpName: string;
  readonly hops: "ttl" | "hoplimit";
  readonly next: "protocol" | "nexthdr";
  readonly lengths: readonly string[];
  readonly headerLengths: readonly string[];
  readonly fibTypes: readonly string[];
  readonly rejects: readonly string[];
  readonly at: (address: string, port: number) => string;
};

const V4: Pool = {
  family: "ip",
  i: (n) => `10.0.0.${n}`,
  o: (n) => `10.1.0.${n}`,
  nets: ["10.0.0.0/24", "10.1.0.0/24", "10.0.0.0/8", "10.1.0.2/31", "10.0.0.0/29", "10.0.0.2-10.0.0.3"],
  net: { i: "10.0.0.0/24", o: "10.1.0.0/24", wide: "10.0.0.0/30" },
  mask: "255.255.0.255",
  type: "ipv4_addr",
  icmp: "icmp",
  icmpTypes: ["echo-request", "echo-reply", "{ echo-request, timestamp-request }"],
  icmpName: "icmp",
  hops: "ttl",
  next: "protocol",
  lengths: ["28", "40", "60"],
  headerLengths: ["28", "40", "60"],
  fibTypes: ["local", "unicast", "broadcast"],
  rejects: ["reject with icmp admin-prohibited"],
  at: (address, port) => `${address}:${port}`,
};

const V6: Pool = {
  family: "ip6",
  i: (n) => `fd00::${n}`,
  o: (n) => `fd00:1::${n}`,
  nets: [
    "fd00::/64",
    "fd00:1::/64",
    "fd00::/16",
    "fd00:1::2/127",
    "fd00::/125",
    "fd00::2-fd00::3",
    "fd00::3-fd00:1::3",
  ],
  net: { i: "fd00::/64", o: "fd00:1::/64", wide: "fd00::2-fd00:1::2" },
  mask: "ffff:0:ffff::ff",
  type: "ipv6_addr",
  icmp: "icmpv6",
  icmpTypes: ["echo-request", "echo-reply", "{ echo-request, destination-unreachable }"],
  icmpName: "ipv6-icmp",
  hops: "hoplimit",
  next: "nexthdr",
  lengths: ["48", "60", "80"],
  headerLengths: ["8", "20", "40"],
  fibTypes: ["local", "unicast", "multicast"],
  rejects: ["reject with icmpv6 admin-prohibited", "reject with icmpv6 no-route"],
  at: (address, port) => `[${address}]:${port}`,
};

const addressesOf = (v: Pool): string[] => [v.i(2), v.i(3), v.i(4), v.o(2), v.o(3), v.o(4), v.i(1), v.o(1)];
const PORTS = ["53", "80", "443", "1000", "30080"];
const MARKS = ["0x00000000", "0x00000001", "0x00004000", "0x00000010"];

const op = one(["", "", "", "!= "]);
const order = one(["", "", "!= ", "< ", "> ", "<= ", ">= "]);
const text = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> => fc.tuple(...parts).map((t) => t.join(""));
const braces = (item: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.uniqueArray(item, { minLength: 1, maxLength: 3 }).map((items) => `{ ${items.join(", ")} }`);
const lit = (s: string): fc.Arbitrary<string> => fc.constant(s);

const port = one(PORTS);
const side = one(["saddr", "daddr"]);
const end = one(["sport", "dport"]);

/** What a rule may ask. */
function matchesOf(v: Pool): readonly fc.Arbitrary<string>[] {
  const ip = `${v.family} `;
  const addresses = addressesOf(v);
  const addr = one(addresses);
  const protos = ["tcp", "udp", v.icmpName, "200"];
  return [
    text(lit(ip), side, lit(" "), op, addr),
    text(lit(ip), side, lit(" "), op, one(v.nets)),
    text(lit(ip), side, lit(" "), op, braces(addr)),
    text(lit(ip), side, lit(" "), op, one(["@addrs", "@nets"])),
    text(lit(ip), side, lit(` & ${v.mask} == `), one([v.i(2), v.i(3)])),
    text(
      lit(ip),
      one([`saddr . ${ip}daddr`, `daddr . ${ip}saddr`]),
      lit(" "),
      op,
      braces(text(addr, lit(" . "), addr)),
    ),
    text(lit(`${ip}daddr . meta l4proto . th dport `), op, lit("@triples")),
    text(lit(`${ip}saddr . th dport `), op, lit("@wide")),
    text(one(["tcp", "udp", "th"]), lit(" "), end, lit(" "), order, port),
    text(one(["tcp", "udp", "th"]), lit(" "), end, lit(" "), op, one(["53-80", "1000-65535", "0-443"])),
    text(one(["tcp", "udp"]), lit(" "), end, lit(" "), op, braces(one([...PORTS, "2000-3000"]))),
    text(lit("th "), end, lit(" "), op, lit("@ports")),
    text(lit("meta l4proto "), op, one(protos)),
    text(lit("meta l4proto "), op, braces(one(protos))),
    text(lit(`${ip}${v.next} `), op, one(protos)),
    text(
      lit("tcp flags "),
      one(["syn", "!= syn", "== syn", "syn / syn,ack", "syn,ack", "& (syn | ack) == syn", "! syn"].slice(0, 6)),
    ),
    text(lit(`${v.icmp} type `), op, one(v.icmpTypes)),
    text(lit(`${ip}${v.hops} `), order, one(["1", "63", "64"])),
    text(lit(`${ip}dscp `), op, one(["cs0", "0x0a", "ef"])),
    text(lit(`${ip}length `), order, one(v.headerLengths)),
    text(lit("meta length "), order, one(v.lengths)),
    text(lit("udp length "), order, one(["8", "28"])),
    text(lit("meta mark "), op, one(MARKS)),
    text(lit("meta mark & 0x00004010 "), one(["== ", "!= "]), one(["0x00000000", "0x00004000"])),
    text(
      lit("ct state "),
      one(["new", "established", "established,related", "!= established,related", "invalid", "untracked"]),
    ),
    text(lit("ct state "), one(["", "!= "]), lit("{ new, established }")),
    text(lit("ct direction "), one(["original", "reply"])),
    text(lit("ct mark "), op, one(MARKS)),
    text(lit("ct status "), one(["dnat", "snat", "assured", "seen-reply"])),
    text(lit(`ct original ${ip}`), side, lit(" "), op, one([...addresses, v.net.i])),
    text(lit(`ct reply ${ip}`), side, lit(" "), op, addr),
    text(lit("meta l4proto tcp ct original proto-dst "), op, port),
    text(lit("fib "), side, lit(" type "), op, one(v.fibTypes)),
    text(lit("fib "), side, lit(" . iif oif "), one(["exists", "missing"])),
    text(lit("fib daddr oifname "), op, one(['"eth0"', '"eth1"'])),
    text(one(["iifname", "oifname"]), lit(" "), op, one(['"eth0"', '"eth1"', '"eth*"', '"lo"'])),
    text(one(["iifname", "oifname"]), lit(" "), op, braces(one(['"eth0"', '"eth1"', '"lo"']))),
    text(lit("iif "), op, one(['"eth0"', '"eth1"'])),
    text(lit("meta pkttype "), op, one(["host", "broadcast"])),
    text(lit("ether saddr "), op, one(["02:00:00:00:00:02", "02:00:00:00:01:02"])),
    text(lit(`jhash ${ip}saddr . ${ip}daddr mod 4 seed 0x00000007 `), order, one(["0", "1", "2"])),
    text(lit("jhash th dport mod 3 seed 0x00000001 "), op, one(["0", "1"])),
    text(lit("quota "), one(["", "over "]), one(["56 bytes", "60 bytes", "100 bytes", "500 bytes", "1 kbytes"])),
    one(['quota name "first"', 'quota name "later"']),
    text(lit("numgen inc mod 3 "), op, one(["0", "1"])),
  ];
}

/** What a rule may do besides. */
const actionsOf = (v: Pool): readonly fc.Arbitrary<string>[] => [
  text(
    lit("meta mark set "),
    one([...MARKS, "meta mark | 0x00000010", "meta mark & 0x00000011", "meta mark ^ 0x00004000", "ct mark"]),
  ),
  text(
    lit(`meta mark set ${v.family} saddr map `),
    lit(`{ ${v.i(2)} : 0x00000001, ${v.i(3)} : 0x00004000, ${v.net.o} : 0x00000010 }`),
  ),
  text(lit("meta mark set th dport map @marks")),
  text(lit("ct mark set "), one([...MARKS.slice(1), "meta mark"])),
  text(one(["add", "update"]), lit(` @seen { ${v.family} saddr }`)),
  text(one(["add", "update"]), lit(` @pairs { ${v.family} saddr . th dport timeout 1h }`)),
  lit(`add @counted { ${v.family} daddr counter }`),
  text(lit(`add @few { ${v.family} saddr `), one(["quota 100 bytes }", "quota over 100 bytes }"])),
  lit(`delete @seen { ${v.family} daddr }`),
  lit('counter name "total"'),
  lit('log prefix "x"'),
  text(lit("tcp option maxseg size set "), one(["500", "1400", "1460", "9000", "rt mtu"])),
  text(lit(`${v.family} dscp set `), one(["cs0", "cs1", "0x0b", "ef"])),
  text(lit(`${v.family} ecn set `), one(["not-ect", "ect0", "ce"])),
  text(lit(`${v.family} ${v.hops} set `), one(["2", "64", "255"])),
  v.family === "ip" ? lit("ip id set 7") : lit("ip6 flowlabel set 74565"),
  text(one(["tcp", "udp"]), lit(" "), end, lit(" set "), port),
];

const setsOf = (v: Pool): string => `	set addrs {
		type ${v.type}
		elements = { ${v.i(2)}, ${v.o(3)} }
	}
	set nets {
		type ${v.type}
		flags interval
		elements = { ${v.i(4)}, ${v.o(0)}-${v.o(3)} }
	}
	set ports {
		type inet_service
		flags interval
		elements = { 53-80, 1000 }
	}
	set triples {
		type ${v.type} . inet_proto . inet_service
		elements = { ${v.o(2)} . udp . 80, ${v.o(3)} . tcp . 443, ${v.i(1)} . tcp . 53 }
	}
	set wide {
		type ${v.type} . inet_service
		flags interval
		elements = { ${v.net.wide} . 80-443, ${v.o(2)} . 53 }
	}
	map marks {
		type inet_service : mark
		elements = { 53 : 0x00000001, 80 : 0x00004000, 443 : 0x00000010 }
	}
	set seen {
		type ${v.type}
		size 65535
		flags dynamic
	}
	set pairs {
		type ${v.type} . inet_service
		size 65535
		flags dynamic,timeout
	}
	set counted {
		type ${v.type}
		size 65535
		flags dynamic
	}
	set few {
		type ${v.type}
		size 65535
		flags dynamic
	}
	counter total {
	}
	quota first {
		200 bytes
	}
	quota later {
		over 120 bytes
	}
`;

/** `to`: what a translation says of its family, "ip " or "ip6 " in tables of both. */
const endsOf = (v: Pool, to: string): Readonly<Record<string, readonly string[]>> => ({
  "filter prerouting": ["accept", "drop"],
  "filter input": ["accept", "drop", "reject"],
  "filter forward": [
    "accept",
    "drop",
    "reject",
    "reject with icmpx admin-prohibited",
    ...v.rejects,
    "reject with tcp reset",
  ].filter((end) => to !== "" || !end.includes("icmpx")),
  "filter postrouting": ["accept", "drop"],
  "nat prerouting": [
    "accept",
    `dnat ${to}to ${v.o(3)}`,
    `dnat ${to}to ${v.o(2)}`,
    `dnat ${to}to ${v.o(2)}-${v.o(4)}`,
    `meta l4proto tcp dnat ${to}to ${v.at(v.o(2), 443)}`,
    `meta l4proto udp dnat ${to}to ${v.at(v.o(4), 53)}`,
    "meta l4proto tcp redirect to :80",
    `meta l4proto tcp dnat ${v.family} to ${v.family} daddr . tcp dport map { ${v.o(2)} . 80 : ${v.o(3)} . 1000, ${v.o(3)} . 443 : ${v.o(4)} . 80 }`,
    `dnat ${to}to ${v.family} daddr map { ${v.o(2)} : ${v.o(4)}, ${v.o(3)} : ${v.o(2)} }`,
    `dnat ${to}to numgen inc mod 2 map { 0 : ${v.o(2)}, 1 : ${v.o(3)} }`,
  ],
  "nat postrouting": [
    "accept",
    `snat ${to}to ${v.o(9)}`,
    `snat ${to}to ${v.o(8)}-${v.o(9)}`,
    "masquerade",
    `snat ${to}to ${v.family} saddr map { ${v.i(2)} : ${v.o(8)}, ${v.i(3)} : ${v.o(9)} }`,
  ],
});

const PRIORITIES: Readonly<Record<string, readonly number[]>> = {
  "filter prerouting": [-350, -150, -90, 0],
  "filter input": [0, 10],
  "filter forward": [0, -10, 50],
  "filter postrouting": [0, 150],
  "nat prerouting": [-100, -90],
  "nat postrouting": [100, 90],
};

function rule(v: Pool, ends: readonly string[], users: readonly string[]): fc.Arbitrary<string> {
  const asks = fc.array(fc.oneof(...matchesOf(v)), { maxLength: 2 });
  const acts = fc.array(fc.oneof(...actionsOf(v)), { maxLength: 1 });
  const jumps = users.flatMap((to) => [`jump ${to}`, `goto ${to}`]);
  const [first = "accept", second = "drop"] = [jumps[0] ?? "accept", jumps[1] ?? "return"];
  const vmaps = [
    `${v.family} daddr vmap { ${v.o(2)} : ${first}, ${v.o(3)} : ${second}, ${v.net.i} : continue }`,
    `th dport vmap { 53 : ${second}, 80-443 : ${first}, * : continue }`,
    `${v.family} daddr . meta l4proto . th dport vmap { ${v.o(2)} . udp . 80 : ${first}, ${v.o(3)} . tcp . 443 : ${second} }`,
    `ct state vmap { established : ${first}, new : ${second} }`,
    `numgen inc mod 3 vmap { 0 : ${first}, 2 : ${second} }`,
  ];
  const last = fc.oneof(
    { weight: 3, arbitrary: one([...ends, "return"]) },
    { weight: 2, arbitrary: lit("") },
    { weight: 2, arbitrary: one([...jumps, ...vmaps]) },
  );
  return fc
    .tuple(asks, acts, last)
    .map(([a, b, c]) => ["counter", ...a, "counter", ...b, c].filter((s) => s !== "").join(" "));
}

/**
 * For packets that leave: the path's segment size, and fields of IPv6, which no checksum of its own holds. Where conntrack has
 * summed a packet that is for the node itself, Linux takes a change of those for a broken one, if it is UDP of 77 octets or more.
 */
const LEAVING = /\brt mtu\b|\bip6 (?:dscp|ecn|hoplimit|flowlabel) set\b/;

/** Interfaces that a hook does not know; routes back are asked where packets come in. */
function fitsHook(hook: string, line: string): boolean {
  if (LEAVING.test(line) && hook !== "forward" && hook !== "postrouting") return false;
  if (/\. iif oif/.test(line)) return hook === "prerouting";
  if (/fib daddr oifname/.test(line)) return hook === "prerouting" || hook === "input" || hook === "forward";
  return hook !== "prerouting" || !/\boifname\b/.test(line);
}

/** Rules only where they fit: nft refuses what asks for two protocols at once. */
function consistent(line: string): boolean {
  const wants = new Set<string>();
  for (const [, proto] of line.matchAll(/\b(tcp|udp|icmp|icmpv6) (?:sport|dport|flags|type|length|option)\b/g))
    wants.add(proto ?? "");
  for (const [, proto] of line.matchAll(/meta l4proto (tcp|udp|icmp|ipv6-icmp|200)\b/g)) wants.add(proto ?? "");
  for (const [, proto] of line.matchAll(/(?:ip protocol|ip6 nexthdr) (tcp|udp|icmp|ipv6-icmp|200)\b/g))
    wants.add(proto ?? "");
  if (/meta l4proto (?:!= )?\{|meta l4proto != |ip protocol != |nexthdr != /.test(line)) wants.add("several");
  if (/reject with tcp reset/.test(line)) wants.add("tcp");
  // nft 1.0 joins the sender's MAC with the EtherType that it asks for before a field of IPv6, whatever stands between
  if (/\bether saddr\b/.test(line) && /\bip6 |icmpv6/.test(line)) return false;
  // nft 1.0 asks two neighbouring fields by one "!=", which is another question
  if (/\b\w+ \w+ != \S+ \w+ \w+ != /.test(line)) return false;
  // nft 1.0 aborts when it lists a transport header behind a protocol that it has no name for
  if (/\b200\b/.test(line) && /\bth (?:sport|dport)/.test(line)) return false;
  return wants.size <= 1;
}

/** A ruleset of one table, as lines that can be left out one by one; what it asks of addresses is one family's. */
function rulesetsOf(family: "ip" | "ip6" | "inet", v: Pool): fc.Arbitrary<string> {
  const hookEnds = endsOf(v, family === "inet" ? `${v.family} ` : "");
  return fc.uniqueArray(one(Object.keys(hookEnds)), { minLength: 1, maxLength: 4 }).chain((hooks) => {
    const rules = (ends: readonly string[], users: readonly string[], max: number): fc.Arbitrary<string[]> =>
      fc.array(
        rule(v, ends, users).filter((line) => consistent(line) && !/\bfib\b.* oif/.test(line) && !LEAVING.test(line)),
        { minLength: 1, maxLength: max },
      );
    const anywhere = (ends: readonly string[], to: readonly string[]): fc.Arbitrary<string[]> =>
      fc.array(rule(v, ends, to).filter(consistent), { minLength: 1, maxLength: 6 });
    const plain = ["accept", "drop", "return"];
    const users = fc.tuple(rules(plain, ["u2"], 4), rules(plain, [], 3));
    const chains = hooks.map((hook) =>
      fc
        .tuple(
          one(PRIORITIES[hook] ?? [0]),
          one(["accept", "accept", "drop"]),
          anywhere(hookEnds[hook] ?? [], ["u1", "u2"]),
        )
        .map(([priority, policy, lines]) => {
          const [type, at] = hook.split(" ");
          return `\tchain ${type}-${at} {\n\t\ttype ${type} hook ${at} priority ${priority}; policy ${type === "nat" ? "accept" : policy};\n${lines
            .filter((line) => fitsHook(at ?? "", line))
            .map((line) => `\t\t${line}\n`)
            .join("")}\t}\n`;
        }),
    );
    return fc.tuple(users, fc.tuple(...chains)).map(([[u1, u2], base]) => {
      const chain = (name: string, lines: readonly string[]): string =>
        `\tchain ${name} {\n${lines.map((line) => `\t\t${line}\n`).join("")}\t}\n`;
      return `table ${family} t {\n${setsOf(v)}${chain("u2", u2)}${chain("u1", u1)}${base.join("")}}\n`;
    });
  });
}

/** Tables of IPv4. */
export const nftRulesets: fc.Arbitrary<string> = rulesetsOf("ip", V4);
/** Tables of IPv6, and of both families, for packets of IPv6. */
export const nftRulesets6: fc.Arbitrary<string> = fc.oneof(rulesetsOf("ip6", V6), rulesetsOf("inet", V6));
