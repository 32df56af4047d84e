/** Rules, expressions and elements as `nft list ruleset` prints them. */
import { compareValues, type DataType, prefixLength, type Value } from "./datatype.ts";
import type { Element } from "./elements.ts";
import { BASE_NH } from "./keys.ts";
import type { Expr, NatTo, NftSet, Right, Rule, SetSpec, Stmt, Verdict } from "./model.ts";
import { isAddress, printTime } from "./parse-value.ts";
import { ConnCount, type Counter, type Gate, type Limit, Quota } from "./stateful.ts";

export type PrintOptions = {
  /** Counters without their values. */
  readonly stateless: boolean;
  /** Virtual time in milliseconds, for what is left of an element's. */
  readonly now: number;
};
export const STATELESS: PrintOptions = { stateless: true, now: 0 };

export function printVerdict(v: Verdict): string {
  return "chain" in v ? `${v.kind} ${v.chain.name}` : v.kind;
}

export function printValue(types: readonly DataType[], value: Value): string {
  if (types.length === 1) return (types[0] as DataType).print(value);
  let at = 0;
  return types
    .map((t) => {
      const own = value.slice(at, at + t.words);
      at += t.words;
      return t.print(own);
    })
    .join(" . ");
}

function printSpan(type: DataType, lo: Value, hi: Value): string {
  if (compareValues(lo, hi) === 0) return type.print(lo);
  if (isAddress(type)) {
    const len = prefixLength(lo, hi, type.bits);
    if (len !== undefined) return `${type.print(lo)}/${len}`;
  }
  return `${type.print(lo)}-${type.print(hi)}`;
}

function printKey(types: readonly DataType[], key: Value, end: Value | null): string {
  if (key.length === 0) return "*";
  if (end === null) return printValue(types, key);
  let at = 0;
  return types
    .map((t) => {
      const from = at;
      at += t.words;
      return printSpan(t, key.slice(from, at), end.slice(from, at));
    })
    .join(" . ");
}

const fieldsOf = (e: Expr): readonly DataType[] => (e.kind === "concat" ? e.parts.map((p) => p.type) : [e.type]);

export function printExpr(e: Expr): string {
  switch (e.kind) {
    case "key":
      return e.key.text;
    case "value":
      return e.type.print(e.value);
    case "bits": {
      const plain = e.op === "<<" || e.op === ">>" || (isPlain(e.left) && e.type.name === "integer");
      return `${printExpr(e.left)} ${e.op} ${plain ? String((e.right[0] ?? 0) >>> 0) : e.type.print(e.right)}`;
    }
    case "concat":
      return e.parts.map(printExpr).join(" . ");
    case "numgen":
      return `numgen ${e.random ? "random" : "inc"} mod ${e.mod}${e.offset === 0 ? "" : ` offset ${e.offset}`}`;
    case "jhash": {
      const seed = e.seed === null ? "" : ` seed 0x${e.seed.toString(16)}`;
      return `jhash ${printExpr(e.of)} mod ${e.mod}${seed}${e.offset === 0 ? "" : ` offset ${e.offset}`}`;
    }
    case "symhash":
      return `symhash mod ${e.mod}${e.offset === 0 ? "" : ` offset ${e.offset}`}`;
    case "map":
      return `${printExpr(e.of)} map ${printSetRef(e.set)}`;
  }
}

function isPlain(e: Expr): boolean {
  return e.kind === "key" && e.key.load.kind === "payload" && e.key.load.base === BASE_NH;
}

export function printSetRef(set: NftSet): string {
  if (set.name !== "") return `@${set.name}`;
  return `{ ${sortedElements(set)
    .map((e) => printElement(set.spec, e, STATELESS))
    .join(", ")} }`;
}

function printRight(left: Expr, right: Right): string {
  const types = fieldsOf(left);
  const type = types[0] as DataType;
  switch (right.kind) {
    case "value":
      if (isExistence(left) && (right.value[0] ?? 0) < 0) return right.value[0] === -1 ? "missing" : "exists";
      // a list compared whole prints as a number, but for connection states and the like
      if (type.bitmask && type.name === "tcp_flag" && left.kind === "key" && severalBits(right.value[0] ?? 0))
        return `0x${(right.value[0] ?? 0).toString(16)}`;
      if (left.kind === "bits" && type.name === "integer") return String((right.value[0] ?? 0) >>> 0);
      if (type.bitmask) return type.print(right.value).split(",").join(" | ");
      return printValue(types, right.value);
    case "range":
      return printSpan(type, right.lo, right.hi);
    case "flags":
      return type.print([right.bits]);
    case "masked":
      return `${type.print([right.bits])} / ${type.print([right.mask])}`;
    case "wildcard":
      return `"${right.prefix}*"`;
    case "set":
      return printSetRef(right.set);
  }
}

