/** The statements dnat, snat, masquerade and redirect, behind their first word: where to, and how. */
import { type DataType, INET_PROTO, INET_SERVICE, IPV4_ADDR, IPV6_ADDR, type Value } from "./datatype.ts";
import { type Lexer, T_WORD } from "./lexer.ts";
import type { Chain, Expr, NatTo, Stmt } from "./model.ts";
import { UNKNOWN } from "./nft-error.ts";
import { beginsExpr } from "./parse-expr.ts";
import { parseSpan, parseValue } from "./parse-value.ts";
import type { Protocols } from "./protocols.ts";

/** The rule that the statement stands in. */
export type InRule = {
  readonly lex: Lexer;
  readonly chain: Chain;
  readonly protocols: Protocols;
  /** The statements before it. */
  readonly stmts: readonly Stmt[];
  /** Reads an expression, which may go through a map to such data. */
  readonly expression: (data: readonly DataType[]) => Expr;
};

export type NatWord = "dnat" | "snat" | "masquerade" | "redirect";

const DESTINATION: readonly string[] = ["prerouting", "output"];
const SOURCE: readonly string[] = ["postrouting", "input"];
const HOOKS: Readonly<Record<NatWord, readonly string[]>> = {
  dnat: DESTINATION,
  redirect: DESTINATION,
  snat: SOURCE,
  masquerade: ["postrouting"],
};
const FLAGS: readonly string[] = ["random", "fully-random", "persistent"];

export function parseNat(rule: InRule, what: NatWord): Stmt {
  const { lex, protocols } = rule;
  const { base, table } = rule.chain;
  if (base !== null && base.type !== "nat") lex.fail(`${what} is for chains of type nat, and this is ${base.type}`);
  if (base !== null && !HOOKS[what].includes(base.hook))
    lex.fail(`${what} is for ${HOOKS[what].join(" and ")}, not for ${base.hook}`);
  const addressed = what === "dnat" || what === "snat";
  const written = addressed ? parseFamily(lex, protocols, what) : "";
  const pair = written !== "" && lex.acceptWord("addr");
  if (pair) {
    lex.expect(".");
    lex.expectWord("port");
  }
  if (lex.acceptWord("prefix")) lex.fail("nat: prefixes are not supported", lex.start, UNKNOWN);
  const at = lex.start;
  const hasTo = lex.acceptWord("to") || lex.is(":");
  if (!hasTo && addressed) lex.expected("to");
  if (written !== "" && lex.is(":")) lex.expected("an address");
  const version = written || protocols.version;
  if (version === "" && addressed && !lex.is(":"))
    lex.fail(`${what}: found "to", expected ip or ip6 before it: packets of both may come`, at);
  const to = hasTo ? parseTo(rule, what, version === "ip6" ? IPV6_ADDR : IPV4_ADDR) : null;
  // what has both an address and a port says the family; a table of one family says it for all else
  const told = to !== null && (to.both !== null || (to.addr !== null && addressed && table.family === "inet"));
  const flags = new Set<string>();
  while (lex.kind === T_WORD && FLAGS.includes(lex.value)) {
    flags.add(lex.value);
    lex.next();
    lex.accept(",");
  }
  return {
    kind: "nat",
    what,
    family: told ? version : "",
    to,
    random: flags.has("random"),
    fully: flags.has("fully-random"),
    persistent: flags.has("persistent"),
  };
}

/** "ip" or "ip6" where it is written behind the statement. */
function parseFamily(lex: Lexer, { version }: Protocols, what: string): "" | "ip" | "ip6" {
  if (!lex.isWord("ip") && !lex.isWord("ip6")) return "";
  const family = lex.value === "ip" ? "ip" : "ip6";
  if (version !== "" && version !== family)
    lex.fail(`${what}: found "${family}", expected ${version}, as the rule's packets are ${version}`);
  lex.next();
  return family;
}

function parseTo(rule: InRule, what: NatWord, address: DataType): NatTo {
  const { lex } = rule;
  let addr: Expr | null = null;
  let addrMax: Value | null = null;
  if (!lex.is(":")) {
    if (beginsExpr(lex)) {
      const data = what === "redirect" || what === "masquerade" ? [INET_SERVICE] : [address, INET_SERVICE];
      const at = lex.start;
      const of = rule.expression(data);
      if (of.type.name !== data[0]?.name)
        lex.fail(`${what}: found an expression of type ${of.type.name}, expected ${data[0]?.name}`, at);
      if (of.kind === "map" && of.set.spec.data.length === 2)
        return { addr: null, addrMax: null, port: null, portMax: 0, both: of };
      addr = of;
    } else {
      const bracketed = lex.accept("[");
      const { lo, hi } = bracketed ? { lo: parseValue(lex, address), hi: null } : parseSpan(lex, address);
      if (bracketed) lex.expect("]");
      addr = { kind: "value", value: lo, type: address };
      addrMax = hi;
    }
  }
  let port: Expr | null = null;
  let portMax = 0;
  if (lex.accept(":")) {
    const at = lex.start;
    if (beginsExpr(lex)) port = rule.expression([INET_SERVICE]);
    else {
      const { lo, hi } = parseSpan(lex, INET_SERVICE);
      port = { kind: "value", value: lo, type: INET_SERVICE };
      portMax = hi?.[0] ?? 0;
    }
    if (!rule.stmts.some(givesTransport)) lex.fail("a port needs a match of the transport protocol before it", at);
  }
  return { addr, addrMax, port, portMax, both: null };
}

/** Whether a statement says which transport protocol a packet has. */
function givesTransport(s: Stmt): boolean {
  const of = s.kind === "match" ? s.left : s.kind === "vmap" ? s.of : null;
  if (of === null) return false;
  const parts = of.kind === "concat" ? of.parts : [of];
  return parts.some((e) => e.kind === "key" && (e.key.l4 > 0 || e.key.type === INET_PROTO));
}
