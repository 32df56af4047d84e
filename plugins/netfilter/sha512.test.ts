import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { portableSha512Hex } from "./sha512.ts";

it("is the SHA-512 of a text of any length around the block boundaries", () => {
  for (const length of [0, 1, 55, 63, 64, 110, 111, 112, 113, 127, 128, 129, 239, 240, 255, 256, 1000]) {
    const text = "netwörk-id ".repeat(100).slice(0, length);
    expect(portableSha512Hex(text), `length ${length}`).toBe(createHash("sha512").update(text).digest("hex"));
  }
});
