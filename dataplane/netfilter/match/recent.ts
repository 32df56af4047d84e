/**
 * `-m recent` (xt_recent.c): lists of addresses with the times when they were seen, by name. kube-proxy keeps session
 * affinity in them. A list holds 100 addresses (ip_list_tot) with 20 times each (ip_pkt_list_tot); a full one forgets the
 * address that was seen longest ago.
 */
import { formatIpv4, parseIpv4 } from "../../wire/ipv4-addr.ts";
import { ttlOf } from "../header.ts";
import type { MatchModule } from "./module.ts";

export type RecentMatch = {
  readonly kind: "recent";
  readonly verb: "--set" | "--rcheck" | "--update" | "--remove";
  readonly not: boolean;
  /** 0: any time. */
  readonly seconds: number;
  readonly reap: boolean;
  readonly hitcount: number;
  readonly rttl: boolean;
  readonly name: string;
  readonly mask: number;
  readonly six: boolean;
  readonly side: "--rsource" | "--rdest";
};

const LIST_MAX = 100;
const STAMPS_MAX = 20;

/** `stamps` in milliseconds, oldest first. */
type Entry = { stamps: number[]; ttl: number };
/** In the order in which addresses were last seen. */
export type RecentTable = Map<number, Entry>;

const MASK6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

/** IPv6 addresses are told apart as a whole. */
function wholeAddress6(text: string | undefined): number | undefined {
  return text === undefined || text === MASK6 ? -1 : undefined;
}

export const recentMatch: MatchModule<RecentMatch> = {
  name: "recent",
  options: {
    "--set": { args: 0, not: true },
    "--rcheck": { args: 0, not: true },
    "--update": { args: 0, not: true },
    "--remove": { args: 0, not: true },
    "--seconds": { args: 1 },
    "--reap": { args: 0 },
    "--hitcount": { args: 1 },
    "--rttl": { args: 0 },
    "--name": { args: 1 },
    "--mask": { args: 1 },
    "--rsource": { args: 0 },
    "--rdest": { args: 0 },
  },
  parse(o) {
    const verb = o.one(["--set", "--rcheck", "--update", "--remove"]) as RecentMatch["verb"];
    const timed = verb === "--rcheck" || verb === "--update";
    for (const name of ["--seconds", "--hitcount", "--rttl"]) {
      if (o.has(name) && !timed) o.fail(`option ${name} needs --rcheck or --update`);
    }
    if (o.has("--reap") && !o.has("--seconds")) o.fail("option --reap needs --seconds");
    const mask = o.six ? wholeAddress6(o.text("--mask")) : parseIpv4(o.text("--mask") ?? "255.255.255.255");
    if (mask === undefined) o.fail(`option --mask: "${o.text("--mask")}" is not a mask`);
    const hitcount = o.number("--hitcount", 1, STAMPS_MAX) ?? 0;
    return {
      kind: "recent",
      verb,
      not: o.not(verb),
      seconds: o.number("--seconds", 1, 0xffffffff) ?? 0,
      reap: o.has("--reap"),
      hitcount,
      rttl: o.has("--rttl"),
      name: o.text("--name") ?? "DEFAULT",
      mask: mask ?? 0,
      six: o.six,
      side: o.has("--rdest") ? "--rdest" : "--rsource",
    };
  },
  print(m) {
    return (
      `${m.not ? " !" : ""} ${m.verb}${m.seconds === 0 ? "" : ` --seconds ${m.seconds}`}${m.reap ? " --reap" : ""}` +
      `${m.hitcount === 0 ? "" : ` --hitcount ${m.hitcount}`}${m.rttl ? " --rttl" : ""}` +
      ` --name ${m.name} --mask ${m.six ? MASK6 : formatIpv4(m.mask)} ${m.side}`
    );
  },
  test(m, p) {
    let table = p.state.recent.get(m.name);
    if (table === undefined) {
      table = new Map();
      p.state.recent.set(m.name, table);
    }
    const now = p.ns.world.loop.time;
    const key = ((m.side === "--rsource" ? p.src : p.dst) & m.mask) | 0;
    const ttl = ttlOf(p) - 1;
    const found = table.get(key);
    const entry = found !== undefined && m.rttl && found.ttl !== ttl ? undefined : found;
    if (entry === undefined) {
      if (m.verb !== "--set") return m.not;
      if (table.size >= LIST_MAX) table.delete(table.keys().next().value as number);
      table.set(key, { stamps: [now], ttl });
      return !m.not;
    }
    switch (m.verb) {
      case "--set":
        stamp(table, key, entry, now, ttl);
        return !m.not;
      case "--remove":
        table.delete(key);
        return !m.not;
      default: {
        const since = m.seconds === 0 ? Number.NEGATIVE_INFINITY : now - m.seconds * 1000;
        let hits = 0;
        let hit = false;
        for (const at of entry.stamps) {
          if (at < since) continue;
          if (++hits >= m.hitcount) hit = true;
        }
        if (m.reap) reap(table, since);
        const answer = hit !== m.not;
        if (m.verb === "--update" && answer) stamp(table, key, entry, now, ttl);
        return answer;
      }
    }
  },
};

function stamp(table: RecentTable, key: number, entry: Entry, now: number, ttl: number): void {
  entry.stamps.push(now);
  if (entry.stamps.length > STAMPS_MAX) entry.stamps.shift();
  entry.ttl = ttl;
  table.delete(key);
  table.set(key, entry);
}

/** Forgets the address that was seen longest ago, if that is too long (recent_entry_reap). */
function reap(table: RecentTable, since: number): void {
  for (const [key, entry] of table) {
    if ((entry.stamps[entry.stamps.length - 1] ?? 0) < since) table.delete(key);
    return;
  }
}
