import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NF_INET_PRE_ROUTING } from "./hooks.ts";
import { saveRules } from "./restore-op.ts";
import { Bench } from "./testing.ts";

/** Rules of several shapes over few values, so that slots hold several rules; some ask nothing that tells packets apart. */
const rules = fc.oneof(
  fc.nat(5).map((n) => `-d 10.1.0.${n}/32 -p udp -m udp --dport 80 -j MARK --or-mark 0x${1 << n}`),
  fc.nat(3).map((n) => `-d 10.1.0.${n}/32 -j MARK --xor-mark 0x${100 << n}`),
  fc.nat(3).map((n) => `-s 10.0.0.${n}/32 -j MARK --xor-mark 0x${1000 << n}`),
  fc.constant("-m mark --mark 0x4/0x4 -j RETURN"),
  fc.constant("-j MARK --xor-mark 0x10000"),
);

/** Places are taken modulo what the chain has. */
type Edit = { readonly verb: "-I" | "-D" | "-R" | "-A"; readonly at: number; readonly rule: string };
const edits = fc.record<Edit>({
  verb: fc.constantFrom("-I", "-D", "-R", "-A"),
  at: fc.nat(1000),
  rule: rules,
});

function lineOf({ verb, at, rule }: Edit, length: number): string {
  if (verb === "-A" || length === 0) return `-A TEST ${rule}`;
  if (verb === "-I") return `-I TEST ${(at % (length + 1)) + 1} ${rule}`;
  return `${verb} TEST ${(at % length) + 1}${verb === "-R" ? ` ${rule}` : ""}`;
}

/** A text for a list of edits, and how many rules the chain has then. */
function textOf(list: readonly Edit[], before: number): { text: string; length: number } {
  let length = before;
  const lines = list.map((edit) => {
    const line = lineOf(edit, length);
    if (line.startsWith("-A") || line.startsWith("-I")) length++;
    else if (line.startsWith("-D")) length--;
    return line;
  });
  return { text: ["*raw", ...lines, "COMMIT\n"].join("\n"), length };
}

function bench(evaluator: "indexed" | "linear", list: readonly string[]): Bench {
  const made = new Bench();
  made.world.evaluator = evaluator;
  const lines = list.map((rule) => `-A TEST ${rule}`);
  made.restore(["*raw", ":TEST - [0:0]", "-A PREROUTING -j TEST", ...lines, "COMMIT\n"].join("\n"));
  return made;
}

function marks(b: Bench): number[] {
  const out: number[] = [];
  for (let n = 0; n < 6; n++) {
    const skb = b.packet({ src: `10.0.0.${n % 4}`, dst: `10.1.0.${n}`, dport: 80 + (n % 2) });
    b.hook(NF_INET_PRE_ROUTING, skb);
    out.push(skb.mark);
  }
  return out;
}

describe("the index of a chain that changes", () => {
  it("finds the rules that a linear walk finds, with their counters, whatever was put in, out and in place", () => {
    fc.assert(
      fc.property(
        fc.array(rules, { minLength: 24, maxLength: 60 }),
        fc.array(fc.array(edits, { minLength: 1, maxLength: 8 }), { maxLength: 8 }),
        (list, texts) => {
          const both = [bench("linear", list), bench("indexed", list)] as const;
          let length = list.length;
          expect(marks(both[1])).toEqual(marks(both[0]));
          for (const changes of texts) {
            const { text, length: now } = textOf(changes, length);
            for (const b of both) b.restore(text);
            length = now;
            expect(marks(both[1])).toEqual(marks(both[0]));
          }
          expect(saveRules(both[1].ns, true)).toBe(saveRules(both[0].ns, true));
        },
      ),
      { numRuns: 300 },
    );
  });
});
