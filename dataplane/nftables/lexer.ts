/**
 * The words of nft(8)'s language, one at a time and without an object for each: rules of 10,000 services are megabytes.
 *
 * A word that begins with a digit ends at anything but letters, digits, dots and underscores ("10.0.0.1", "1h30m"); one that
 * begins with a letter may hold dots, slashes and hyphens too ("service-AB-ns/web/tcp/http", "eth*"). Addresses of Ethernet
 * and IPv6 are one word. A newline ends a command as `;` does, and `\` before it takes that away.
 */
import { ownText } from "../netfilter/own-text.ts";
import { NftError } from "./nft-error.ts";

export const T_EOF = 0;
/** A newline or a semicolon. */
export const T_END = 1;
export const T_WORD = 2;
/** Quoted; `value` is without the quotes. */
export const T_STRING = 3;
export const T_SYMBOL = 4;

const COLONS = /(?:[0-9a-fA-F]{0,4}:){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4})/y;
const DOUBLE: readonly string[] = ["==", "!=", "<=", ">=", "<<", ">>", "&&"];

const OTHER = 0;
const DIGIT = 1;
const LETTER = 2;
const DOT = 3;
const NAME_MORE = 4;
const SPACE = 5;
const CLASS: Uint8Array = new Uint8Array(128);
for (let c = 48; c < 58; c++) CLASS[c] = DIGIT;
for (let c = 65; c < 91; c++) CLASS[c] = CLASS[c + 32] = LETTER;
CLASS[95] = LETTER;
CLASS[46] = DOT;
for (const c of "-/") CLASS[c.charCodeAt(0)] = NAME_MORE;
for (const c of " \t\r") CLASS[c.charCodeAt(0)] = SPACE;

function classOf(c: number): number {
  return c < 128 ? (CLASS[c] as number) : OTHER;
}

/**
 * Short words that were met last, by a hash: the language's own come by all the time, and need not be cut out each time.
 * Longer ones than these would hold on to the text that they were cut from.
 */
const KNOWN = 1024;
const SHORT = 12;
const known: string[] = new Array<string>(KNOWN).fill("");

/** `h`: a hash of the word, or nearly of the word. */
function cut(text: string, at: number, to: number, h: number): string {
  const length = to - at;
  if (length > SHORT) return text.slice(at, to);
  const slot = (h ^ (h >>> 10)) & (KNOWN - 1);
  const word = known[slot] as string;
  if (word.length === length && text.startsWith(word, at)) return word;
  const fresh = text.slice(at, to);
  known[slot] = fresh;
  return fresh;
}

export class Lexer {
  readonly text: string;
  readonly source: string;
  kind: number = T_EOF;
  value = "";
  /** Where the token begins, and where the next one is looked for. */
  start = 0;
  end = 0;
  /** Values of `define`; looked up where `$name` stands. */
  readonly defines: Map<string, string>;

  constructor(text: string, source: string, defines: Map<string, string> = new Map()) {
    this.text = text;
    this.source = source;
    this.defines = defines;
    this.next();
  }

