/** The cases of `conformance.contract.ts` go on: the VLAN options of bridge. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../backend/ops.ts";
import { NetlinkError } from "../dataplane/netns/rtnl-ops.ts";
import type { JsonObject } from "./cni/types.ts";
import type { DataPlaneUnderTest } from "./conformance.contract.ts";
import { type CallOptions, TestNode, withPrev } from "./testing.ts";

const DATA = "/var/lib/cni/networks";
const LACKING = "needs a kernel whose bridges have VLANs (CONFIG_BRIDGE_VLAN_FILTERING)";

async function knowsVlans(backend: Backend): Promise<boolean> {
  try {
    await backend.apply([
      { op: "link.add", netns: "host", name: "probe0", kind: "bridge" },
      { op: "vlan.add", netns: "host", dev: "probe0", vid: 2 },
      { op: "link.del", netns: "host", name: "probe0" },
    ]);
    return true;
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "EOPNOTSUPP") return false;
    throw error;
  }
}

export function vlanConformance(name: string, open: () => Promise<DataPlaneUnderTest>): void {
  describe(`on ${name}, with VLANs`, () => {
    let plane: DataPlaneUnderTest;
    let backend: Backend;
    let node: TestNode;
    let at: CallOptions = {};
    let able = false;
    beforeEach(async () => {
      plane = await open();
      backend = plane.backend;
      node = new TestNode(backend);
      at = { netns: await backend.addNetns("pod-1") };
      able = await knowsVlans(backend);
    });
    afterEach(() => plane.dispose());

    const ipam = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]] };
    const conf = (more: JsonObject): JsonObject => ({
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      bridge: "br0",
      ipam,
      ...more,
    });
    const port = (result: JsonObject) => String((result.interfaces as JsonObject[])[1]?.name);
    const vlansOf = async (dev: string) =>
      (await backend.vlans("host", dev)).map(
        ({ vid, pvid, untagged }) => `${vid}${pvid ? " pvid" : ""}${untagged ? " untagged" : ""}`,
      );

    it.for<[string, JsonObject, string[]]>([
      ["a VLAN", { vlan: 100 }, ["100 pvid untagged"]],
      ["a VLAN beside the default one", { vlan: 100, preserveDefaultVlan: true }, ["1 untagged", "100 pvid untagged"]],
      ["a trunk", { vlanTrunk: [{ minID: 10, maxID: 12 }, { id: 20 }] }, ["1 pvid untagged", "10", "11", "12", "20"]],
      [
        "a trunk with a VLAN of its own",
        { vlan: 11, vlanTrunk: [{ minID: 10, maxID: 12 }] },
        ["10", "11 pvid untagged", "12"],
      ],
    ])("puts a container into %s", async ([, more, wanted], { skip }) => {
      skip(!able, LACKING);
      const { result, error } = await node.call("ADD", conf(more), at);
      expect(error.msg).toBe("");
      expect((await backend.link("host", "br0"))?.vlanFiltering).toBe(true);
      expect(await vlansOf(port(result))).toEqual(wanted);
      expect((await node.call("CHECK", withPrev(conf(more), result), at)).error.msg).toBe("");
      expect((await node.call("DEL", withPrev(conf(more), result), at)).exitCode).toBe(0);
      expect((await backend.links("host")).filter((l) => l.kind === "veth")).toEqual([]);
    });

    it("puts the gateway of a VLAN on an interface into it, once for all containers", async ({ skip }) => {
      skip(!able, LACKING);
      const gateway = conf({ vlan: 100, isDefaultGateway: true, ipMasq: true, mtu: 1400 });
      const { result, error } = await node.call("ADD", gateway, at);
      expect(error.msg).toBe("");
      const veth = await backend.link("host", "br0.100");
      expect(veth).toMatchObject({ kind: "veth", up: true, mtu: 1400 });
      expect((result.interfaces as JsonObject[]).map((i) => i.name)).toEqual(["br0", port(result), "eth0", "br0.100"]);
      expect(result.ips).toMatchObject([{ interface: 2, gateway: "10.1.0.1" }]);
      const own = async (dev: string) => (await backend.addrs("host", dev)).filter((a) => a.scope !== "link");
      expect(await own("br0.100")).toMatchObject([{ address: "10.1.0.1/24" }]);
      expect(await own("br0")).toEqual([]);
      const far = (await backend.links("host")).find((l) => l.ifindex === veth?.peerIfindex);
      expect(far).toMatchObject({ master: "br0", up: true });
      expect(await vlansOf(far?.name ?? "")).toEqual(["100 pvid untagged"]);
      const second = { id: "c2", netns: await backend.addNetns("pod-2") };
      expect((await node.call("ADD", gateway, second)).error.msg).toBe("");
      expect((await backend.links("host")).filter((l) => l.kind === "veth")).toHaveLength(4);
      expect((await node.call("CHECK", withPrev(gateway, result), at)).error.msg).toBe("");
      await node.call("GC", { ...gateway, "cni.dev/valid-attachments": [] });
      expect((await backend.links("host")).filter((l) => l.kind === "veth")).toHaveLength(2);
    });

    it("begins to filter on a bridge that is there", async ({ skip }) => {
      skip(!able, LACKING);
      await backend.apply([{ op: "link.add", netns: "host", name: "br0", kind: "bridge", up: true }]);
      expect((await node.call("ADD", conf({ vlan: 100 }), at)).error.msg).toBe("");
      expect((await backend.link("host", "br0"))?.vlanFiltering).toBe(true);
    });

    it("finds at CHECK that a VLAN is gone", async ({ skip }) => {
      skip(!able, LACKING);
      const trunk = conf({ vlan: 7, vlanTrunk: [{ id: 9 }] });
      const { result } = await node.call("ADD", trunk, at);
      const check = async () => (await node.call("CHECK", withPrev(trunk, result), at)).error;
      const dev = port(result);
      await backend.apply([{ op: "vlan.del", netns: "host", dev, vid: 9 }]);
      expect(await check()).toMatchObject({ code: 104, msg: `interface ${dev}: is not in VLAN 9` });
      await backend.apply([{ op: "vlan.del", netns: "host", dev, vid: 7 }]);
      expect(await check()).toMatchObject({ msg: `interface ${dev}: VLAN 7 is not that of frames without a tag` });
      await backend.apply([{ op: "link.set", netns: "host", name: "br0", vlanFiltering: false }]);
      expect(await check()).toMatchObject({ msg: "bridge br0: does not filter VLANs" });
    });

    it("leaves nothing where the data plane has no VLANs", async ({ skip }) => {
      skip(able, "this data plane has VLANs");
      const { error } = await node.call("ADD", conf({ vlan: 100, isGateway: true }), at);
      expect(error).toMatchObject({ code: 100, details: expect.stringContaining("EOPNOTSUPP") });
      expect((await backend.links("host")).filter((l) => l.kind !== "loopback")).toEqual([]);
      expect(await node.leases(DATA, "net")).toEqual({});
    });

    it.each<[string, JsonObject, string]>([
      ["a VLAN beyond 4094", { vlan: 4095 }, "vlan: found 4095, expected a whole number from 0 to 4094"],
      [
        "half a range",
        { vlanTrunk: [{ minID: 5 }] },
        "vlanTrunk[0].maxID: found nothing, expected a VLAN, as minID is given",
      ],
      [
        "a reversed range",
        { vlanTrunk: [{ minID: 5, maxID: 4 }] },
        "vlanTrunk[0].maxID: found 4, expected at least 5, which is minID",
      ],
      [
        "VLAN 0 on a trunk",
        { vlanTrunk: [{ id: 0 }] },
        "vlanTrunk[0].id: found 0, expected a whole number from 1 to 4094",
      ],
      [
        "a bridge name too long for its gateway",
        { bridge: "a-long-bridge", vlan: 100, isGateway: true },
        'bridge: found "a-long-bridge", expected a name that leaves room for .100, the gateway\'s interface',
      ],
    ])("refuses %s", async (_, more, msg) => {
      const { error } = await node.call("ADD", conf(more), at);
      expect(error).toMatchObject({ code: 7, msg });
      expect(await node.leases(DATA, "net")).toEqual({});
    });
  });
}
