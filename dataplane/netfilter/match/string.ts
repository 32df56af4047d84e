/**
 * `-m string` (xt_string.c): whether octets stand in a packet that begins at its IP header. The algorithm is carried along
 * for the text: all find the same.
 */
import type { Options } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type StringMatch = {
  readonly kind: "string";
  readonly pattern: Uint8Array;
  readonly algo: "bm" | "kmp";
  readonly from: number;
  readonly to: number;
  readonly icase: boolean;
  readonly not: boolean;
};

/** XT_STRING_MAX_PATTERN_SIZE. */
const PATTERN_MAX = 128;
const LAST = 0xffff;

/** Text with octets in hexadecimal between bars: "|0a|foo". */
function hexPattern(o: Options, text: string): Uint8Array {
  const octets = text.split("|").flatMap((part, i) => {
    if (i % 2 === 0) return [...new TextEncoder().encode(part)];
    const digits = part.replaceAll(" ", "");
    if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) o.fail(`option --hex-string: "${part}" is not hexadecimal`);
    return (digits.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));
  });
  return Uint8Array.from(octets);
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet;
}

function printable(pattern: Uint8Array): boolean {
  return pattern.every((octet) => octet >= 0x20 && octet < 0x7f);
}

function printPattern(m: StringMatch): string {
  const not = m.not ? " !" : "";
  if (!printable(m.pattern)) {
    const hex = [...m.pattern].map((octet) => octet.toString(16).padStart(2, "0")).join("");
    return `${not} --hex-string "|${hex}|"`;
  }
  return `${not} --string "${String.fromCharCode(...m.pattern).replace(/["\\]/g, "\\$&")}"`;
}

export const stringMatch: MatchModule<StringMatch> = {
  name: "string",
  options: {
    "--string": { args: 1, not: true },
    "--hex-string": { args: 1, not: true },
    "--algo": { args: 1 },
    "--from": { args: 1 },
    "--to": { args: 1 },
    "--icase": { args: 0 },
  },
  parse(o) {
    const option = o.one(["--string", "--hex-string"]);
    const text = o.need(option);
    const pattern = option === "--string" ? new TextEncoder().encode(text) : hexPattern(o, text);
    if (pattern.length === 0 || pattern.length > PATTERN_MAX)
      o.fail(`option ${option}: ${pattern.length} octets, 1 to ${PATTERN_MAX} are searched`);
    const algo = o.need("--algo");
    if (algo !== "bm" && algo !== "kmp") return o.fail(`option --algo: "${algo}" is neither bm nor kmp`);
    const from = o.number("--from", 0, LAST) ?? 0;
    const to = o.number("--to", 0, LAST) ?? LAST;
    if (from > to) o.fail("option --to: ends before --from");
    return { kind: "string", pattern, algo, from, to, icase: o.has("--icase"), not: o.not(option) };
  },
  print: (m) =>
    `${printPattern(m)} --algo ${m.algo}${m.from === 0 ? "" : ` --from ${m.from}`}` +
    `${m.to === LAST ? "" : ` --to ${m.to}`}${m.icase ? " --icase" : ""}`,
  test(m, p) {
    const { b, network } = p;
    // It must end before `to`, counted from the IP header.
    const last = Math.min(p.end, network + m.to) - m.pattern.length;
    for (let at = network + m.from; at <= last; at++) {
      let i = 0;
      while (i < m.pattern.length) {
        const [found, wanted] = [b[at + i] as number, m.pattern[i] as number];
        if (found !== wanted && !(m.icase && lower(found) === lower(wanted))) break;
        i++;
      }
      if (i === m.pattern.length) return !m.not;
    }
    return m.not;
  },
};
