import { expect, it } from "vitest";
import { staleLeases } from "./gc.ts";

it("collects what no listed attachment holds, unreadable records too", () => {
  const leases = [
    { ip: "10.1.0.2", owner: { containerId: "a", ifname: "eth0" } },
    { ip: "10.1.0.3", owner: { containerId: "a", ifname: "eth1" } },
    { ip: "10.1.0.4", owner: { containerId: "a", ifname: "" } },
    { ip: "10.1.0.5", owner: { containerId: "b", ifname: "eth0" } },
    { ip: "10.1.0.6", owner: undefined },
  ];
  const stale = staleLeases(leases, [{ containerId: "a", ifname: "eth0" }]);
  expect(stale.map((lease) => lease.ip)).toEqual(["10.1.0.3", "10.1.0.5", "10.1.0.6"]);
  expect(staleLeases(leases, [])).toHaveLength(5);
});
