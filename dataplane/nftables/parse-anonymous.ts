/** Sets and maps that stand in a rule, in braces: they are the rule's own. */
import type { DataType, Value } from "./datatype.ts";
import type { Element } from "./elements.ts";
import type { Lexer } from "./lexer.ts";
import { NftSet, type SetSpec, type Table } from "./model.ts";
import { parseElements } from "./parse-set.ts";

const CONSTANT: readonly string[] = ["constant"];
const CONSTANT_INTERVAL: readonly string[] = ["constant", "interval"];

export function anonymousSpec(map: boolean, key: readonly DataType[], data: SetSpec["data"]): SetSpec {
  return {
    map,
    key,
    data,
    typeof: "",
    flags: CONSTANT,
    timeout: 0,
    gcInterval: 0,
    size: 0,
    policy: "",
    autoMerge: false,
    counter: false,
    comment: "",
  };
}

/** The set or map in braces at the lexer. */
export function parseAnonymous(lex: Lexer, table: Table, spec: SetSpec, handle: number): NftSet {
  const from = lex.start;
  // whether it holds intervals is known when its elements are; a map's data may be shorter than it could
  const elements = parseElements(lex, table, spec);
  const ranged = elements.some((e) => e.end !== null);
  const data = spec.data === "verdict" ? spec.data : dataFields(elements, spec.data);
  const flags = ranged ? CONSTANT_INTERVAL : CONSTANT;
  const same = data === spec.data && flags === spec.flags;
  const set = new NftSet(table, "", handle, same ? spec : { ...spec, data, flags });
  try {
    for (const e of elements) {
      if (set.elements.catchAll === null && e.key.length === 0) set.elements.catchAll = e;
      else if (set.interval && spec.key.length === 1 && !set.wildcards) addMerging(set, e);
      else if (set.elements.get(e.key, e.end) === null) set.elements.add(e);
    }
  } catch (error) {
    lex.fail((error as Error).message, from, "EEXIST");
  }
  return set;
}

/** A set in a rule takes elements that overlap, as one. */
function addMerging(set: NftSet, e: Element): void {
  const met = set.elements.overlapping(e.key, e.end);
  if (met.length === 0) {
    set.elements.add(e);
    return;
  }
  if (set.spec.map) throw new Error("the interval overlaps with an existing one");
  for (const other of met) set.elements.remove(other);
  set.elements.add(mergedWith(e, met));
}

function mergedWith(e: Element, met: readonly Element[]): Element {
  const before = (a: Value, b: Value): boolean => {
    for (let i = 0; i < a.length; i++) {
      const d = ((a[i] ?? 0) >>> 0) - ((b[i] ?? 0) >>> 0);
      if (d !== 0) return d < 0;
    }
    return false;
  };
  const all = [e, ...met];
  const key = all.map((o) => o.key).reduce((a, b) => (before(b, a) ? b : a));
  const end = all.map((o) => o.end ?? o.key).reduce((a, b) => (before(a, b) ? b : a));
  return { ...e, key, end };
}

/** Those of the possible fields that the data of a map have. */
function dataFields(elements: readonly Element[], types: readonly DataType[]): readonly DataType[] {
  const data = elements[0]?.data;
  if (data === undefined || data === null || "kind" in data) return types;
  let words = 0;
  for (let i = 0; i < types.length - 1; i++) {
    words += types[i]?.words ?? 0;
    if (words === data.length) return types.slice(0, i + 1);
  }
  return types;
}
