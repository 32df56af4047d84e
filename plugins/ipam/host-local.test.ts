import { beforeEach, describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import type { JsonObject } from "../cni/types.ts";
import { TestNode, withPrev } from "../testing.ts";
import { parseResolvConf } from "./host-local.ts";

const DATA = "/var/lib/cni/networks";
const CONF = { cniVersion: "1.1.0", name: "net", type: "bridge" };
function conf(ipam: JsonObject, more: JsonObject = {}): JsonObject {
  return { ...CONF, ...more, type: "host-local", ipam: { type: "host-local", ...ipam } };
}
const AT = { netns: "/run/netns/a" };
const SUBNET = { subnet: "10.1.0.0/24" };

describe("host-local", () => {
  let node: TestNode;
  beforeEach(() => {
    node = new TestNode(new FakeBackend());
  });
  const ipsOf = (result: JsonObject) => (result.ips as JsonObject[]).map((ip) => ip.address);

  it("answers addresses without interfaces, one of each range set", async () => {
    const { result } = await node.call(
      "ADD",
      conf({ ranges: [[SUBNET], [{ subnet: "fd00::/64", gateway: "fd00::99" }]], routes: [{ dst: "0.0.0.0/0" }] }),
      AT,
    );
    expect(result).toEqual({
      cniVersion: "1.1.0",
      ips: [
        { address: "10.1.0.2/24", gateway: "10.1.0.1" },
        { address: "fd00::1/64", gateway: "fd00::99" },
      ],
      routes: [{ dst: "0.0.0.0/0" }],
      dns: {},
    });
    expect(await node.leases(DATA, "net")).toEqual({ "10.1.0.2": "c1 eth0", "fd00::1": "c1 eth0" });
  });

  it("takes runtime ranges first, then the old form, then the new", async () => {
    const { result } = await node.call(
      "ADD",
      conf(
        { subnet: "10.2.0.0/24", rangeStart: "10.2.0.50", ranges: [[{ subnet: "10.3.0.0/24" }]] },
        { runtimeConfig: { ipRanges: [[{ subnet: "10.4.0.0/24" }]] } },
      ),
      AT,
    );
    expect(ipsOf(result)).toEqual(["10.4.0.2/24", "10.2.0.50/24", "10.3.0.2/24"]);
  });

  it("goes round before it gives an address again", async () => {
    const ipam = conf({ subnet: "10.1.0.0/29" });
    const given: unknown[] = [];
    for (let i = 0; i < 7; i++) {
      const { result } = await node.call("ADD", ipam, { ...AT, id: `c${i}` });
      given.push(...ipsOf(result));
      await node.call("DEL", ipam, { ...AT, id: `c${i}` });
    }
    expect(given).toEqual(["2", "3", "4", "5", "6", "2", "3"].map((n) => `10.1.0.${n}/29`));
  });

  it("refuses a second address for the same attachment, and gives one for another interface", async () => {
    await node.call("ADD", conf(SUBNET), AT);
    expect((await node.call("ADD", conf(SUBNET), AT)).error).toMatchObject({
      code: 101,
      msg: "container c1 eth0: has 10.1.0.2 of network net already",
    });
    expect(ipsOf((await node.call("ADD", conf(SUBNET), { ...AT, ifname: "eth1" })).result)).toEqual(["10.1.0.3/24"]);
  });

  it.each<[string, JsonObject, string]>([
    ["CNI_ARGS", {}, "IP=10.1.0.77"],
    ["args.cni.ips", { args: { cni: { ips: ["10.1.0.77"] } } }, ""],
    ["runtimeConfig.ips with a prefix", { runtimeConfig: { ips: ["10.1.0.77/24"] } }, ""],
    [
      "all of them alike",
      { args: { cni: { ips: ["10.1.0.77"] } }, runtimeConfig: { ips: ["10.1.0.77/24"] } },
      "IP=10.1.0.77",
    ],
  ])("gives the address that is asked for by %s", async (_, more, args) => {
    expect(ipsOf((await node.call("ADD", conf(SUBNET, more), { ...AT, args })).result)).toEqual(["10.1.0.77/24"]);
  });

  it.each([
    ["10.1.0.2", "requested address 10.1.0.2: is in use"],
    ["10.1.0.1", "requested address 10.1.0.1: is the gateway"],
    ["10.9.0.1", "requested address 10.9.0.1: is not in range 10.1.0.1-10.1.0.254"],
    ["10.1.0.8,10.1.0.9", "requested address 10.1.0.9: is not in range 10.1.0.1-10.1.0.254"],
  ])("refuses to give %s, and reserves nothing", async (ip, msg) => {
    await node.call("ADD", conf(SUBNET), { ...AT, id: "other" });
    expect((await node.call("ADD", conf(SUBNET), { ...AT, args: `IP=${ip}` })).error).toMatchObject({ code: 102, msg });
    expect(Object.keys(await node.leases(DATA, "net"))).toEqual(["10.1.0.2"]);
  });

  it("gives back the first set's address when the second is full", async () => {
    const two = conf({ ranges: [[SUBNET], [{ subnet: "10.2.0.0/30" }]] });
    await node.call("ADD", two, { ...AT, id: "other" });
    expect((await node.call("ADD", two, AT)).error).toMatchObject({
      code: 102,
      msg: "range 10.2.0.1-10.2.0.2: no free address (1 of 1 in use)",
    });
    expect(Object.values(await node.leases(DATA, "net"))).toEqual(["other eth0", "other eth0"]);
  });

  it("keeps leases where it is told to", async () => {
    await node.call("ADD", conf({ ...SUBNET, dataDir: "/run/leases" }), AT);
    expect(await node.leases("/run/leases", "net")).toEqual({ "10.1.0.2": "c1 eth0" });
  });

  it("releases without looking at ranges, and again", async () => {
    await node.call("ADD", conf(SUBNET), AT);
    expect((await node.call("DEL", conf({}), { netns: "" })).exitCode).toBe(0);
    expect((await node.call("DEL", conf({}), { netns: "" })).exitCode).toBe(0);
    expect(await node.leases(DATA, "net")).toEqual({});
  });

  it("checks that the attachment holds what the result says", async () => {
    const { result } = await node.call("ADD", conf(SUBNET), AT);
    expect((await node.call("CHECK", withPrev(conf(SUBNET), result), AT)).exitCode).toBe(0);
    const other = { ...result, ips: [{ address: "10.1.0.200/24" }, { address: "192.168.7.7/24" }] };
    expect((await node.call("CHECK", withPrev(conf(SUBNET), other), AT)).error).toMatchObject({
      code: 104,
      msg: "container c1 eth0: no lease of 10.1.0.200 in network net",
    });
  });

  it.each<[string, JsonObject, string]>([
    ["no range", {}, "ipam.ranges: found nothing, expected at least one range set"],
    [
      "a set that is none",
      { ranges: [SUBNET] },
      'ipam.ranges[0]: found {"subnet":"10.1.0.0/24"}, expected a list of ranges',
    ],
    ["an empty set", { ranges: [[]] }, "ipam.ranges[0]: found an empty set, expected at least one range"],
    ["no subnet", { ranges: [[{}]] }, "ipam.ranges[0][0].subnet: found nothing, expected a prefix"],
    [
      "host bits",
      { ranges: [[SUBNET], [{ subnet: "10.2.0.1/24" }]] },
      'ipam.ranges[1][0].subnet: found "10.2.0.1/24", expected the network address, 10.2.0.0/24',
    ],
    [
      "a start elsewhere",
      { ...SUBNET, rangeStart: "10.2.0.1" },
      'ipam.rangeStart: found "10.2.0.1", expected an address in 10.1.0.0/24',
    ],
    [
      "an overlap",
      { ...SUBNET, ranges: [[{ subnet: "10.1.0.0/16" }]] },
      "ipam.ranges[1][0]: found 10.1.0.1-10.1.255.254, expected addresses apart from ranges[0][0]",
    ],
    ["a bad route", { ...SUBNET, routes: [{ dst: "x" }] }, 'ipam.routes[0].dst: found "x", expected a prefix'],
    [
      "a missing resolvConf",
      { ...SUBNET, resolvConf: "/none" },
      'ipam.resolvConf: found "/none", expected the path of a file',
    ],
  ])("refuses %s", async (_, ipam, msg) => {
    const { error } = await node.call("ADD", conf(ipam), AT);
    expect(error.code).toBe(7);
    expect(error.msg.startsWith(msg), error.msg).toBe(true);
  });

  it("refuses a configuration without ipam", async () => {
    expect((await node.call("ADD", { ...CONF, type: "host-local" }, AT)).error).toMatchObject({
      code: 7,
      msg: "ipam: found nothing, expected an object with ranges",
    });
  });
});

it("reads resolv.conf", () => {
  const text =
    "# c\n; d\nnameserver 1.1.1.1\nnameserver\t8.8.8.8\ndomain a.b\nsearch x\nsearch y z\noptions ndots:5 rotate\nsortlist 1\n";
  expect(parseResolvConf(text)).toEqual({
    nameservers: ["1.1.1.1", "8.8.8.8"],
    domain: "a.b",
    search: ["y", "z"],
    options: ["ndots:5", "rotate"],
  });
  expect(parseResolvConf("")).toEqual({});
});
