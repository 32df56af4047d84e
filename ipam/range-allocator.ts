/**
 * Which address to give next: pure choices over range sets, as the host-local plugin's documentation describes them.
 *
 * A range set is a pool of ranges of one family; a container gets one address of each set. Addresses are taken round
 * robin, from the one after the last reserved, over all ranges of the set, so that an address that was just released
 * rests as long as possible. Who holds an address is the store's business (`store.ts`).
 */
import {
  bitsOf,
  type Cidr,
  contains,
  firstOf,
  formatCidr,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  parseCidr,
  parseIp,
  plus,
  sameIp,
} from "./ip.ts";

/** A range as configuration writes it. */
export type RangeSpec = {
  readonly subnet: string;
  readonly rangeStart?: string;
  readonly rangeEnd?: string;
  readonly gateway?: string;
};

export type IpRange = { readonly subnet: Cidr; readonly start: Ip; readonly end: Ip; readonly gateway: Ip };
export type RangeSet = readonly IpRange[];

/** A range that cannot be used: which field, what it holds, what it should. */
export class RangeProblem extends Error {
  override readonly name: string = "RangeProblem";
  readonly field: string;
  readonly found: string;
  readonly expected: string;
  constructor(field: string, found: string, expected: string) {
    super(`${field}: found ${found}, expected ${expected}`);
    this.field = field;
    this.found = found;
    this.expected = expected;
  }
}

/** Fills the defaults: gateway is the first host address, start the same, end the last but the broadcast address. */
export function rangeOf(spec: RangeSpec): IpRange {
  const subnet = parseCidr(spec.subnet);
  if (subnet === undefined) throw new RangeProblem("subnet", `"${spec.subnet}"`, "a prefix such as 10.1.0.0/24");
  const network = networkOf(subnet);
  if (!sameIp(network.ip, subnet.ip)) {
    throw new RangeProblem("subnet", `"${spec.subnet}"`, `the network address, ${formatCidr(network)}`);
  }
  const shortest = bitsOf(subnet.ip.family) - 2;
  if (subnet.len > shortest)
    throw new RangeProblem("subnet", `"${spec.subnet}"`, `a prefix of /${shortest} or shorter`);

  const first = plus(firstOf(subnet), 1n);
  const last = subnet.ip.family === 4 ? plus(lastOf(subnet), -1n) : lastOf(subnet);
  const inside = (field: "rangeStart" | "rangeEnd", fallback: Ip): Ip => {
    const text = spec[field];
    if (text === undefined) return fallback;
    const ip = parseIp(text);
    if (ip === undefined || !contains(subnet, ip)) {
      throw new RangeProblem(field, `"${text}"`, `an address in ${formatCidr(subnet)}`);
    }
    return ip;
  };
  const start = inside("rangeStart", first);
  const end = inside("rangeEnd", last);
  if (start.value > end.value) {
    throw new RangeProblem("rangeEnd", `"${formatIp(end)}"`, `an address not below rangeStart ${formatIp(start)}`);
  }
  let gateway = first;
  if (spec.gateway !== undefined) {
    const given = parseIp(spec.gateway);
    // a gateway outside the subnet is legal: some networks route to one that is only on the link
    if (given === undefined || given.family !== subnet.ip.family) {
      throw new RangeProblem("gateway", `"${spec.gateway}"`, `an IPv${subnet.ip.family} address`);
    }
    gateway = given;
  }
  return { subnet, start, end, gateway };
}

/** "10.1.0.0/24" or "10.1.0.10-10.1.0.20", as it stands in messages. */
export function formatRange(range: IpRange): string {
  return `${formatIp(range.start)}-${formatIp(range.end)}`;
}

function rangesOverlap(a: IpRange, b: IpRange): boolean {
  return a.start.family === b.start.family && a.start.value <= b.end.value && b.start.value <= a.end.value;
}

/** Refuses an empty list, mixed families within a set, and ranges that share addresses anywhere. */
export function checkRangeSets(sets: readonly RangeSet[]): void {
  if (sets.length === 0) throw new RangeProblem("ranges", "nothing", "at least one range set");
  const seen: { readonly range: IpRange; readonly field: string }[] = [];
  for (const [i, set] of sets.entries()) {
    const head = set[0];
    if (head === undefined) throw new RangeProblem(`ranges[${i}]`, "an empty set", "at least one range");
    for (const [j, range] of set.entries()) {
      const field = `ranges[${i}][${j}]`;
      if (range.subnet.ip.family !== head.subnet.ip.family) {
        throw new RangeProblem(
          `${field}.subnet`,
          `"${formatCidr(range.subnet)}"`,
          `IPv${head.subnet.ip.family} as in the rest of the set`,
        );
      }
      for (const other of seen) {
        if (rangesOverlap(range, other.range)) {
          throw new RangeProblem(
            field,
            formatRange(range),
            `addresses apart from ${other.field} (${formatRange(other.range)})`,
          );
        }
      }
      seen.push({ range, field });
    }
  }
}

export function inRange(range: IpRange, ip: Ip): boolean {
  return ip.family === range.start.family && ip.value >= range.start.value && ip.value <= range.end.value;
}

export function rangeHolding(set: RangeSet, ip: Ip): IpRange | undefined {
  return set.find((range) => inRange(range, ip));
}

export type Choice = { readonly ip: Ip; readonly range: IpRange };
export type Choosing = {
  /** The address that this set gave last. */
  readonly last?: Ip | undefined;
  readonly isTaken: (ip: Ip) => boolean;
  /** Addresses never to give, besides the gateway of the range. */
  readonly isExcluded?: (ip: Ip) => boolean;
};

/** The next free address of a set, or undefined when all are taken. */
export function choose(set: RangeSet, how: Choosing): Choice | undefined {
  const last = how.last;
  let from = last === undefined ? -1 : set.findIndex((range) => inRange(range, last));
  let cursor: Ip;
  if (from < 0 || last === undefined) {
    from = 0;
    const head = set[0];
    if (head === undefined) return undefined;
    cursor = head.start;
  } else {
    cursor = plus(last, 1n);
  }
  // once from the cursor to the end, once round through the others, once from the start of the first up to the cursor
  for (let step = 0; step <= set.length; step++) {
    const range = set[(from + step) % set.length];
    if (range === undefined) return undefined;
    let ip = step === 0 ? cursor : range.start;
    const end = step === set.length ? plus(cursor, -1n) : range.end;
    for (; ip.value <= end.value; ip = plus(ip, 1n)) {
      if (sameIp(ip, range.gateway) || how.isTaken(ip) || how.isExcluded?.(ip) === true) continue;
      return { ip, range };
    }
  }
  return undefined;
}

export type Refusal = "outside" | "gateway" | "taken";

/** Whether one address that somebody asked for can be given. */
export function chooseRequested(set: RangeSet, ip: Ip, how: Choosing): Choice | Refusal {
  const range = rangeHolding(set, ip);
  if (range === undefined) return "outside";
  if (sameIp(ip, range.gateway) || how.isExcluded?.(ip) === true) return "gateway";
  return how.isTaken(ip) ? "taken" : { ip, range };
}

/** How many addresses a set can give at all. */
export function capacity(set: RangeSet): bigint {
  let n = 0n;
  for (const range of set) {
    n += range.end.value - range.start.value + 1n;
    if (inRange(range, range.gateway)) n -= 1n;
  }
  return n;
}
