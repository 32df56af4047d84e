/** Expressions: what gives a value to compare, to look up or to set. */
import type { DataType } from "./datatype.ts";
import { INTEGER, integer } from "./datatype.ts";
import { fibKey, fieldsOf, isProtocol, type Key, keyByText, rawPayload } from "./keys.ts";
import { type Lexer, T_WORD } from "./lexer.ts";
import type { Expr } from "./model.ts";
import { UNKNOWN } from "./nft-error.ts";
import { parseFlags } from "./parse-value.ts";
import type { Protocols } from "./protocols.ts";

const BARE_META: readonly string[] = [
  "mark",
  "iif",
  "iifname",
  "oif",
  "oifname",
  "pkttype",
  "skuid",
  "skgid",
  "l4proto",
  "nfproto",
  "ibrname",
  "obrname",
];
const BIT_WORDS: Readonly<Record<string, "&" | "|" | "^" | "<<" | ">>">> = {
  and: "&",
  or: "|",
  xor: "^",
  lshift: "<<",
  rshift: ">>",
};
const BIT_SYMBOLS: readonly string[] = ["&", "|", "^", "<<", ">>"];

/** The fields of an expression's value. */
export function typesOf(expr: Expr): readonly DataType[] {
  return expr.kind === "concat" ? expr.parts.map((p) => p.type) : [expr.type];
}

/** How many registers an expression fills. */
export function wordsOf(expr: Expr): number {
  return typesOf(expr).reduce((n, t) => n + t.words, 0);
}

/** Whether a word begins an expression. */
export function beginsExpr(lex: Lexer): boolean {
  if (lex.is("@")) return true;
  if (lex.kind !== T_WORD) return false;
  const w = lex.value;
  return (
    isProtocol(w) ||
    w === "meta" ||
    w === "ct" ||
    w === "fib" ||
    w === "numgen" ||
    w === "jhash" ||
    w === "symhash" ||
    BARE_META.includes(w)
  );
}

/**
 * A whole expression: fields joined by dots, and bits of them. `protocols`: of the rule that it stands in; null for one that
 * only gives a type.
 */
export function parseExpr(lex: Lexer, protocols: Protocols | null): Expr {
  const first = parseBits(lex, parsePrimary(lex, protocols));
  if (!lex.is(".")) return first;
  const parts = [first];
  while (lex.accept(".")) parts.push(parseBits(lex, parsePrimary(lex, protocols)));
  return { kind: "concat", parts, type: first.type };
}

function parseBits(lex: Lexer, start: Expr): Expr {
  let left = start;
  for (;;) {
    const word = lex.kind === T_WORD ? BIT_WORDS[lex.value] : undefined;
    const op = word ?? (BIT_SYMBOLS.includes(lex.value) && lex.is(lex.value) ? lex.value : undefined);
    if (op === undefined) return left;
    lex.next();
    const shift = op === "<<" || op === ">>";
    const right = lex.is("(") || !shift ? parseFlagsOrValue(lex, left.type) : [lex.number("a number of bits")];
    left = { kind: "bits", op: op as "&", left, right, type: left.type };
  }
}

/** Behind `&` a list in parentheses is one value; `|` behind it is another operation. */
function parseFlagsOrValue(lex: Lexer, type: DataType): readonly number[] {
  if (lex.accept("(")) {
    const value = parseFlags(lex, type);
    lex.expect(")");
    return value;
  }
  const value = lex.kind === T_WORD ? (type.parse(lex.value) ?? INTEGER.parse(lex.value)) : undefined;
  if (value === undefined) return lex.expected(`a value of type ${type.name}`);
  lex.next();
  return value;
}

/** The expressions of keys: rules that ask for the same share one. */
const keyExprs = new WeakMap<Key, Expr>();

export function keyExpr(key: Key): Expr {
  const known = keyExprs.get(key);
  if (known !== undefined) return known;
  const made: Expr = { kind: "key", key, type: key.type };
  keyExprs.set(key, made);
  return made;
}

/** A field that stands at `at`, where the rule may ask for it. */
function asked(lex: Lexer, protocols: Protocols | null, key: Key, at: number): Expr {
  const found = protocols?.ask(key) ?? "";
  if (found !== "")
    lex.fail(`found "${key.text}", expected a field of ${found}, as the rule's packets are ${found}`, at);
  return keyExpr(key);
}

