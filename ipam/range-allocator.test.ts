import { describe, expect, it } from "vitest";
import { formatIp, parseIp } from "./ip.ts";
import {
  capacity,
  checkRangeSets,
  choose,
  chooseRequested,
  formatRange,
  type RangeSpec,
  rangeOf,
} from "./range-allocator.ts";

type Row = { name: string; ranges: RangeSpec[]; last?: string; taken?: string[]; gives: string | undefined };

const rows: Row[] = [
  { name: "gives the first address after the gateway", ranges: [{ subnet: "10.1.0.0/24" }], gives: "10.1.0.2" },
  {
    name: "goes on from the last one given",
    ranges: [{ subnet: "10.1.0.0/24" }],
    last: "10.1.0.9",
    gives: "10.1.0.10",
  },
  {
    name: "skips what is taken",
    ranges: [{ subnet: "10.1.0.0/24" }],
    last: "10.1.0.2",
    taken: ["10.1.0.3"],
    gives: "10.1.0.4",
  },
  { name: "wraps round, past the gateway", ranges: [{ subnet: "10.1.0.0/24" }], last: "10.1.0.254", gives: "10.1.0.2" },
  {
    name: "never gives the broadcast address",
    ranges: [{ subnet: "10.1.0.0/30" }],
    last: "10.1.0.2",
    gives: "10.1.0.2",
  },
  { name: "says so when a set is full", ranges: [{ subnet: "10.1.0.0/30" }], taken: ["10.1.0.2"], gives: undefined },
  {
    name: "goes from one range of the set to the next",
    ranges: [
      { subnet: "10.1.0.0/24", rangeStart: "10.1.0.10", rangeEnd: "10.1.0.11" },
      { subnet: "10.2.0.0/24", rangeStart: "10.2.0.20", rangeEnd: "10.2.0.21" },
    ],
    last: "10.1.0.11",
    gives: "10.2.0.20",
  },
  {
    name: "comes back to the start of the range that it began in",
    ranges: [
      { subnet: "10.1.0.0/24", rangeStart: "10.1.0.10", rangeEnd: "10.1.0.12" },
      { subnet: "10.2.0.0/24", rangeStart: "10.2.0.20", rangeEnd: "10.2.0.20" },
    ],
    last: "10.1.0.11",
    taken: ["10.1.0.12", "10.2.0.20"],
    gives: "10.1.0.10",
  },
  {
    name: "begins anew if the last one left the range",
    ranges: [{ subnet: "10.1.0.0/24" }],
    last: "10.9.0.9",
    gives: "10.1.0.2",
  },
  {
    name: "skips a gateway in the middle",
    ranges: [{ subnet: "10.1.0.0/24", gateway: "10.1.0.5" }],
    last: "10.1.0.4",
    gives: "10.1.0.6",
  },
  {
    name: "gives the first address if the gateway is elsewhere",
    ranges: [{ subnet: "10.1.0.0/24", gateway: "10.1.0.5" }],
    gives: "10.1.0.1",
  },
  {
    name: "does the same for IPv6",
    ranges: [{ subnet: "fd00::/64" }],
    last: "fd00::ff",
    taken: ["fd00::100"],
    gives: "fd00::101",
  },
  {
    name: "gives the last address of an IPv6 prefix",
    ranges: [{ subnet: "fd00::/126" }],
    last: "fd00::2",
    gives: "fd00::3",
  },
];

