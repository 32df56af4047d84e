/** The operation iptables.restore on a namespace, and reading the rules back. */
import type { World } from "../host/world.ts";
import type { NetNs } from "../netns/netns.ts";
import { type IptablesRestore, NetlinkError } from "../netns/rtnl-ops.ts";
import { type RestoreOptions, restore, StaleEdits, type Tables } from "./iptables.ts";
import { IptablesNetfilter } from "./netfilter.ts";
import { RuleCache } from "./rule-cache.ts";
import { RulesError } from "./rules-error.ts";
import { saveTable, TABLES } from "./table.ts";

/** Rules that namespaces of one world share. */
const caches = new WeakMap<World, Readonly<Record<IptablesRestore["family"], RuleCache>>>();

function cacheOf(world: World, family: IptablesRestore["family"]): RuleCache {
  const known = caches.get(world);
  if (known !== undefined) return known[family];
  const fresh = { ipv4: new RuleCache(), ipv6: new RuleCache() };
  caches.set(world, fresh);
  return fresh[family];
}

/** The namespace's netfilter, where rules made one. */
export function netfilterOf(ns: NetNs): IptablesNetfilter | null {
  return ns.nf instanceof IptablesNetfilter ? ns.nf : null;
}

/** The same of IPv6. */
export function netfilter6Of(ns: NetNs): IptablesNetfilter | null {
  return ns.nf6 instanceof IptablesNetfilter ? ns.nf6 : null;
}

/** The namespace's netfilter, made if there is none: for sets and connections before the first rule. */
export function ensureNetfilter(ns: NetNs, six = false): IptablesNetfilter {
  const known = six ? netfilter6Of(ns) : netfilterOf(ns);
  if (known !== null) return known;
  const made = new IptablesNetfilter(ns, six, six ? netfilterOf(ns) : netfilter6Of(ns));
  if (six) ns.nf6 = made;
  else ns.nf = made;
  return made;
}

/** Replaces tables, or adds to them, and answers how to undo it. Throws NetlinkError EINVAL for text that is wrong. */
export function restoreRules(ns: NetNs, op: IptablesRestore): () => void {
  const six = op.family === "ipv6";
  const before = six ? ns.nf6 : ns.nf;
  const nf = six
    ? (netfilter6Of(ns) ?? new IptablesNetfilter(ns, true, netfilterOf(ns)))
    : (netfilterOf(ns) ?? new IptablesNetfilter(ns, false, netfilter6Of(ns)));
  const options: RestoreOptions = {
    source: op.source ?? "iptables-restore",
    noflush: op.noflush,
    lenient: op.lenient === true,
    cache: cacheOf(ns.world, op.family),
    sets: nf.state.sets,
    six,
  };
  let undo: () => void;
  try {
    undo = editRules(nf.tables, op, options) ?? restore(nf.tables, op.text, options);
  } catch (cause) {
    if (!(cause instanceof RulesError)) throw cause;
    throw new NetlinkError("EINVAL", cause.message, op, { cause });
  }
  settle(ns, nf);
  return () => {
    undo();
    nf.changed();
    if (six) ns.nf6 = before;
    else ns.nf = before;
  };
}

/** Null where there are no edits, or where they do not fit any more. */
function editRules(tables: Tables, { edits }: IptablesRestore, options: RestoreOptions): (() => void) | null {
  if (edits === undefined) return null;
  try {
    return restore(tables, edits, { ...options, edits: true });
  } catch (cause) {
    if (cause instanceof StaleEdits) return null;
    throw cause;
  }
}

/** Without tables and sets there is nothing to ask. */
function settle(ns: NetNs, nf: IptablesNetfilter): void {
  nf.changed();
  const used = nf.tables.size > 0 || nf.state.sets.all().length > 0 || nf.hasBaseChains ? nf : null;
  if (nf.six) ns.nf6 = used;
  else ns.nf = used;
}

/** The rules as iptables-save prints them, without its comment lines; "" where there are none. */
export function saveRules(ns: NetNs, counters = false, family: IptablesRestore["family"] = "ipv4"): string {
  const nf = family === "ipv6" ? netfilter6Of(ns) : netfilterOf(ns);
  if (nf === null) return "";
  return Object.keys(TABLES)
    .map((name) => nf.tables.get(name))
    .map((table) => (table === undefined ? "" : saveTable(table, counters)))
    .join("");
}
