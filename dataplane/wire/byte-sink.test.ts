import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteSink } from "./byte-sink.ts";
import { holds } from "./fixtures/arbitrary.ts";

function put(sink: ByteSink, len: number, v: number): number[] {
  const { block, offset } = sink.reserve(len);
  block.fill(v, offset, offset + len);
  return new Array<number>(len).fill(v);
}

describe("byte sink", () => {
  it("joins what was written, over any number of blocks", () => {
    holds(
      fc.property(fc.array(fc.integer({ min: 0, max: 80_000 }), { maxLength: 6 }), (lens) => {
        const sink = new ByteSink();
        const want = lens.flatMap((len, i) => put(sink, len, i + 1));
        expect(sink.length).toBe(want.length);
        expect(Buffer.from(sink.bytes()).equals(Buffer.from(want))).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("gives each octet once when it is drained", () => {
    const sink = new ByteSink();
    put(sink, 3, 1);
    expect([...sink.drain()]).toEqual([1, 1, 1]);
    put(sink, 2, 2);
    expect([...sink.drain()]).toEqual([2, 2]);
    expect(sink.drain().length).toBe(0);
  });
});