function severalBits(n: number): boolean {
  return (n & (n - 1)) !== 0;
}

function isExistence(e: Expr): boolean {
  return e.kind === "key" && e.key.load.kind === "fib" && e.key.load.result !== "type";
}

function printMatch(s: Extract<Stmt, { kind: "match" }>): string {
  const { left, right } = s;
  if (left.kind === "bits" && left.op === "&" && right.kind === "value") {
    const short = maskedMatch(left, s.op, right.value);
    if (short !== null) return short;
  }
  const bitwise = left.kind === "bits" || (s.explicit && left.kind === "key" && left.type.bitmask);
  const op = s.op === "==" ? (bitwise ? "== " : "") : `${s.op} `;
  return `${printExpr(left)} ${op}${printRight(left, right)}`;
}

/** Bits under a mask print as a prefix of an address, and as flags over a mask. */
function maskedMatch(left: Extract<Expr, { kind: "bits" }>, op: string, value: Value): string | null {
  const { type } = left;
  if (op !== "==" && op !== "!=") return null;
  const not = op === "!=" ? "!= " : "";
  if (type.name === "ipv4_addr") {
    const mask = left.right[0] ?? 0;
    const len = 32 - Math.clz32(~mask);
    const bits = 32 - len;
    if ((mask | 0) === (bits === 0 ? 0 : -1 << (32 - bits)))
      return `${printExpr(left.left)} ${not}${type.print(value)}${bits === 32 ? "" : `/${bits}`}`;
  }
  if (type.name === "tcp_flag") {
    if ((value[0] ?? 0) === 0 && not !== "") return null;
    return `${printExpr(left.left)} ${not}${type.print(value)} / ${type.print(left.right)}`;
  }
  return null;
}

function printCounter(c: Counter, o: PrintOptions): string {
  return o.stateless ? "counter" : `counter packets ${c.packets} bytes ${c.bytes}`;
}

function printSize(bytes: number): string {
  if (bytes >= 1048576 && bytes % 1048576 === 0) return `${bytes / 1048576} mbytes`;
  if (bytes >= 1024 && bytes % 1024 === 0) return `${bytes / 1024} kbytes`;
  return `${bytes} bytes`;
}

/** A limit, a quota or a number of connections. */
export function printGate(g: Gate, o: PrintOptions): string {
  if (g instanceof ConnCount) return `ct count ${g.over ? "over " : ""}${g.most}`;
  return g instanceof Quota ? `quota ${printQuota(g, o)}` : printLimit(g);
}

export function printQuota(q: Quota, o: PrintOptions): string {
  const used = o.stateless || q.used === 0 ? "" : ` used ${printSize(q.used)}`;
  return `${q.over ? "over " : ""}${printSize(q.octets)}${used}`;
}

export function printLimit(l: Limit): string {
  const over = l.over ? "over " : "";
  const rate = l.bytes ? `${printSize(l.rate)}/${l.unit}` : `${l.rate}/${l.unit}`;
  const burst = l.bytes
    ? l.burst === 0
      ? ""
      : ` burst ${printSize(l.burst)}`
    : l.burst === 5
      ? ""
      : ` burst ${l.burst} packets`;
  return `limit rate ${over}${rate}${burst}`;
}

function printNatTo(to: NatTo): string {
  if (to.both !== null) return printExpr(to.both);
  let out = "";
  if (to.addr !== null) {
    const text =
      to.addr.kind === "value" && to.addrMax !== null
        ? printSpan(to.addr.type, to.addr.value, to.addrMax)
        : printExpr(to.addr);
    out = to.addr.kind === "value" && to.addr.type.name === "ipv6_addr" && to.port !== null ? `[${text}]` : text;
  }
  if (to.port !== null) out += `:${printExpr(to.port)}${to.portMax === 0 ? "" : `-${to.portMax}`}`;
  return out;
}

