/** Sets and maps: what they are declared to be, and their elements. */
import { type DataType, typeByName, type Value } from "./datatype.ts";
import type { Element } from "./elements.ts";
import { type Lexer, T_EOF, T_WORD } from "./lexer.ts";
import type { SetSpec, Table, Verdict } from "./model.ts";
import { parseExpr, typesOf } from "./parse-expr.ts";
import { parseCounter, parseGate, parseVerdict } from "./parse-part.ts";
import { parseKey, parseTime } from "./parse-value.ts";
import { printExpr } from "./print-rule.ts";
import type { Counter, Gate } from "./stateful.ts";

/** The elements in braces. */
export function parseElements(lex: Lexer, table: Table, spec: SetSpec): readonly Element[] {
  lex.expect("{");
  const out: Element[] = [];
  for (;;) {
    lex.newlines();
    if (lex.accept("}")) return out;
    if (lex.kind === T_EOF) lex.expected('"}"');
    out.push(parseElement(lex, table, spec));
    lex.newlines();
    if (!lex.is("}")) lex.expect(",");
  }
}

function parseElement(lex: Lexer, table: Table, spec: SetSpec): Element {
  let key: Value = [];
  let end: Value | null = null;
  if (lex.accept("$")) return lex.fail("a definition cannot stand for elements here");
  if (!lex.accept("*")) ({ key, end } = parseKey(lex, spec.key));
  let timeout = 0;
  let expires = 0;
  let comment = "";
  let counter: Counter | null = null;
  let limit: Gate | null = null;
  for (; lex.kind === T_WORD; ) {
    if (lex.acceptWord("timeout")) timeout = parseTime(lex);
    else if (lex.acceptWord("expires")) expires = parseTime(lex);
    else if (lex.acceptWord("counter")) counter = parseCounter(lex);
    else if (lex.acceptWord("comment")) comment = lex.kept("a comment");
    else limit = parseGate(lex) ?? lex.expected("an option of the element");
  }
  let data: Value | Verdict | null = null;
  if (spec.map) {
    lex.expect(":");
    data = spec.data === "verdict" ? parseVerdict(lex, table) : parseData(lex, spec.data);
  }
  // until the element is added, `expires` is how long it lives
  return { key, end, data, comment, timeout, expires, counter, limit };
}

/** The data of a map's element; where fields are left out at the end the rule wants fewer. */
function parseData(lex: Lexer, types: readonly DataType[]): Value {
  const out: number[] = [];
  for (let i = 0; i < types.length; i++) {
    if (i > 0 && !lex.accept(".")) break;
    const { key, end } = parseKey(lex, [types[i] as DataType]);
    if (end !== null) lex.fail("ranges as data of a map are not supported");
    out.push(...key);
  }
  return out;
}

/** The flags that a set may have; "constant" promises that nothing changes it. */
const SET_FLAGS: readonly string[] = ["constant", "dynamic", "interval", "timeout"];

/** The declaration in braces. Elements are told where they stand, to be read when the chains are there. */
export function parseSetBlock(
  lex: Lexer,
  map: boolean,
): { readonly spec: SetSpec; readonly elementsAt: readonly number[] } {
  const from = lex.start;
  lex.expect("{");
  let key: readonly DataType[] = [];
  let data: SetSpec["data"] = [];
  let typeOf = "";
  const flags: string[] = [];
  const elementsAt: number[] = [];
  let [timeout, gcInterval, size] = [0, 0, 0];
  let [policy, comment] = ["", ""];
  let [autoMerge, counter] = [false, false];
  for (;;) {
    lex.ends();
    if (lex.accept("}")) break;
    const at = lex.start;
    const word = lex.word("what the set is");
    switch (word) {
      case "type":
        key = parseTypes(lex);
        if (map) {
          lex.expect(":");
          data = lex.acceptWord("verdict") ? "verdict" : parseTypes(lex);
        }
        break;
      case "typeof": {
        const of = parseExpr(lex, null);
        key = typesOf(of);
        typeOf = printExpr(of);
        if (map) {
          lex.expect(":");
          if (lex.acceptWord("verdict")) {
            data = "verdict";
            typeOf += " : verdict";
          } else {
            const to = parseExpr(lex, null);
            data = typesOf(to);
            typeOf += ` : ${printExpr(to)}`;
          }
        }
        break;
      }
      case "flags":
        do {
          const flag = lex.word("a flag");
          if (!SET_FLAGS.includes(flag)) lex.fail(`set: "${flag}" is no flag of a set`, at);
          flags.push(flag);
        } while (lex.accept(","));
        break;
      case "timeout":
        timeout = parseTime(lex);
        break;
      case "gc-interval":
        gcInterval = parseTime(lex);
        break;
      case "size":
        size = lex.number("a number of elements");
        break;
      case "policy":
        policy = lex.word("performance or memory");
        break;
      case "auto-merge":
        autoMerge = true;
        break;
      case "counter":
        parseCounter(lex);
        counter = true;
        break;
      case "comment":
        comment = lex.string("the comment");
        break;
      case "elements":
        lex.expect("=");
        elementsAt.push(lex.start);
        skipBraces(lex);
        break;
      default:
        lex.fail(`set: "${word}" is not supported`, at);
    }
  }
  if (key.length === 0) lex.fail("the set has no type", from);
  const ordered = SET_FLAGS.filter((f) => flags.includes(f));
  if (ordered.includes("dynamic") && size === 0) size = 65535;
  const spec = {
    map,
    key,
    data,
    typeof: typeOf,
    flags: ordered,
    timeout,
    gcInterval,
    size,
    policy,
    autoMerge,
    counter,
    comment,
  };
  return { spec, elementsAt };
}

function parseTypes(lex: Lexer): readonly DataType[] {
  const out: DataType[] = [];
  do {
    const at = lex.start;
    const name = lex.word("a type");
    const type = typeByName(name);
    if (type === undefined) return lex.fail(`type ${name} is not supported`, at);
    out.push(type);
  } while (lex.accept("."));
  return out;
}

/** Goes past a block, without reading it. */
export function skipBraces(lex: Lexer): void {
  lex.expect("{");
  for (let depth = 1; depth > 0; lex.next()) {
    if (lex.kind === T_EOF) lex.expected('"}"');
    if (lex.is("{")) depth++;
    else if (lex.is("}")) depth--;
  }
}