  /** Moves to the next token. */
  next(): void {
    const text = this.text;
    let at = this.end;
    for (;;) {
      const c = text.charCodeAt(at);
      if (c === 32 || c === 9 || c === 13) at++;
      else if (c === 35) {
        at = text.indexOf("\n", at);
        if (at < 0) at = text.length;
      } else if (c === 92 && text.charCodeAt(at + 1) === 10) at += 2;
      else break;
    }
    this.start = at;
    if (at >= text.length) {
      this.#set(T_EOF, "", at);
      return;
    }
    const c = text.charCodeAt(at);
    if (c === 10 || c === 59) {
      this.#set(T_END, c === 10 ? "\n" : ";", at + 1);
      return;
    }
    if (c === 34) {
      const close = text.indexOf('"', at + 1);
      if (close < 0) this.fail("a string without its end");
      this.#set(T_STRING, text.slice(at + 1, close), close + 1);
      return;
    }
    const cls = classOf(c);
    if (cls === DIGIT || cls === LETTER || (cls === DOT && classOf(text.charCodeAt(at + 1)) === LETTER)) {
      let to = at + 1;
      let hash = c;
      let next = text.charCodeAt(to);
      const most = cls === DIGIT ? DOT : NAME_MORE;
      for (let k = classOf(next); k !== OTHER && k <= most; k = classOf(next)) {
        hash = (Math.imul(hash, 31) + next) | 0;
        next = text.charCodeAt(++to);
      }
      if (next === 58 && to - at <= 4 && this.#address(text, at)) return;
      // a name does not end in what joins names
      if (cls !== DIGIT) {
        while (text.charCodeAt(to - 1) === 45) to--;
        if (text.charCodeAt(to) === 42) to++;
      }
      this.#set(T_WORD, cut(text, at, to, hash), to);
      return;
    }
    const next = text.charCodeAt(at + 1);
    if (c === 58 && next === 58 && this.#address(text, at)) return;
    // nothing is doubled but with one of = < > &
    const two = next === 61 || next === 60 || next === 62 || next === 38 ? text.slice(at, at + 2) : "";
    const symbol = DOUBLE.includes(two) ? two : text.charAt(at);
    this.#set(T_SYMBOL, symbol, at + symbol.length);
  }

  #set(kind: number, value: string, end: number): void {
    this.kind = kind;
    this.value = value;
    this.end = end;
  }

  /** An address with colons, where one begins here. */
  #address(text: string, at: number): boolean {
    COLONS.lastIndex = at;
    const found = COLONS.exec(text);
    if (found === null) return false;
    this.#set(T_WORD, found[0], at + found[0].length);
    return true;
  }

  is(symbol: string): boolean {
    return this.kind === T_SYMBOL && this.value === symbol;
  }

  isWord(word: string): boolean {
    return this.kind === T_WORD && this.value === word;
  }

  /** Goes past the symbol if it stands here. */
  accept(symbol: string): boolean {
    if (!this.is(symbol)) return false;
    this.next();
    return true;
  }

  acceptWord(word: string): boolean {
    if (!this.isWord(word)) return false;
    this.next();
    return true;
  }

  expect(symbol: string): void {
    if (!this.accept(symbol)) this.expected(`"${symbol}"`);
  }

  expectWord(word: string): void {
    if (!this.acceptWord(word)) this.expected(word);
  }

  /** A word, or a string where one may stand for it. */
  word(what: string): string {
    if (this.kind !== T_WORD && this.kind !== T_STRING) this.expected(what);
    const word = this.value;
    this.next();
    return word;
  }

  number(what: string): number {
    if (this.kind !== T_WORD || !/^(?:0x[0-9a-fA-F]+|[0-9]+)$/.test(this.value)) this.expected(what);
    const n = Number(this.value);
    this.next();
    return n;
  }

  /** A word or a string that is to be kept: it does not hold on to the text. */
  kept(what: string): string {
    return ownText(this.word(what));
  }

  /** A string, which does not hold on to the text. */
  string(what: string): string {
    if (this.kind !== T_STRING) this.expected(`${what} in quotes`);
    return this.kept(what);
  }

  /** Goes past newlines and semicolons. */
  ends(): void {
    while (this.kind === T_END) this.next();
  }

  /** Goes past newlines, where a list goes on. */
  newlines(): void {
    while (this.kind === T_END && this.value === "\n") this.next();
  }

  found(): string {
    switch (this.kind) {
      case T_EOF:
        return "the end of the text";
      case T_END:
        return this.value === "\n" ? "the end of the line" : '";"';
      default:
        return `"${this.value}"`;
    }
  }

  expected(what: string): never {
    this.fail(`found ${this.found()}, expected ${what}`);
  }

  /** Fails at the token, or at an offset of the text. */
  fail(reason: string, at: number = this.start, code?: string): never {
    let line = 1;
    let from = 0;
    for (let i = this.text.indexOf("\n"); i >= 0 && i < at; i = this.text.indexOf("\n", i + 1)) {
      line++;
      from = i + 1;
    }
    throw new NftError(this.source, line, at - from + 1, reason, code);
  }
}
