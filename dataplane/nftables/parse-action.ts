/** Statements that are read by themselves: what they say does not depend on what stands before them in the rule. */
import { type Lexer, T_WORD } from "./lexer.ts";
import type { Stmt, Table } from "./model.ts";
import { UNKNOWN } from "./nft-error.ts";

/** Whether these words stand at the lexer. */
export function stands(lex: Lexer, words: readonly string[]): boolean {
  const { text, end } = lex;
  const [first = "", second = ""] = words;
  if (!lex.isWord(first)) return false;
  // most often the second word begins otherwise, and need not be cut out
  const next = text.charCodeAt(end + 1);
  if (text.charCodeAt(end) === 32 && next > 32 && next !== second.charCodeAt(0)) return false;
  const there = lex.text.slice(lex.start, lex.start + 64).split(/\s+/);
  return words.every((word, i) => there[i] === word);
}

const QUEUE_FLAGS: readonly string[] = ["bypass", "fanout"];

/** Behind "queue": "num 1-3 bypass", or "flags bypass,fanout to 1-3" as it is listed. */
export function parseQueue(lex: Lexer): Stmt {
  const given = new Set<string>();
  let first = 0;
  let last = 0;
  while (lex.kind === T_WORD) {
    if (lex.acceptWord("num") || lex.acceptWord("to")) {
      if (lex.kind === T_WORD && !/^\d/.test(lex.value))
        lex.fail("queue: a number that is computed is not supported", lex.start, UNKNOWN);
      first = queueNumber(lex);
      last = lex.accept("-") ? queueNumber(lex) : first;
      if (last < first) lex.fail(`queue: ${first}-${last} is no range`);
    } else if (lex.acceptWord("flags") || QUEUE_FLAGS.includes(lex.value)) {
      do {
        if (!QUEUE_FLAGS.includes(lex.value)) lex.expected("bypass or fanout");
        given.add(lex.value);
        lex.next();
      } while (lex.accept(","));
    } else break;
  }
  return { kind: "queue", first, last, flags: QUEUE_FLAGS.filter((flag) => given.has(flag)) };
}

function queueNumber(lex: Lexer): number {
  const at = lex.start;
  const n = lex.number("the number of a queue");
  if (n > 0xffff) lex.fail(`queue: ${n} is more than 65535`, at);
  return n;
}

/** At "ct helper set": nothing here looks into what a connection says. */
export function parseHelper(lex: Lexer, table: Table): Stmt {
  lex.next();
  lex.next();
  lex.next();
  const at = lex.start;
  const name = lex.string("the name of a helper");
  if (!table.helpers.has(name)) lex.fail(`there is no ct helper ${name}`, at, "ENOENT");
  return { kind: "nothing", text: `ct helper set "${name}"` };
}

/** At "meta priority set": no queue here sorts by it. */
export function parsePriority(lex: Lexer): Stmt {
  lex.next();
  lex.next();
  lex.next();
  return { kind: "nothing", text: `meta priority set ${classid(lex)}` };
}

/** "1:2", in hexadecimal; a number; none or root. */
function classid(lex: Lexer): string {
  const at = lex.start;
  const word = lex.word("none, root, a number or MAJOR:MINOR");
  if (word === "none" || word === "root") return word;
  if (lex.accept(":")) {
    const minor = lex.word("the minor number");
    if (![word, minor].every((part) => /^[0-9a-f]{1,4}$/i.test(part)))
      lex.fail(`"${word}:${minor}" is no MAJOR:MINOR of up to four hexadecimal digits`, at);
    return handle(Number.parseInt(word, 16) * 0x1_0000 + Number.parseInt(minor, 16));
  }
  if (!/^(?:0x[0-9a-f]{1,8}|\d{1,10})$/i.test(word))
    lex.fail("meta priority set: an expression is not supported", at, UNKNOWN);
  return handle(Number(word));
}

function handle(n: number): string {
  if (n === 0) return "none";
  if (n === 0xffffffff) return "root";
  return `${Math.floor(n / 0x1_0000).toString(16)}:${(n % 0x1_0000).toString(16)}`;
}

/** Behind "flow": "add @f". */
export function parseFlow(lex: Lexer, table: Table): Stmt {
  if (!lex.acceptWord("offload")) lex.expectWord("add");
  lex.expect("@");
  const at = lex.start;
  const name = lex.word("the name of a flowtable");
  if (!table.flowtables.has(name)) lex.fail(`there is no flowtable ${name}`, at, "ENOENT");
  return { kind: "flow", name };
}

/** Behind "socket": no socket here is transparent. */
export function parseSocket(lex: Lexer): Stmt {
  const at = lex.start;
  if (lex.word("transparent") !== "transparent" || !lex.isWord("1"))
    lex.fail("socket: nothing but transparent 1 is supported", at, UNKNOWN);
  lex.next();
  return { kind: "never", text: "socket transparent 1", unknown: null };
}
