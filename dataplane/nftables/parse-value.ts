/** Constants: values, ranges, prefixes, flags, times, and the keys of elements. */
import { exact } from "../netfilter/exact.ts";
import { type DataType, prefixRange, type Value } from "./datatype.ts";
import { type Lexer, T_STRING, T_WORD } from "./lexer.ts";

/** One value, or a range of them. */
export type Span = { readonly lo: Value; readonly hi: Value | null };

/** The value at the lexer. A list in parentheses, or words joined by `|`, is one value of flags. */
export function parseValue(lex: Lexer, type: DataType): Value {
  if (lex.accept("(")) {
    const value = parseFlags(lex, type);
    lex.expect(")");
    return value;
  }
  if (lex.accept("$")) return parseDefined(lex, type);
  if (lex.kind !== T_WORD && lex.kind !== T_STRING) lex.expected(`a value of type ${type.name}`);
  const value = type.parse(lex.value);
  if (value === undefined) return lex.fail(`"${lex.value}" is not a value of type ${type.name}`);
  lex.next();
  return value;
}

function parseDefined(lex: Lexer, type: DataType): Value {
  const text = lex.defines.get(lex.value);
  if (text === undefined) return lex.fail(`$${lex.value} is not defined`);
  const value = type.parse(text.replace(/^"(.*)"$/, "$1"));
  if (value === undefined) return lex.fail(`$${lex.value} (${text}) is not a value of type ${type.name}`);
  lex.next();
  return value;
}

/** Flags joined by `|` or `,`. */
export function parseFlags(lex: Lexer, type: DataType): Value {
  let bits = parseValue(lex, type)[0] ?? 0;
  while (lex.accept("|") || (type.bitmask && lex.accept(","))) bits |= parseValue(lex, type)[0] ?? 0;
  return [bits];
}

/** A value, a range or a prefix. */
export function parseSpan(lex: Lexer, type: DataType): Span {
  const lo = parseValue(lex, type);
  if (lex.accept("-")) {
    const at = lex.start;
    const hi = parseValue(lex, type);
    for (let i = 0; i < lo.length; i++) {
      const d = ((hi[i] ?? 0) >>> 0) - ((lo[i] ?? 0) >>> 0);
      if (d < 0) lex.fail(`the range ends before it begins`, at);
      if (d > 0) break;
    }
    return { lo, hi };
  }
  if (type.words * 32 >= type.bits && isAddress(type) && lex.accept("/")) {
    const at = lex.start;
    const len = lex.number("the length of a prefix");
    if (len > type.bits) lex.fail(`a prefix of ${type.name} has at most ${type.bits} bits`, at);
    if (len === type.bits) return { lo, hi: null };
    return prefixRange(lo, len, type.bits);
  }
  if (type.bitmask && lex.is("|")) {
    let bits = lo[0] ?? 0;
    while (lex.accept("|")) bits |= parseValue(lex, type)[0] ?? 0;
    return { lo: [bits], hi: null };
  }
  return { lo, hi: null };
}

export function isAddress(type: DataType): boolean {
  return type.name === "ipv4_addr" || type.name === "ipv6_addr" || type.name === "ether_addr";
}

/** The fields of a concatenation, `end` null where each is a single value. */
export function parseKey(lex: Lexer, types: readonly DataType[]): { readonly key: Value; readonly end: Value | null } {
  if (types.length === 1) {
    const { lo, hi } = parseSpan(lex, types[0] as DataType);
    return { key: lo, end: hi };
  }
  const key: number[] = [];
  const end: number[] = [];
  let ranged = false;
  for (let i = 0; i < types.length; i++) {
    if (i > 0) lex.expect(".");
    const { lo, hi } = parseSpan(lex, types[i] as DataType);
    if (hi !== null) ranged = true;
    for (let w = 0; w < lo.length; w++) {
      key.push(lo[w] as number);
      end.push((hi ?? lo)[w] as number);
    }
  }
  return { key: exact(key), end: ranged ? exact(end) : null };
}

const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Milliseconds of "1h30m5s", "500ms" or a number of seconds. */
export function parseTime(lex: Lexer): number {
  const text = lex.value;
  if (lex.kind !== T_WORD && lex.kind !== T_STRING) lex.expected("a time");
  if (/^\d+$/.test(text)) {
    lex.next();
    return Number(text) * 1000;
  }
  if (!/^(?:\d+(?:ms|[dhms]))+$/.test(text)) return lex.fail(`"${text}" is not a time`);
  lex.next();
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)(ms|[dhms])/g)) sum += Number(n) * (UNITS[unit ?? ""] ?? 0);
  return sum;
}

export function printTime(ms: number): string {
  if (ms === 0) return "0s";
  let rest = ms;
  let out = "";
  for (const unit of ["d", "h", "m", "s", "ms"]) {
    const size = UNITS[unit] ?? 1;
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n > 0) out += `${n}${unit}`;
  }
  return out;
}
