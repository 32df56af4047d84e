/** What the benches say besides times: nothing is lost, nothing is allocated, and lookups by hash do not grow. */
import { expect, it } from "vitest";
import { podwire } from "../support/podwire.ts";

type Line = Readonly<Record<string, string | number>>;

function bench(...args: readonly string[]): Line[] {
  const { code, stdout, stderr } = podwire(["bench", ...args]);
  expect([code, stderr.includes("Error")], stderr).toEqual([0, false]);
  const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line) as Line);
}

function forward(only: string): Line[] {
  return bench("forward", "--services", "200", "--packets", "100000", "--samples", "1", "--only", only);
}

/** A heap number is 16 octets, the context of a closure 40. */
const SOME = 8;

it.each([
  ["without Services", "vxlan.udp", 2],
  ["to a ClusterIP, of established flows", "established", 6],
])("forwarding %s neither loses nor allocates", { timeout: 120_000 }, (_name, only, cases) => {
  const lines = forward(only);
  expect(lines).toHaveLength(cases);
  for (const line of lines) {
    expect(line, JSON.stringify(line)).toMatchObject({
      sent: 100_000,
      delivered: 100_000,
      corrupted: 0,
      packetsMade: 0,
    });
    expect(line.allocatedOctetsPerPacket, JSON.stringify(line)).toBeLessThan(SOME);
  }
});

it("first packets of flows all arrive, in every mode", { timeout: 120_000 }, () => {
  const lines = forward("node.newflow");
  expect(lines).toHaveLength(4);
  for (const line of lines)
    expect(line, JSON.stringify(line)).toMatchObject({
      sent: 100_000,
      delivered: 100_000,
      corrupted: 0,
      packetsMade: 0,
    });
});

it("lookups by hash look at as many rules for the last Service as for the first", { timeout: 120_000 }, () => {
  const lines = bench("lookups", "--services", "100", "--samples", "1").filter(
    (line) => line.metric === "lookups.first-packet",
  );
  const examined = (engine: string, services: number, position: string): number => {
    const found = lines.find((l) => l.engine === engine && l.services === services && l.position === position);
    expect(found, `${engine} ${services} ${position}`).toBeDefined();
    return Number(found?.examined);
  };
  for (const engine of ["iptables indexed", "ipvs", "nftables"])
    expect(examined(engine, 100, "last"), engine).toBeLessThanOrEqual(examined(engine, 10, "first") + 2);
  expect(examined("iptables linear", 100, "last")).toBeGreaterThan(100);
});
