/** Parts of rules and of elements: verdicts, counters, limits, quotas, numbers of connections. */
import { type Lexer, T_WORD } from "./lexer.ts";
import type { Table, Verdict } from "./model.ts";
import { ConnCount, Counter, type Gate, Limit, Quota, RATE_UNITS } from "./stateful.ts";

export function parseVerdict(lex: Lexer, table: Table): Verdict {
  const kind = lex.value;
  if (lex.kind !== T_WORD) lex.expected("a verdict");
  switch (kind) {
    case "accept":
    case "drop":
    case "continue":
    case "return":
      lex.next();
      return { kind };
    case "jump":
    case "goto": {
      lex.next();
      const at = lex.start;
      const name = lex.word("the name of a chain");
      const chain = table.chains.get(name);
      if (chain === undefined) return lex.fail(`there is no chain ${name}`, at, "ENOENT");
      if (chain.base !== null) lex.fail(`chain ${name} hangs on a hook: no rule may lead there`, at);
      return { kind, chain };
    }
    default:
      return lex.expected("a verdict");
  }
}

/** Behind "counter". */
export function parseCounter(lex: Lexer): Counter {
  if (!lex.acceptWord("packets")) return new Counter();
  const packets = lex.number("a number of packets");
  lex.expectWord("bytes");
  return new Counter(packets, lex.number("a number of octets"));
}

const SIZES: Readonly<Record<string, number>> = { bytes: 1, kbytes: 1024, mbytes: 1024 * 1024 };

/** Behind "limit". */
export function parseLimit(lex: Lexer): Limit {
  lex.expectWord("rate");
  const over = lex.acceptWord("over");
  if (!over) lex.acceptWord("until");
  const at = lex.start;
  let rate = lex.number("a number");
  let bytes = false;
  const size = lex.kind === T_WORD ? SIZES[lex.value.split("/")[0] ?? ""] : undefined;
  let unit = "";
  if (size !== undefined) {
    bytes = true;
    rate *= size;
    unit = lex.value.split("/")[1] ?? "";
    lex.next();
  }
  if (unit === "") {
    lex.expect("/");
    unit = lex.word("a unit of time");
  }
  if (RATE_UNITS[unit] === undefined) lex.fail(`"${unit}" is no unit of a rate`, at);
  if (rate === 0) lex.fail("a rate of 0", at);
  let burst = bytes ? 0 : 5;
  if (lex.acceptWord("burst")) {
    burst = lex.number("a number");
    if (lex.kind === T_WORD && SIZES[lex.value] !== undefined) {
      burst *= SIZES[lex.value] ?? 1;
      lex.next();
    } else lex.acceptWord("packets");
  }
  return new Limit(rate, unit, burst, over, bytes);
}

/** Behind "quota": "over 10 mbytes used 5 bytes". */
export function parseQuota(lex: Lexer): Quota {
  const over = lex.acceptWord("over");
  if (!over) lex.acceptWord("until");
  const octets = parseSize(lex);
  return new Quota(octets, over, lex.acceptWord("used") ? parseSize(lex) : 0);
}

function parseSize(lex: Lexer): number {
  const size = lex.number("a number");
  const unit = lex.kind === T_WORD ? SIZES[lex.value] : undefined;
  if (unit === undefined) return lex.expected("bytes, kbytes or mbytes");
  lex.next();
  return size * unit;
}

/** Behind "ct count". */
export function parseConnCount(lex: Lexer): ConnCount {
  const over = lex.acceptWord("over");
  return new ConnCount(lex.number("a number of connections"), over);
}

/** What limits an element, where something does. */
export function parseGate(lex: Lexer): Gate | null {
  if (lex.acceptWord("limit")) return parseLimit(lex);
  if (lex.acceptWord("quota")) return parseQuota(lex);
  if (!lex.acceptWord("ct")) return null;
  lex.expectWord("count");
  return parseConnCount(lex);
}
