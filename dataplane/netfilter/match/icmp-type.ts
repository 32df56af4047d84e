/** What `-m icmp` and `-m icmp6` share: a type and a range of codes, by name or number. */
import { u8 } from "../../wire/bytes.ts";
import { HEADER_LEN } from "../../wire/icmpv4.ts";
import { type Options, opt, parseNumber } from "../options.ts";
import type { MatchModule } from "./module.ts";

/** A type, and perhaps a code. */
export type TypeNames = Readonly<Record<string, readonly [number, number?]>>;

export type IcmpTypeMatch<Kind extends string> = {
  readonly kind: Kind;
  readonly type: number;
  readonly minCode: number;
  readonly maxCode: number;
  readonly not: boolean;
};

/** The type of `-m icmp` that is every type. */
export const ANY = 255;

type Dialect<Kind extends string> = {
  readonly kind: Kind;
  readonly option: string;
  readonly called: string;
  readonly names: TypeNames;
  readonly proto: number;
  readonly protoOption: string;
  /** Whether type 255 is any type, and what no option asks for. */
  readonly hasAny: boolean;
};

function parseType<Kind extends string>(o: Options, d: Dialect<Kind>, text: string): readonly [number, number?] {
  const named = Object.hasOwn(d.names, text) ? d.names[text] : undefined;
  if (named !== undefined) return named;
  const [type = "", code] = text.split("/");
  const t = parseNumber(type);
  const c = code === undefined ? undefined : parseNumber(code);
  if (t === undefined || t > 255 || (code !== undefined && (c === undefined || c > 255))) {
    return o.fail(`option ${d.option}: "${text}" is not an ${d.called} type`);
  }
  return c === undefined ? [t] : [t, c];
}

export function icmpTypeMatch<Kind extends string>(d: Dialect<Kind>): MatchModule<IcmpTypeMatch<Kind>> {
  const any = d.hasAny ? ANY : -1;
  return {
    name: d.kind,
    options: { [d.option]: { args: 1, not: true } },
    parse(o) {
      o.needProto([d.proto], d.protoOption);
      const [type, code] = parseType(o, d, d.hasAny ? (o.text(d.option) ?? "any") : o.need(d.option));
      return { kind: d.kind, type, minCode: code ?? 0, maxCode: code ?? 255, not: o.not(d.option) };
    },
    print(m) {
      if (m.type === any) return opt(m.not, d.option, "any");
      return opt(m.not, d.option, m.minCode === m.maxCode ? `${m.type}/${m.minCode}` : m.type);
    },
    test(m, p) {
      if (p.fragment !== 0) return false;
      if (p.end - p.transport < HEADER_LEN) {
        p.hotdrop = true;
        return false;
      }
      const code = u8(p.b, p.transport + 1);
      const same = m.type === any || (u8(p.b, p.transport) === m.type && code >= m.minCode && code <= m.maxCode);
      return same !== m.not;
    },
  };
}
