/** Named objects that rules refer to: counters, limits, quotas, helpers of conntrack. */
import { type Lexer, T_END, T_WORD } from "./lexer.ts";
import type { Family, Helper } from "./model.ts";
import { parseCounter, parseLimit, parseQuota } from "./parse-part.ts";
import { Counter, type Limit, type Quota } from "./stateful.ts";

export type ObjectKind = "counter" | "limit" | "quota" | "ct helper" | "flowtable";

type Parts = { readonly comment: string } & (
  | { readonly counter: Counter }
  | { readonly limit: Limit }
  | { readonly quota: Quota }
  | { readonly helper: Helper }
);

/** "{ packets N bytes N; comment … }" and the like; braces may be left out. */
export function parseObject(lex: Lexer, what: Exclude<ObjectKind, "flowtable">, family: Family): Parts {
  let comment = "";
  let counter = new Counter();
  let limit: Limit | null = null;
  let quota: Quota | null = null;
  let kind: { readonly type: string; readonly protocol: string } | null = null;
  let l3proto = family === "ip6" ? "ip6" : family === "inet" ? "inet" : "ip";
  const block = lex.accept("{");
  for (lex.newlines(); block ? !lex.is("}") : lex.kind === T_WORD; lex.ends()) {
    if (lex.kind === T_END) continue;
    if (lex.acceptWord("comment")) comment = lex.string("the comment");
    else if (what === "counter") counter = parseCounter(lex);
    else if (what === "limit" && lex.isWord("rate")) limit = parseLimit(lex);
    else if (what === "quota") quota = parseQuota(lex);
    else if (lex.acceptWord("type")) kind = helperKind(lex);
    else if (lex.acceptWord("l3proto")) l3proto = lex.word("ip, ip6 or inet");
    else lex.expected("what the object is");
    if (!block) break;
  }
  if (block) lex.expect("}");
  switch (what) {
    case "counter":
      return { counter, comment };
    case "limit":
      return limit === null ? lex.expected("rate") : { limit, comment };
    case "quota":
      return quota === null ? lex.expected("a number of octets") : { quota, comment };
    case "ct helper":
      return kind === null ? lex.expected("type") : { helper: { ...kind, l3proto }, comment };
  }
}

/** Behind "type": "\"ftp\" protocol tcp". */
function helperKind(lex: Lexer): { readonly type: string; readonly protocol: string } {
  const type = lex.string("the helper");
  lex.expectWord("protocol");
  return { type, protocol: lex.word("tcp or udp") };
}
