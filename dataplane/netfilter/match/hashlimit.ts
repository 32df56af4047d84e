/**
 * `-m hashlimit` (xt_hashlimit.c): a bucket of tokens for each address, port, or group of them, under a name that rules share.
 * A bucket that was not asked for as long as its entry lives begins anew. Left out: rates in octets, --hashlimit-rate-match,
 * and the largest number of entries, which is carried along for the text.
 */
import { u16 } from "../../wire/bytes.ts";
import { isKey6, network6Of } from "../../wire/ip-key.ts";
import { maskOf } from "../../wire/prefix.ts";
import type { NfPacket } from "../packet.ts";
import type { MatchModule } from "./module.ts";
import { hasPorts } from "./ports.ts";
import { type Bucket, fullBucket, parseRate, printRate, RATE_SCALE, take } from "./rate.ts";

const MODES: readonly string[] = ["srcip", "srcport", "dstip", "dstport"];
const DEFAULT_BURST = 5;
const DEFAULT_GC = 1000;
const NAME_MAX = 255;

export type HashlimitMatch = {
  readonly kind: "hashlimit";
  readonly above: boolean;
  readonly period: number;
  readonly burst: number;
  readonly modes: readonly string[];
  readonly name: string;
  /** Bits of the addresses that count. */
  readonly srcBits: number;
  readonly dstBits: number;
  readonly width: 32 | 128;
  /** 0 where they were not given. */
  readonly size: number;
  readonly max: number;
  /** Milliseconds. */
  readonly gcInterval: number;
  readonly expire: number;
  readonly defaultExpire: number;
};

/** Buckets by what they are for; with when they are given up. */
export type HashlimitTable = Map<string, { readonly bucket: Bucket; until: number }>;

/** Null for a header that is too short for the ports that are asked. */
function keyOf(m: HashlimitMatch, p: NfPacket): string | null {
  const ported = hasPorts(p.proto);
  if (ported && m.modes.some((mode) => mode.endsWith("port")) && p.end - p.transport < 4) return null;
  const port = (offset: number): number => (ported ? u16(p.b, p.transport + offset) : 0);
  const network = (key: number, bits: number): number => (isKey6(key) ? network6Of(key, bits) : key & maskOf(bits));
  const parts = m.modes.map((mode) => {
    switch (mode) {
      case "srcip":
        return network(p.src, m.srcBits);
      case "dstip":
        return network(p.dst, m.dstBits);
      case "srcport":
        return port(0);
      default:
        return port(2);
    }
  });
  return parts.join();
}

export const hashlimitMatch: MatchModule<HashlimitMatch> = {
  name: "hashlimit",
  options: {
    "--hashlimit-upto": { args: 1 },
    "--hashlimit": { args: 1, as: "--hashlimit-upto" },
    "--hashlimit-above": { args: 1 },
    "--hashlimit-burst": { args: 1 },
    "--hashlimit-mode": { args: 1 },
    "--hashlimit-name": { args: 1 },
    "--hashlimit-srcmask": { args: 1 },
    "--hashlimit-dstmask": { args: 1 },
    "--hashlimit-htable-size": { args: 1 },
    "--hashlimit-htable-max": { args: 1 },
    "--hashlimit-htable-gcinterval": { args: 1 },
    "--hashlimit-htable-expire": { args: 1 },
  },
  parse(o) {
    const verb = o.one(["--hashlimit-upto", "--hashlimit-above"]);
    const { period, seconds } = parseRate(o, verb, o.need(verb));
    const name = o.need("--hashlimit-name");
    if (name === "" || name.length > NAME_MAX || name.includes("/"))
      o.fail(`option --hashlimit-name: "${name}" is not a name`);
    const given = o.text("--hashlimit-mode")?.split(",") ?? [];
    const strange = given.find((mode) => !MODES.includes(mode));
    if (strange !== undefined) o.fail(`option --hashlimit-mode: "${strange}" is not one of ${MODES.join(", ")}`);
    const width = o.six ? 128 : 32;
    const positive = (option: string): number => o.number(option, 1, 0xffffffff) ?? 0;
    const defaultExpire = seconds * 1000;
    return {
      kind: "hashlimit",
      above: verb === "--hashlimit-above",
      period,
      burst: o.number("--hashlimit-burst", 1, 10_000) ?? DEFAULT_BURST,
      modes: MODES.filter((mode) => given.includes(mode)),
      name,
      srcBits: o.number("--hashlimit-srcmask", 0, width) ?? width,
      dstBits: o.number("--hashlimit-dstmask", 0, width) ?? width,
      width,
      size: positive("--hashlimit-htable-size"),
      max: positive("--hashlimit-htable-max"),
      gcInterval: positive("--hashlimit-htable-gcinterval") || DEFAULT_GC,
      expire: positive("--hashlimit-htable-expire") || defaultExpire,
      defaultExpire,
    };
  },
  print(m) {
    const say = (option: string, value: number, usual: number): string =>
      value === usual ? "" : ` --hashlimit-${option} ${value}`;
    return (
      ` --hashlimit-${m.above ? "above" : "upto"} ${printRate(m.period)} --hashlimit-burst ${m.burst}` +
      `${m.modes.length === 0 ? "" : ` --hashlimit-mode ${m.modes.join(",")}`} --hashlimit-name ${m.name}` +
      say("htable-size", m.size, 0) +
      say("htable-max", m.max, 0) +
      say("htable-gcinterval", m.gcInterval, DEFAULT_GC) +
      say("htable-expire", m.expire, m.defaultExpire) +
      say("srcmask", m.srcBits, m.width) +
      say("dstmask", m.dstBits, m.width)
    );
  },
  test(m, p) {
    let table = p.state.hashlimits.get(m.name);
    if (table === undefined) {
      table = new Map();
      p.state.hashlimits.set(m.name, table);
    }
    const key = keyOf(m, p);
    if (key === null) {
      p.hotdrop = true;
      return false;
    }
    const ms = p.ns.world.loop.time;
    const now = ms * (RATE_SCALE / 1000);
    const known = table.get(key);
    const bucket = known === undefined || known.until <= ms ? fullBucket(m.period, m.burst, now) : known.bucket;
    table.set(key, { bucket, until: ms + m.expire });
    return take(bucket, m.period, m.burst, now) !== m.above;
  },
};
