import { describe, expect, it } from "vitest";
import { AddrError } from "./addr-error.ts";

describe("AddrError", () => {
  it("names the kind and shows the text as it was", () => {
    const error = new AddrError("MAC address", "a\nb");
    expect(error.message).toBe('MAC address "a\\nb": not a valid MAC address');
    expect(error).toMatchObject({ name: "AddrError", kind: "MAC address", text: "a\nb" });
  });
});
