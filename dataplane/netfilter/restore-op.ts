/** The operation iptables.restore on a namespace, and reading the rules back. */
import type { World } from "../host/world.ts";
import type { NetNs } from "../netns/netns.ts";
import { type IptablesRestore, NetlinkError } from "../netns/rtnl-ops.ts";
import { restore } from "./iptables.ts";
import { IptablesNetfilter } from "./netfilter.ts";
import { RuleCache } from "./rule-cache.ts";
import { RulesError } from "./rules-error.ts";
import { saveTable, TABLES } from "./table.ts";

/** Rules that namespaces of one world share. */
const caches = new WeakMap<World, RuleCache>();

function cacheOf(world: World): RuleCache {
  const known = caches.get(world);
  if (known !== undefined) return known;
  const cache = new RuleCache();
  caches.set(world, cache);
  return cache;
}

/** The namespace's netfilter, where rules made one. */
export function netfilterOf(ns: NetNs): IptablesNetfilter | null {
  return ns.nf instanceof IptablesNetfilter ? ns.nf : null;
}

/** The namespace's netfilter, made if there is none: for sets and connections before the first rule. */
export function ensureNetfilter(ns: NetNs): IptablesNetfilter {
  const known = netfilterOf(ns);
  if (known !== null) return known;
  const made = new IptablesNetfilter(ns);
  ns.nf = made;
  return made;
}

/** Replaces tables, or adds to them, and answers how to undo it. Throws NetlinkError EINVAL for text that is wrong. */
export function restoreRules(ns: NetNs, op: IptablesRestore): () => void {
  if (op.family !== "ipv4") throw new NetlinkError("EAFNOSUPPORT", "rules for IPv6 are not supported", op);
  const before = ns.nf;
  const nf = netfilterOf(ns) ?? new IptablesNetfilter(ns);
  let undo: () => void;
  try {
    undo = restore(nf.tables, op.edits ?? op.text, {
      source: op.source ?? "iptables-restore",
      noflush: op.noflush,
      cache: cacheOf(ns.world),
      sets: nf.state.sets,
    });
  } catch (cause) {
    if (!(cause instanceof RulesError)) throw cause;
    throw new NetlinkError("EINVAL", cause.message, op, { cause });
  }
  settle(ns, nf);
  return () => {
    undo();
    nf.changed();
    ns.nf = before;
  };
}

/** Without tables and sets there is nothing to ask. */
function settle(ns: NetNs, nf: IptablesNetfilter): void {
  nf.changed();
  ns.nf = nf.tables.size === 0 && nf.state.sets.all().length === 0 && !nf.hasBaseChains ? null : nf;
}

/** The rules as iptables-save prints them, without its comment lines; "" where there are none. */
export function saveRules(ns: NetNs, counters = false): string {
  const nf = netfilterOf(ns);
  if (nf === null) return "";
  return Object.keys(TABLES)
    .map((name) => nf.tables.get(name))
    .map((table) => (table === undefined ? "" : saveTable(table, counters)))
    .join("");
}