function parsePrimary(lex: Lexer, protocols: Protocols | null): Expr {
  if (lex.accept("@")) return parseRaw(lex);
  const word = lex.value;
  const at = lex.start;
  if (lex.kind !== T_WORD) lex.expected("an expression");
  if (isProtocol(word)) {
    lex.next();
    return parseField(lex, protocols, word, at);
  }
  switch (word) {
    case "meta": {
      lex.next();
      const what = lex.value;
      const key = keyByText(`meta ${what}`);
      if (key === undefined) return lex.fail(`meta: "${what}" is not supported`, lex.start, UNKNOWN);
      lex.next();
      return keyExpr(key);
    }
    case "ct":
      lex.next();
      return parseCt(lex, protocols);
    case "fib":
      lex.next();
      return parseFib(lex);
    case "numgen": {
      lex.next();
      const mode = lex.word("random or inc");
      if (mode !== "random" && mode !== "inc") lex.fail(`numgen: "${mode}" is neither random nor inc`, at);
      const { mod, offset } = parseMod(lex);
      return { kind: "numgen", random: mode === "random", mod, offset, next: 0, type: integer(32) };
    }
    case "jhash": {
      lex.next();
      const of = parseExpr(lex, protocols);
      const { mod, offset, seed } = parseMod(lex);
      return { kind: "jhash", of, mod, seed, offset, type: integer(32) };
    }
    case "symhash": {
      lex.next();
      const { mod, offset } = parseMod(lex);
      return { kind: "symhash", mod, offset, type: integer(32) };
    }
  }
  if (BARE_META.includes(word)) {
    const key = keyByText(`meta ${word}`);
    lex.next();
    if (key !== undefined) return keyExpr(key);
  }
  return lex.fail(`"${word}" is not supported, or no expression`, at, UNKNOWN);
}

function parseMod(lex: Lexer): { readonly mod: number; readonly offset: number; readonly seed: number | null } {
  lex.expectWord("mod");
  const at = lex.start;
  const mod = lex.number("a number");
  if (mod === 0) lex.fail("mod: 0 leaves nothing to choose from", at);
  const seed = lex.acceptWord("seed") ? lex.number("a number") : null;
  const offset = lex.acceptWord("offset") ? lex.number("a number") : 0;
  return { mod, offset, seed };
}

function parseField(lex: Lexer, protocols: Protocols | null, protocol: string, at: number): Expr {
  const field = lex.value;
  if (lex.kind === T_WORD && protocol === "arp" && (field === "saddr" || field === "daddr")) {
    lex.next();
    const key = keyByText(`arp ${field} ${lex.value}`);
    if (key === undefined) return lex.expected("ip or ether");
    lex.next();
    return asked(lex, protocols, key, at);
  }
  const key = lex.kind === T_WORD ? keyByText(`${protocol} ${field}`) : undefined;
  if (key === undefined) {
    if (field === "option") return lex.fail(`${protocol}: options are not supported`, at, UNKNOWN);
    const reason = `found ${lex.found()}, expected a field of ${protocol} (${fieldsOf(protocol).join(", ")})`;
    return lex.fail(reason, lex.start, UNKNOWN);
  }
  lex.next();
  return asked(lex, protocols, key, at);
}

function parseCt(lex: Lexer, protocols: Protocols | null): Expr {
  const at = lex.start;
  let dir = "";
  if (lex.isWord("original") || lex.isWord("reply")) {
    dir = `${lex.value} `;
    lex.next();
  }
  const whatAt = lex.start;
  let what = lex.word("what of a connection");
  if (what === "ip" || what === "ip6") what = `${what} ${lex.word("saddr or daddr")}`;
  else if (what === "saddr" || what === "daddr") {
    const version = protocols?.version ?? "";
    if (version === "") lex.fail(`found "${what}", expected ip or ip6 before it: both may come`, whatAt);
    what = `${version} ${what}`;
  }
  const key = keyByText(`ct ${dir}${what}`);
  if (key === undefined) return lex.fail(`ct: "${dir}${what}" is not supported`, at, UNKNOWN);
  return asked(lex, protocols, key, at);
}

const FIB_FLAGS: readonly string[] = ["saddr", "daddr", "iif", "oif"];

function parseFib(lex: Lexer): Expr {
  const at = lex.start;
  const flags: string[] = [];
  do {
    const flag = lex.word("saddr, daddr, iif or oif");
    if (!FIB_FLAGS.includes(flag)) lex.fail(`fib: "${flag}" is not supported`, at, UNKNOWN);
    flags.push(flag);
  } while (lex.accept("."));
  const result = lex.word("type, oif or oifname");
  if (result !== "type" && result !== "oif" && result !== "oifname")
    return lex.fail(`fib: "${result}" is not supported`, at, UNKNOWN);
  return keyExpr(fibKey(flags, result));
}

function parseRaw(lex: Lexer): Expr {
  const at = lex.start;
  const base = ["ll", "nh", "th"].indexOf(lex.word("ll, nh or th"));
  if (base < 0) lex.fail("expected ll, nh or th", at);
  lex.expect(",");
  const offset = lex.number("an offset in bits");
  lex.expect(",");
  const bits = lex.number("a length in bits");
  if (bits === 0 || bits > 32) lex.fail("a raw payload of 1 to 32 bits is supported", at, UNKNOWN);
  if (bits > 8 && (bits % 8 !== 0 || offset % 8 !== 0))
    lex.fail("a raw payload longer than 8 bits must be whole octets", at, UNKNOWN);
  return keyExpr(rawPayload(base, offset, bits));
}
