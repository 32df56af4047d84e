import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Fdb, FdbEntry } from "./fdb.ts";

describe("Fdb", () => {
  it("does what a Map does, for any sequence of sets and deletes", () => {
    const op = fc.record({
      set: fc.boolean(),
      hi: fc.integer({ min: 0, max: 3 }),
      lo: fc.integer({ min: -30, max: 30 }),
      value: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(op, { maxLength: 200 }), (ops) => {
        const fdb = new Fdb<number>();
        const model = new Map<string, number>();
        for (const { set, hi, lo, value } of ops) {
          const key = `${hi} ${lo}`;
          if (set) {
            fdb.set(new FdbEntry(hi, lo, value, false, 0));
            model.set(key, value);
          } else expect(fdb.delete(hi, lo)).toBe(model.delete(key));
        }
        expect(fdb.size).toBe(model.size);
        for (let hi = 0; hi < 4; hi++)
          for (let lo = -30; lo <= 30; lo++) expect(fdb.get(hi, lo)?.target).toBe(model.get(`${hi} ${lo}`));
      }),
    );
  });

  it("gives back the whole address of an entry", () => {
    expect(new FdbEntry(0x0a58, 0xfffefdfc | 0, 0, true, 0).mac).toBe(0x0a58fffefdfc);
  });
});
