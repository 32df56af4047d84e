/** What the conformance suite cannot provoke: races between calls, and a data plane that fails at a chosen operation. */
import { beforeEach, describe, expect, it } from "vitest";
import { FakeBackend } from "../../backend/fake.ts";
import { memoryHost } from "../cni/host-memory.ts";
import { runPlugin } from "../cni/skel.ts";
import type { JsonObject } from "../cni/types.ts";
import { PLUGINS } from "../registry.ts";
import { TestNode } from "../testing.ts";
import { bridge } from "./bridge.ts";

const DATA = "/var/lib/cni/networks";
const CONF = {
  cniVersion: "1.1.0",
  name: "net",
  type: "bridge",
  bridge: "br0",
  isGateway: true,
  ipMasq: true,
  ipam: { type: "host-local", subnet: "10.1.0.0/24" },
};

describe("bridge", () => {
  let fake: FakeBackend;
  let node: TestNode;
  let netns = "";
  beforeEach(async () => {
    fake = new FakeBackend();
    node = new TestNode(fake);
    netns = await fake.addNetns("pod");
  });

  it("is one transaction", async () => {
    await node.call("ADD", CONF, { netns });
    expect(fake.transactions).toBe(1);
    await node.call("DEL", CONF, { netns });
    expect(fake.transactions).toBe(2);
  });

  it("takes nftables where iptables is not installed, and with neither leaves nothing", async () => {
    const tried = new Set<string>();
    fake.failWith = (op) => {
      if (op.op !== "iptables.restore" && op.op !== "nft.apply") return undefined;
      tried.add(op.op);
      return "ENOENT";
    };
    const { error } = await node.call("ADD", CONF, { netns });
    expect(error).toMatchObject({ code: 100, msg: "rules: found neither iptables-restore nor nft" });
    expect([...tried]).toEqual(["iptables.restore", "nft.apply"]);
    expect(await fake.links("host")).toHaveLength(1);
    expect(await node.leases(DATA, "net")).toEqual({});
    fake.failWith = (op) => (op.op === "iptables.restore" ? "ENOENT" : undefined);
    const asked = await node.call("ADD", { ...CONF, ipMasqBackend: "iptables" }, { netns });
    expect(asked.error).toMatchObject({ code: 100, details: expect.stringContaining("iptables.restore") });
  });

  it("plans anew when another call made the bridge meanwhile", async () => {
    let refusals = 0;
    fake.failWith = (op) => (op.op === "link.add" && op.kind === "bridge" && refusals++ < 2 ? "EEXIST" : undefined);
    expect((await node.call("ADD", CONF, { netns })).error.msg).toBe("");
    expect(refusals).toBe(3);
  });

  it("draws another name when one is taken", async () => {
    // one name and three MAC addresses of two draws each
    const round = [0.5, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    const draws = [...round, ...round, 0.9];
    const host = memoryHost({ backend: fake, plugins: PLUGINS, random: () => draws.shift() ?? 0.8 });
    for (const [id, path] of [
      ["c1", netns],
      ["c2", await fake.addNetns("pod-2")],
    ] as const) {
      const env = { CNI_COMMAND: "ADD", CNI_CONTAINERID: id, CNI_NETNS: path, CNI_IFNAME: "eth0" };
      const { stdout } = await runPlugin(bridge, env, JSON.stringify(CONF), host);
      expect((JSON.parse(stdout) as JsonObject).msg).toBeUndefined();
    }
    const names = (await fake.links("host")).filter((l) => l.kind === "veth").map((l) => l.name);
    expect(names).toEqual(["vetha4861800000", "vetha4861e66666"]);
  });

  it("gives up when the bridge is never as it was read", async () => {
    fake.failWith = (op) => (op.op === "link.add" && op.kind === "bridge" ? "EEXIST" : undefined);
    expect((await node.call("ADD", CONF, { netns })).error).toMatchObject({
      code: 100,
      details: expect.stringContaining("EEXIST"),
    });
    expect(await node.leases(DATA, "net")).toEqual({});
  });

  it.each(["link.add", "link.set", "addr.add", "sysctl.set", "iptables.restore"])(
    "leaves nothing when %s fails",
    async (name) => {
      const before = await fake.links("host");
      fake.failWith = (op) => (op.op === name ? "EPERM" : undefined);
      expect((await node.call("ADD", CONF, { netns })).error).toMatchObject({
        code: 100,
        details: expect.stringContaining("EPERM"),
      });
      expect(await fake.links("host")).toEqual(before);
      expect(await fake.links(netns)).toHaveLength(1);
      expect(await node.nat()).toEqual([]);
      expect(await node.leases(DATA, "net")).toEqual({});
    },
  );

  it("keeps the address while the interface cannot be removed", async () => {
    await node.call("ADD", CONF, { netns });
    fake.failWith = (op) => (op.op === "link.del" ? "EPERM" : undefined);
    expect((await node.call("DEL", CONF, { netns })).error.code).toBe(100);
    expect(Object.keys(await node.leases(DATA, "net"))).toEqual(["10.1.0.2"]);
  });

  it("goes on after the first failure of GC, and reports all", async () => {
    await node.call("ADD", CONF, { netns });
    fake.failWith = (op) => (op.op === "iptables.restore" ? "EPERM" : undefined);
    const gone = { ...CONF, "cni.dev/valid-attachments": [] };
    expect((await node.call("GC", gone)).error).toMatchObject({ code: 100, details: expect.stringContaining("EPERM") });
    expect(await node.leases(DATA, "net")).toEqual({});
    const both = { ...gone, ipam: { type: "none-such" } };
    expect((await node.call("GC", both)).error.msg).toContain("(and 1 more)");
  });
});
