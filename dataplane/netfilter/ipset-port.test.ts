/** The port field of elements as ipset(8) reads and prints it. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { missing } from "../../test/support/needs.ts";
import { IpSet } from "./ipset.ts";

const PING = "echo-request";
/** What is written, and how it is printed; null where it is refused. */
const OF_IPV4: readonly (readonly [string, string | null])[] = [
  ["80", "tcp:80"],
  ["udp:53", "udp:53"],
  ["sctp:7", "sctp:7"],
  ["udplite:7", "udplite:7"],
  ["icmp:ping", `icmp:${PING}`],
  ["icmp:8/0", `icmp:${PING}`],
  ["icmp:3/4", "icmp:fragmentation-needed"],
  ["icmp:3/8", "icmp:3/8"],
  ["icmp:TOS-host-redirect", "icmp:TOS-host-redirect"],
  ["gre:0", "gre:0"],
  ["200:0", "200:0"],
  ["200:5", null],
  ["icmp:nonsense", null],
  ["icmp:256/0", null],
  ["icmpv6:ping", null],
  ["tcp:70000", null],
];
const OF_IPV6: readonly (readonly [string, string | null])[] = [
  ["icmpv6:ping", `ipv6-icmp:${PING}`],
  ["ipv6-icmp:135/0", "ipv6-icmp:neighbour-solicitation"],
  ["icmpv6:200/1", "ipv6-icmp:200/1"],
  ["icmpv6:packet-too-big", "ipv6-icmp:packet-too-big"],
  ["icmp:ping", null],
];
const FAMILIES = [
  ["inet", "10.0.0.1", OF_IPV4],
  ["inet6", "fd00::1", OF_IPV6],
] as const;

describe.each(FAMILIES)("the port field of elements of family %s", (family, address, cases) => {
  const six = family === "inet6";

  it.each(cases)("%s is read and printed as %s", (text, printed) => {
    const set = new IpSet("S", "hash:ip,port", { six });
    const elements = set.parse(`${address},${text}`);
    expect(elements?.map((e) => set.format(e)) ?? null).toEqual(printed === null ? null : [`${address},${printed}`]);
  });

  it("is what the real ipset makes of it", { timeout: 60_000 }, ({ skip }) => {
    const reason = missing("root", "netns", "ipset");
    if (reason !== null) skip(reason);
    const printedBy = (text: string): string | null => {
      const script = `ipset create S hash:ip,port family ${family} && ipset add S '${address},${text}' && ipset save S`;
      const { stdout } = spawnSync("unshare", ["-n", "sh", "-c", script], { encoding: "utf8" });
      return /^add S [^,]*,(.*)$/m.exec(stdout)?.[1] ?? null;
    };
    expect(cases.map(([text]) => printedBy(text))).toEqual(cases.map(([, printed]) => printed));
  });
});
