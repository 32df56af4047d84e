/** The cases of `conformance.contract.ts` go on: the nftables backends of ipMasq and portmap, and macspoofchk. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../backend/ops.ts";
import type { JsonObject } from "./cni/types.ts";
import type { DataPlaneUnderTest } from "./conformance.contract.ts";
import { type CallOptions, TestNode, withPrev } from "./testing.ts";

const DATA = "/var/lib/cni/networks";
const IPAM = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]] };
const BRIDGE = { cniVersion: "1.1.0", name: "net", type: "bridge", bridge: "br0", isGateway: true, ipam: IPAM };

export function nftablesConformance(name: string, open: () => Promise<DataPlaneUnderTest>): void {
  describe(`on ${name}, with nftables`, () => {
    let plane: DataPlaneUnderTest;
    let backend: Backend;
    let node: TestNode;
    let at: CallOptions = {};
    beforeEach(async () => {
      plane = await open();
      backend = plane.backend;
      node = new TestNode(backend);
      at = { netns: await backend.addNetns("pod-1") };
    });
    afterEach(() => plane.dispose());

    /** Of a chain, as listed. */
    const rules = async (table: string, chain: string): Promise<readonly string[]> => {
      const lines = (await backend.nftList("host", { table })).split("\n");
      const start = lines.indexOf(`\tchain ${chain} {`);
      if (start < 0) return [];
      const end = lines.indexOf("\t}", start);
      return lines
        .slice(start + 1, end)
        .map((line) => line.trim())
        .filter((line) => line !== "" && !line.startsWith("type "));
    };
    const gone = (conf: JsonObject, ids: readonly string[] = []) => ({
      ...conf,
      "cni.dev/valid-attachments": ids.map((containerID) => ({ containerID, ifname: "eth0" })),
    });

    describe.each([
      ["bridge", { ...BRIDGE, ipMasq: true, ipMasqBackend: "nftables" }],
      ["ptp", { cniVersion: "1.1.0", name: "net", type: "ptp", ipMasq: true, ipMasqBackend: "nftables", ipam: IPAM }],
    ] as const)("ipMasq of %s", (_type, conf) => {
      const TABLE = "inet cni_plugins_masquerade";
      const checks = () => rules(TABLE, "masq_checks");

      it("masquerades what leaves the subnet, and takes that back", async () => {
        const { result, error } = await node.call("ADD", conf, at);
        expect(error.msg).toBe("");
        expect(await rules(TABLE, "postrouting")).toEqual([
          "ip daddr 224.0.0.0/4 return",
          "ip6 daddr ff00::/8 return",
          "goto masq_checks",
        ]);
        expect(await checks()).toEqual([
          expect.stringMatching(
            /^ip saddr 10\.1\.0\.2 ip daddr != 10\.1\.0\.0\/24 masquerade comment "[0-9a-f]{16}-[0-9a-f]{16}, net: net, if: eth0, id: c1"$/,
          ),
        ]);
        expect(await node.nat()).toEqual([]);
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) {
          expect(await node.call("DEL", withPrev(conf, result), at)).toMatchObject({ exitCode: 0, stdout: "" });
          expect(await checks()).toEqual([]);
        }
      });

      it("keeps the rules of others", async () => {
        await node.call("ADD", conf, at);
        const other = { id: "c2", netns: await backend.addNetns("pod-2") };
        await node.call("ADD", conf, other);
        expect(await checks()).toHaveLength(2);
        await node.call("DEL", conf, at);
        expect(await checks()).toEqual([expect.stringContaining("id: c2")]);
      });

      it("deletes without a namespace, and whichever backend is configured then", async () => {
        await node.call("ADD", conf, at);
        await backend.delNetns(at.netns ?? "");
        const { ipMasqBackend: _, ...auto } = conf;
        expect((await node.call("DEL", auto, { netns: "" })).exitCode).toBe(0);
        expect(await checks()).toEqual([]);
        await node.call("ADD", auto, { netns: await backend.addNetns("pod-3") });
        expect(await node.nat()).not.toEqual([]);
        expect((await node.call("DEL", conf, { netns: "" })).exitCode).toBe(0);
        expect(await node.nat()).toEqual([]);
      });

      it("finds at CHECK that its rules are gone", async () => {
        const { result } = await node.call("ADD", conf, at);
        const flush = (chain: string) =>
          backend.apply([{ op: "nft.apply", netns: "host", text: `flush chain ${TABLE} ${chain}\n` }]);
        await flush("postrouting");
        expect((await node.call("CHECK", withPrev(conf, result), at)).error).toMatchObject({
          code: 104,
          msg: `${TABLE} postrouting: no goto masq_checks`,
        });
        await flush("masq_checks");
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.msg).toBe(
          `${TABLE} masq_checks: no masquerade of 10.1.0.2`,
        );
      });

      it("collects the rules of attachments that are not listed, and no other network's", async () => {
        await node.call("ADD", conf, at);
        await node.call("ADD", conf, { id: "c2", netns: await backend.addNetns("pod-2") });
        const other = { ...conf, name: "other", ipam: { ...IPAM, ranges: [[{ subnet: "10.2.0.0/24" }]] } };
        await node.call("ADD", { ...other, bridge: "br1" }, { id: "c3", netns: await backend.addNetns("pod-3") });
        expect((await node.call("GC", gone(conf, ["c2"]))).error.msg).toBe("");
        expect(await checks()).toEqual([expect.stringContaining("id: c2"), expect.stringContaining("id: c3")]);
      });
    });

    describe("portmap", () => {
      const TABLE = "ip cni_hostport";
      const mappings = [
        { hostPort: 8080, containerPort: 80, protocol: "tcp" },
        { hostPort: 5353, containerPort: 53, protocol: "udp", hostIP: "192.168.0.11" },
      ];
      const conf = (prevResult: JsonObject, more: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "portmap",
        backend: "nftables",
        runtimeConfig: { portMappings: mappings },
        prevResult,
        ...more,
      });
      const added = async () => (await node.call("ADD", BRIDGE, at)).result;
      const ports = () => rules(TABLE, "hostports");

      it("forwards ports, and takes that back", async () => {
        const prev = await added();
        const { result, error } = await node.call("ADD", conf(prev), at);
        expect(error.msg).toBe("");
        expect(result).toEqual(prev);
        expect(await ports()).toEqual([
          'tcp dport 8080 dnat to 10.1.0.2:80 comment "c1"',
          'ip daddr 192.168.0.11 udp dport 5353 dnat to 10.1.0.2:53 comment "c1"',
        ]);
        expect(await rules(TABLE, "prerouting")).toEqual(["fib daddr type local jump hostports_all"]);
        expect(await rules(TABLE, "output")).toEqual(["fib daddr type local jump hostports_all"]);
        expect(await rules(TABLE, "hostports_all")).toEqual(["jump hostip_hostports", "jump hostports"]);
        expect(await rules(TABLE, "masquerading")).toEqual([
          'ip saddr 10.1.0.2 ip daddr 10.1.0.2 masquerade comment "c1"',
          'ip saddr 127.0.0.1 ip daddr 10.1.0.2 masquerade comment "c1"',
        ]);
        expect(await node.nat()).toEqual([]);
        expect(await backend.sysctl("host", "net.ipv4.conf.br0.route_localnet")).toBe("1");
        expect((await node.call("CHECK", conf(prev), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) {
          expect((await node.call("DEL", conf(prev), { netns: "" })).exitCode).toBe(0);
          expect([...(await ports()), ...(await rules(TABLE, "masquerading"))]).toEqual([]);
        }
        expect((await node.call("CHECK", conf(prev), at)).error).toMatchObject({
          code: 104,
          msg: `${TABLE} hostports: no tcp dport 8080 dnat to 10.1.0.2:80`,
        });
      });

      it("takes conditions in the words of nftables, which choose it", async () => {
        const more = { backend: null, conditionsV4: ["ip saddr 192.168.0.0/16"] };
        expect((await node.call("ADD", conf(await added(), more), at)).error.msg).toBe("");
        expect(await rules(TABLE, "prerouting")).toEqual([
          "ip saddr 192.168.0.0/16 fib daddr type local jump hostports_all",
        ]);
      });

      it.each<[string, JsonObject, string]>([
        ["conditions of iptables", { conditionsV4: ["-s", "10.0.0.0/8"] }, "conditionsV4: found"],
        ["a chain of iptables", { externalSetMarkChain: "KUBE-MARK-MASQ" }, "externalSetMarkChain: found"],
        ["an unknown backend", { backend: "pf" }, 'backend: found "pf", expected "iptables" or "nftables"'],
      ])("refuses %s", async (_, more, msg) => {
        const { error } = await node.call("ADD", conf(await added(), more), at);
        expect(error.code).toBe(7);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
      });

      it("collects the forwards of containers that are not listed, and no other network's", async () => {
        const prev = await added();
        const one = (hostPort: number, more: JsonObject = {}) =>
          conf(prev, { runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: "tcp" }] }, ...more });
        await node.call("ADD", one(81), at);
        await node.call("ADD", one(82), { ...at, id: "c2" });
        await node.call("ADD", one(83, { name: "other" }), { ...at, id: "c3" });
        expect((await node.call("GC", gone(conf(prev), ["c2"]))).error.msg).toBe("");
        const left = (await ports()).map((rule) => /dport (\d+)/.exec(rule)?.[1]);
        expect(left).toEqual(["82", "83"]);
        expect(await rules(TABLE, "masquerading")).toHaveLength(4);
      });
    });

    describe("macspoofchk", () => {
      const conf = { ...BRIDGE, macspoofchk: true, runtimeConfig: { mac: "0a:58:0a:01:00:09" } };
      const TABLE = "bridge nat";
      const note = 'comment "macspoofchk-c1-eth0"';
      const base = () => rules(TABLE, "PREROUTING");

      it("drops frames of another MAC, and takes that back", async () => {
        const { result, error } = await node.call("ADD", conf, at);
        expect(error.msg).toBe("");
        const port = String((result.interfaces as JsonObject[])[1]?.name);
        expect(await base()).toEqual([`iifname "${port}" jump cni-br-iface-c1-eth0 ${note}`]);
        expect(await rules(TABLE, "cni-br-iface-c1-eth0")).toEqual([`jump cni-br-iface-c1-eth0-mac ${note}`]);
        expect(await rules(TABLE, "cni-br-iface-c1-eth0-mac")).toEqual([
          `ether saddr 0a:58:0a:01:00:09 return ${note}`,
          `drop ${note}`,
        ]);
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) {
          expect(await node.call("DEL", conf, { netns: i === 0 ? (at.netns ?? "") : "" })).toMatchObject({
            exitCode: 0,
          });
          expect(await base()).toEqual([]);
          expect(await backend.nftList("host", { table: TABLE })).not.toContain("cni-br-iface");
        }
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("finds at CHECK that its rules are gone", async () => {
        const { result } = await node.call("ADD", conf, at);
        const text = `flush chain ${TABLE} cni-br-iface-c1-eth0-mac\n`;
        await backend.apply([{ op: "nft.apply", netns: "host", text }]);
        expect((await node.call("CHECK", withPrev(conf, result), at)).error).toMatchObject({
          code: 104,
          msg: `${TABLE} cni-br-iface-c1-eth0-mac: no ether saddr 0a:58:0a:01:00:09 return`,
        });
      });

      it("collects the rules of attachments that are not listed", async () => {
        const { runtimeConfig: _, ...plain } = conf;
        await node.call("ADD", plain, at);
        await node.call("ADD", plain, { id: "c2", netns: await backend.addNetns("pod-2") });
        const other = { ...plain, name: "other", ipam: { ...IPAM, ranges: [[{ subnet: "10.2.0.0/24" }]] } };
        const second = { ...other, bridge: "br1" };
        await node.call("ADD", second, { id: "c3", netns: await backend.addNetns("pod-3") });
        expect((await node.call("GC", gone(plain, ["c2"]))).error.msg).toBe("");
        expect(await base()).toEqual([expect.stringContaining("c2-eth0"), expect.stringContaining("c3-eth0")]);
      });

      it("leaves nothing where a later operation fails", async () => {
        const bad = {
          ...conf,
          ipMasq: true,
          ipMasqBackend: "nftables",
          ipam: { ...IPAM, routes: [{ dst: "10.0.0.0/8", gw: "172.16.0.1" }] },
        };
        expect((await node.call("ADD", bad, at)).error.code).toBe(100);
        expect(await backend.nftList("host")).not.toContain("c1");
        expect(await backend.link("host", "br0")).toBeUndefined();
      });
    });
  });
}