describe("choose", () => {
  it.each(rows)("$name", ({ ranges, last, taken, gives }) => {
    const choice = choose(ranges.map(rangeOf), {
      last: last === undefined ? undefined : parseIp(last),
      isTaken: (ip) => taken?.includes(formatIp(ip)) ?? false,
    });
    expect(choice === undefined ? undefined : formatIp(choice.ip)).toBe(gives);
  });

  it("leaves excluded addresses alone", () => {
    const choice = choose([rangeOf({ subnet: "10.1.0.0/24" })], {
      isTaken: () => false,
      isExcluded: (ip) => formatIp(ip) === "10.1.0.2",
    });
    expect(choice && formatIp(choice.ip)).toBe("10.1.0.3");
  });

  it("visits every address of a set before it gives up", () => {
    const set = [rangeOf({ subnet: "10.1.0.0/28" }), rangeOf({ subnet: "10.2.0.0/29" })];
    const given = new Set<string>();
    let last = parseIp("10.2.0.3");
    for (;;) {
      const choice = choose(set, { last, isTaken: (ip) => given.has(formatIp(ip)) });
      if (choice === undefined) break;
      given.add(formatIp(choice.ip));
      last = choice.ip;
    }
    expect(given.size).toBe(13 + 5);
    expect(capacity(set)).toBe(18n);
  });
});

describe("chooseRequested", () => {
  it.each([
    ["10.1.0.9", "given"],
    ["10.1.0.1", "gateway"],
    ["10.1.0.7", "taken"],
    ["10.2.0.1", "outside"],
    ["fd00::1", "outside"],
  ])("answers a request for %s with %s", (text, answer) => {
    const ip = parseIp(text);
    if (ip === undefined) throw new Error("bad row");
    const set = [rangeOf({ subnet: "10.1.0.0/24" })];
    const got = chooseRequested(set, ip, { isTaken: (t) => formatIp(t) === "10.1.0.7" });
    expect(typeof got === "string" ? got : "given").toBe(answer);
  });
});

describe("rangeOf", () => {
  it("fills the defaults", () => {
    const range = rangeOf({ subnet: "10.1.0.0/24" });
    expect([formatRange(range), formatIp(range.gateway)]).toEqual(["10.1.0.1-10.1.0.254", "10.1.0.1"]);
  });

  it.each<[RangeSpec, string]>([
    [{ subnet: "10.1.0.0" }, 'subnet: found "10.1.0.0", expected a prefix such as 10.1.0.0/24'],
    [{ subnet: "10.1.0.5/24" }, 'subnet: found "10.1.0.5/24", expected the network address, 10.1.0.0/24'],
    [{ subnet: "10.1.0.0/31" }, 'subnet: found "10.1.0.0/31", expected a prefix of /30 or shorter'],
    [{ subnet: "fd00::/127" }, 'subnet: found "fd00::/127", expected a prefix of /126 or shorter'],
    [
      { subnet: "10.1.0.0/24", rangeStart: "10.2.0.1" },
      'rangeStart: found "10.2.0.1", expected an address in 10.1.0.0/24',
    ],
    [{ subnet: "10.1.0.0/24", rangeEnd: "x" }, 'rangeEnd: found "x", expected an address in 10.1.0.0/24'],
    [
      { subnet: "10.1.0.0/24", rangeStart: "10.1.0.9", rangeEnd: "10.1.0.8" },
      'rangeEnd: found "10.1.0.8", expected an address not below rangeStart 10.1.0.9',
    ],
    [{ subnet: "10.1.0.0/24", gateway: "fd00::1" }, 'gateway: found "fd00::1", expected an IPv4 address'],
  ])("refuses %j", (spec, message) => {
    expect(() => rangeOf(spec)).toThrow(message);
  });
});

describe("checkRangeSets", () => {
  const set = (...subnets: string[]) => subnets.map((subnet) => rangeOf({ subnet }));
  it("accepts one set of each family", () => {
    expect(() => checkRangeSets([set("10.1.0.0/24", "10.2.0.0/24"), set("fd00::/64")])).not.toThrow();
  });
  it.each([
    ["no set", [], "ranges: found nothing"],
    ["an empty set", [[]], "ranges[0]: found an empty set"],
    ["mixed families", [set("10.1.0.0/24", "fd00::/64")], 'ranges[0][1].subnet: found "fd00::/64", expected IPv4'],
    ["an overlap between sets", [set("10.1.0.0/24"), set("10.1.0.0/25")], "ranges[1][0]: found 10.1.0.1-10.1.0.126"],
  ])("refuses %s", (_, sets, message) => {
    expect(() => checkRangeSets(sets)).toThrow(message);
  });
});
