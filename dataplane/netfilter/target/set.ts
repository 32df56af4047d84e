/**
 * SET (xt_set.c): puts what a packet is into an ipset, or takes it out. A full set takes no more. Left out: --map-set, and
 * --timeout of its own for a set without timeouts, which is refused by the kernel, too.
 */
import { type EntryData, type IpSet, PLAIN } from "../ipset.ts";
import { elementOf, parseSides, type Sides } from "../match/set.ts";
import { opt } from "../options.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type SetTarget = {
  readonly kind: "SET";
  readonly verb: "--add-set" | "--del-set";
  readonly set: string;
  readonly sides: Sides;
  /** Seconds; null takes the set's. */
  readonly timeout: number | null;
  /** An element that is there already begins its time anew. */
  readonly exist: boolean;
};

function dataFor(t: SetTarget, set: IpSet, p: NfPacket): EntryData {
  const seconds = set.options.timeout === undefined ? 0 : (t.timeout ?? set.options.timeout);
  return seconds === 0 ? PLAIN : { comment: "", expires: p.ns.world.loop.time + seconds * 1000 };
}

/** Answers whether the set took it, as the first of a list's members that does. */
function change(t: SetTarget, set: IpSet, p: NfPacket): boolean {
  if (set.type === "list:set") return set.members.some((member) => change(t, member, p));
  const element = elementOf(set, t.sides, p);
  if (element === null) return false;
  if (t.verb === "--del-set") {
    set.put(element, null);
    return true;
  }
  const known = set.get(element);
  const now = p.ns.world.loop.time;
  const there = known !== undefined && (known.expires === 0 || known.expires > now);
  if (there && !t.exist) return false;
  if (!there && set.size >= (set.options.maxelem ?? Number.POSITIVE_INFINITY)) return false;
  set.put(element, dataFor(t, set, p));
  return true;
}

export const setTarget: TargetModule<SetTarget> = {
  name: "SET",
  options: {
    "--add-set": { args: 2 },
    "--del-set": { args: 2 },
    "--timeout": { args: 1 },
    "--exist": { args: 0 },
  },
  parse(o) {
    const verb = o.one(["--add-set", "--del-set"]) as SetTarget["verb"];
    const exist = o.has("--exist");
    const timeout = o.number("--timeout", 0, 4_294_967) ?? null;
    if (verb === "--del-set" && (exist || timeout !== null)) o.fail("--exist and --timeout go with --add-set");
    return { kind: "SET", verb, set: o.need(verb), sides: parseSides(o, verb), timeout, exist };
  },
  print: (t) =>
    ` ${t.verb} ${t.set} ${t.sides.join(",")}${t.exist ? " --exist" : ""}` +
    (t.timeout === null ? "" : opt(false, "--timeout", t.timeout)),
  run(t, p) {
    const set = p.state.sets.get(t.set);
    if (set !== undefined) change(t, set, p);
    return CONTINUE;
  },
};