function printStmt(s: Stmt, o: PrintOptions): string {
  switch (s.kind) {
    case "match":
      return printMatch(s);
    case "vmap":
      return `${printExpr(s.of)} vmap ${printSetRef(s.set)}`;
    case "verdict":
      return printVerdict(s.verdict);
    case "counter":
      return s.name === "" ? printCounter(s.counter, o) : `counter name "${s.name}"`;
    case "limit":
      return s.name === "" ? printGate(s.limit, o) : `${s.limit instanceof Quota ? "quota" : "limit"} name "${s.name}"`;
    case "log":
    case "reject":
    case "nothing":
    case "never":
      return s.text;
    case "queue": {
      const flags = s.flags.length === 0 ? "" : ` flags ${s.flags.join(",")}`;
      return `queue${flags} to ${s.first}${s.first === s.last ? "" : `-${s.last}`}`;
    }
    case "flow":
      return `flow add @${s.name}`;
    case "nat": {
      const flags = [s.random && "random", s.fully && "fully-random", s.persistent && "persistent"].filter(Boolean);
      const family = s.family === "" ? "" : ` ${s.family}`;
      const to = s.to === null ? "" : ` to ${printNatTo(s.to)}`;
      return `${s.what}${family}${to}${flags.length === 0 ? "" : ` ${flags.join(",")}`}`;
    }
    case "set":
    case "payload":
      return `${s.key.text} set ${printExpr(s.to)}`;
    case "mss":
      return `tcp option maxseg size set ${s.size ?? "rt mtu"}`;
    case "notrack":
      return "notrack";
    case "dynset": {
      const timeout = s.timeout === 0 ? "" : ` timeout ${printTime(s.timeout)}`;
      const counter = s.counter ? " counter" : "";
      const limit = s.limit === null ? "" : ` ${printGate(s.limit, o)}`;
      const data = s.data === null ? "" : ` : ${printExpr(s.data)}`;
      return `${s.op} @${s.set.name} { ${printExpr(s.key)}${timeout}${counter}${limit}${data} }`;
    }
  }
}

export function printRule(rule: Rule, o: PrintOptions = STATELESS): string {
  const out: string[] = [];
  for (const s of rule.stmts) {
    if (s.kind === "match" && s.implied === true) continue;
    out.push(printStmt(s, o));
  }
  if (rule.comment !== "") out.push(`comment "${rule.comment}"`);
  return out.join(" ");
}

export function printElement(spec: SetSpec, e: Element, o: PrintOptions): string {
  let out = printKey(spec.key, e.key, e.end);
  if (e.counter !== null) out += ` ${printCounter(e.counter, o)}`;
  if (e.limit !== null) out += ` ${printGate(e.limit, o)}`;
  if (e.timeout !== 0 && e.timeout !== spec.timeout) out += ` timeout ${printTime(e.timeout)}`;
  if (e.expires !== 0 && !o.stateless) out += ` expires ${printTime(Math.max(0, Math.ceil(e.expires - o.now)))}`;
  if (e.comment !== "") out += ` comment "${e.comment}"`;
  if (e.data !== null)
    out += ` : ${"kind" in e.data ? printVerdict(e.data) : printValue(spec.data === "verdict" ? [] : spec.data, e.data)}`;
  return out;
}

/** In the order in which nft lists them: by value, of concatenations the last field counts most. */
export function sortedElements(set: NftSet): readonly Element[] {
  const all = [...set.elements];
  const { key } = set.spec;
  if (key.length === 1) {
    const type = key[0] as DataType;
    if (type.name === "ifname") {
      if (!set.wildcards) all.sort((a, b) => compareNames(type.print(a.key), type.print(b.key)));
    } else all.sort((a, b) => compareValues(a.key, b.key));
  } else if (!set.interval) all.sort((a, b) => compareFields(key, a.key, b.key));
  if (set.elements.catchAll !== null) all.push(set.elements.catchAll);
  return all;
}

/** Names are compared as numbers whose last letter counts most. */
function compareNames(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = a.length - 1; i >= 0; i--) {
    const d = a.charCodeAt(i) - b.charCodeAt(i);
    if (d !== 0) return d;
  }
  return 0;
}

function compareFields(types: readonly DataType[], a: Value, b: Value): number {
  let at = a.length;
  for (let i = types.length - 1; i >= 0; i--) {
    const t = types[i] as DataType;
    at -= t.words;
    const [x, y] = [a.slice(at, at + t.words), b.slice(at, at + t.words)];
    const d = t.name === "ifname" ? compareNames(t.print(x), t.print(y)) : compareValues(x, y);
    if (d !== 0) return d;
  }
  return 0;
}
