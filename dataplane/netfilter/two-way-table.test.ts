import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpSet } from "./ipset.ts";
import { TwoWayTable } from "./two-way-table.ts";

type Thing = { readonly hashes: readonly [number, number]; number: number; due: number };

/** Few hashes, so that they meet and wrap around the table's end. */
const hashes = fc.oneof(fc.constantFrom(0, 1, 255, 256, 511, -1, -256), fc.integer());
const steps = fc.array(
  fc.record({ add: fc.boolean(), hash0: hashes, hash1: hashes, pick: fc.nat(), due: fc.integer({ min: 0, max: 50 }) }),
  { maxLength: 600 },
);

function found(table: TwoWayTable<Thing>, hash: number): string[] {
  const out: string[] = [];
  for (let cell = table.first(hash); cell >= 0; cell = table.next(hash, cell))
    out.push(`${table.item(cell).number} ${table.way(cell)}`);
  return out.sort();
}

describe("a table of things that are found in two ways", () => {
  it("finds all that are there by either hash, and none that went, as a list does", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const table = new TwoWayTable<Thing>();
        const there: Thing[] = [];
        for (const { add, hash0, hash1, pick, due } of list) {
          if (add || there.length === 0) {
            const thing: Thing = { hashes: [hash0, hash1], number: -1, due };
            thing.number = table.add(thing, hash0, hash1, due);
            there.push(thing);
          } else {
            const [gone] = there.splice(pick % there.length, 1) as [Thing];
            table.remove(gone.number);
          }
        }
        expect([...table].length).toBe(there.length);
        for (const hash of new Set(there.flatMap((t) => t.hashes))) {
          const wanted = there.flatMap((t) => t.hashes.flatMap((h, way) => (h === hash ? [`${t.number} ${way}`] : [])));
          expect(found(table, hash)).toEqual(wanted.sort());
        }
        const due = new Set<number>();
        for (let i = 0; i < there.length * 2 + 600; i++) {
          const thing = table.sweep(25);
          if (thing !== null) due.add(thing.number);
        }
        expect([...due].sort()).toEqual(
          there
            .filter((t) => t.due <= 25)
            .map((t) => t.number)
            .sort(),
        );
      }),
      { numRuns: 200 },
    );
  });
});

describe("a set of addresses and ports", () => {
  const entries = fc.tuple(fc.nat(20), fc.constantFrom("udp:80", "tcp:80", "tcp:443"));
  it("holds what was put in and not taken out, whether entries end or not", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(entries, fc.boolean(), fc.boolean()), { maxLength: 80 }), (list) => {
        const set = new IpSet("S", "hash:ip,port", { timeout: 0 });
        const model = new Map<string, number>();
        for (const [[host, port], put, ends] of list) {
          const entry = `10.0.0.${host},${port}`;
          if (put) {
            set.add(entry, { comment: "", expires: ends ? 100 : 0 });
            model.set(entry, ends ? 100 : Number.POSITIVE_INFINITY);
          } else {
            set.delete(entry);
            model.delete(entry);
          }
          for (const now of [50, 150]) {
            const service = ((port.startsWith("udp") ? 17 : 6) << 16) | Number(port.slice(4));
            expect(set.has(0x0a000000 + host, service, 0, now)).toBe((model.get(entry) ?? 0) > now);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
