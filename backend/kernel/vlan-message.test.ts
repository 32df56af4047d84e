/** Against what bridge(8) and ip(8) of iproute2 6.1 send: a kernel whose bridges have VLANs was not at hand. */
import { AttrStream } from "netlink/dist/structs.js";
import { describe, expect, it } from "vitest";
import { writeVlanFiltering } from "./link-message.ts";
import { parseVlans, writeGetVlans, writeVlan } from "./vlan-message.ts";

function sent(write: (out: AttrStream) => void): string {
  const out = new AttrStream();
  write(out);
  return Buffer.concat(out.bufs).toString("hex");
}
const HEAD = (index: string): string => `07000000${index}0000000000000000000000`.slice(0, 32);
const on = { netns: "host", dev: "v1" } as const;

describe("VLANs of bridges in rtnetlink", () => {
  it("are added and deleted as bridge(8) does", () => {
    const add = { op: "vlan.add", ...on } as const;
    expect(sent((out) => writeVlan(out, 4, false, { ...add, vid: 100, pvid: true, untagged: true }))).toBe(
      `${HEAD("04")}0c001a000800020006006400`,
    );
    expect(sent((out) => writeVlan(out, 4, false, { ...add, vid: 200, vidEnd: 205 }))).toBe(
      `${HEAD("04")}14001a00080002000800c800080002001000cd00`,
    );
    expect(sent((out) => writeVlan(out, 4, false, { op: "vlan.del", ...on, vid: 1 }))).toBe(
      `${HEAD("04")}0c001a000800020000000100`,
    );
    expect(sent((out) => writeVlan(out, 2, true, { ...add, vid: 100 }))).toBe(
      `${HEAD("02")}14001a0006000000020000000800020000006400`,
    );
  });

  it("are asked for as bridge(8) does, and filtered as ip(8) asks for", () => {
    expect(sent(writeGetVlans)).toBe(`${HEAD("00")}08001d0002000000`);
    // ip(8) pads what is nested, which changes two lengths and nothing else
    expect(sent((out) => writeVlanFiltering(out, 2, true))).toBe(
      "00000000020000000000000000000000190012000a0001006272696467650000090002000500070001",
    );
  });

  it("are read from what a dump answers", () => {
    const data = Buffer.from(`${HEAD("04")}14001a00080002000600640008000200000065000000`.slice(0, 72), "hex");
    expect(parseVlans(data)).toEqual([
      { index: 4, vid: 100, pvid: true, untagged: true },
      { index: 4, vid: 101, pvid: false, untagged: false },
    ]);
  });
});
