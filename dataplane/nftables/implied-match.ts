/** Matches that a later field asks for itself, which nft leaves out when it lists. */
import { ETH_P_IP } from "../wire/ethernet.ts";
import { PROTO_TCP } from "../wire/ipv4.ts";
import { type Key, keyByText } from "./keys.ts";
import type { Expr, Family, Stmt } from "./model.ts";
import { keyExpr } from "./parse-expr.ts";
import { toldBy } from "./protocols.ts";

type Match = Extract<Stmt, { kind: "match" }>;

/** What nft puts at the beginning of a rule that answers with a reset. */
export const ASKS_TCP: Match = {
  kind: "match",
  left: keyExpr(keyByText("meta l4proto") as Key),
  op: "==",
  right: { kind: "value", value: [PROTO_TCP] },
  explicit: false,
};

/** Whether a rule answers with a reset, which only TCP can be answered with. */
export function needsTcp(stmts: readonly Stmt[]): boolean {
  const last = stmts.at(-1);
  return last?.kind === "reject" && last.tcp;
}

export function withoutImplied(stmts: readonly Stmt[], family: Family): readonly Stmt[] {
  const left = withoutDependencies(stmts, family);
  return needsTcp(left) && (family === "ip" || family === "ip6") ? impliedByReset(left) : left;
}

/** In tables of one family, a match of TCP with nothing but matches between it and a reset is not listed. */
function impliedByReset(stmts: readonly Stmt[]): readonly Stmt[] {
  for (let i = stmts.length - 2; i >= 0; i--) {
    const s = stmts[i] as Stmt;
    if (s.kind !== "match") return stmts;
    if (toldBy(s).l4 === PROTO_TCP) return stmts.with(i, { ...s, implied: true });
  }
  return stmts;
}

/** The statements without matches of a protocol that a later field implies: "ip protocol tcp tcp dport 80" is "tcp dport 80". */
function withoutDependencies(stmts: readonly Stmt[], family: Family): readonly Stmt[] {
  if (stmts.length < 2 || !stmts.some(asksProtocol)) return stmts;
  return stmts.flatMap((s, i): readonly Stmt[] => {
    if (s.kind !== "match" || s.left.kind !== "key" || s.right.kind !== "value") return [s];
    const { l3, l4 } = toldBy(s);
    const asks = (k: Key): boolean => (l4 < 0 ? k.l3 === l3 : k.l4 === l4);
    if ((l3 === 0 && l4 < 0) || !stmts.slice(i + 1).some((o) => fieldKeys(o).some(asks))) return [s];
    const { text, l3: version } = s.left.key;
    // a header of one family says more than the field does where packets of both may come
    if (version !== 0 && family !== (version === ETH_P_IP ? "ip" : "ip6")) return [s];
    // and the header of IPv6 may name another that stands between
    return text === "ip6 nexthdr" ? [{ ...s, implied: true }] : [];
  });
}

const PROTOCOL_KEYS: readonly string[] = [
  "meta l4proto",
  "ip protocol",
  "ip6 nexthdr",
  "meta nfproto",
  "ether type",
  "meta protocol",
];

function asksProtocol(s: Stmt): boolean {
  return s.kind === "match" && s.left.kind === "key" && PROTOCOL_KEYS.includes(s.left.key.text);
}

function fieldKeys(s: Stmt): readonly Key[] {
  const of = s.kind === "match" ? s.left : s.kind === "vmap" ? s.of : null;
  if (of === null) return [];
  const one = (e: Expr): readonly Key[] =>
    e.kind === "key" ? [e.key] : e.kind === "bits" ? one(e.left) : e.kind === "concat" ? e.parts.flatMap(one) : [];
  return one(of);
}
