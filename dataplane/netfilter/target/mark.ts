/** MARK (xt_mark.c): bits of the packet's mark. All spellings are one operation: clear the mask, then flip the value. */
import { hex, type Options } from "../options.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type MarkTarget = { readonly kind: "MARK"; readonly value: number; readonly mask: number };

export const MARK_OPTIONS = {
  "--set-mark": { args: 1 },
  "--set-xmark": { args: 1 },
  "--or-mark": { args: 1 },
  "--and-mark": { args: 1 },
  "--xor-mark": { args: 1 },
} as const;

const NAMES = Object.keys(MARK_OPTIONS);

/** The bits to clear and to flip. */
export function parseMark(o: Options, others: readonly string[] = []): { name: string; value: number; mask: number } {
  const name = o.one([...NAMES, ...others]);
  if (others.includes(name)) return { name, value: 0, mask: 0xffffffff };
  if (name === "--set-mark") {
    const m = o.masked(name);
    return { name, value: m.value, mask: (m.value | m.mask) >>> 0 };
  }
  if (name === "--set-xmark") return { name, ...o.masked(name) };
  const n = o.parse(name, o.need(name), 0, 0xffffffff);
  switch (name) {
    case "--or-mark":
      return { name, value: n, mask: n };
    case "--and-mark":
      return { name, value: 0, mask: ~n >>> 0 };
    default:
      return { name, value: n, mask: 0 };
  }
}

export const markTarget: TargetModule<MarkTarget> = {
  name: "MARK",
  options: MARK_OPTIONS,
  parse(o) {
    const { value, mask } = parseMark(o);
    return { kind: "MARK", value, mask };
  },
  print: (t) => ` --set-xmark ${hex(t.value)}/${hex(t.mask)}`,
  run(t, p) {
    p.skb.mark = ((p.skb.mark & ~t.mask) ^ t.value) >>> 0;
    return CONTINUE;
  },
};
