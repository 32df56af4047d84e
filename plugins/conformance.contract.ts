/**
 * What the plugins do to a node, whichever data plane it has: rows of configurations and calls, and what is there after.
 * It follows the CNI specification 1.1.0; where the reference plugins fall short of it, the specification.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../backend/ops.ts";
import type { RtnlOp } from "../dataplane/netns/rtnl-ops.ts";
import type { JsonObject } from "./cni/types.ts";
import { type CallOptions, TestNode, withPrev } from "./testing.ts";

export type DataPlaneUnderTest = { readonly backend: Backend; readonly dispose: () => Promise<void> };

const DATA = "/var/lib/cni/networks";
const IPAM = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]], routes: [{ dst: "10.0.0.0/8" }] };
const BRIDGE = { cniVersion: "1.1.0", name: "net", type: "bridge", bridge: "br0", isGateway: true, ipam: IPAM };

function bridgeConf(more: JsonObject = {}): JsonObject {
  return { ...BRIDGE, ...more };
}

export function pluginConformance(name: string, open: () => Promise<DataPlaneUnderTest>): void {
  describe(`on ${name}`, () => {
    let plane: DataPlaneUnderTest;
    let backend: Backend;
    let node: TestNode;
    let netns = "";
    let at: CallOptions = {};
    beforeEach(async () => {
      plane = await open();
      backend = plane.backend;
      node = new TestNode(backend);
      netns = await backend.addNetns("pod-1");
      at = { netns };
    });
    afterEach(() => plane.dispose());

    const link = async (where: string, dev: string) => (await backend.links(where)).find((l) => l.name === dev);
    const hostVeths = async () => (await backend.links("host")).filter((l) => l.kind === "veth");
    const addressesOf = async (where: string, dev: string) =>
      (await backend.addrs(where)).filter((a) => a.dev === dev && a.scope !== "link").map((a) => a.address);

    describe("bridge", () => {
      it("wires a container to a new bridge", async () => {
        const { result, error } = await node.call("ADD", bridgeConf({ mtu: 1400 }), at);
        expect(error.msg).toBe("");
        const eth0 = await link(netns, "eth0");
        const [veth] = await hostVeths();
        const br0 = await link("host", "br0");
        expect(eth0).toMatchObject({ kind: "veth", mtu: 1400, up: true, carrier: true });
        expect(veth).toMatchObject({ master: "br0", mtu: 1400, up: true, hairpin: false, isolated: false });
        expect(veth?.name).toMatch(/^veth[0-9a-f]{11}$/);
        expect(br0).toMatchObject({ kind: "bridge", mtu: 1400, up: true });
        expect(await addressesOf(netns, "eth0")).toEqual(["10.1.0.2/24"]);
        expect(await addressesOf("host", "br0")).toEqual(["10.1.0.1/24"]);
        expect(await backend.sysctl("host", "net.ipv4.ip_forward")).toBe("1");
        expect(await backend.sysctl(netns, "net.ipv4.conf.eth0.arp_notify")).toBe("1");
        expect(await backend.routes(netns)).toContainEqual(
          expect.objectContaining({ dst: "10.0.0.0/8", via: "10.1.0.1", dev: "eth0" }),
        );
        expect(result).toEqual({
          cniVersion: "1.1.0",
          interfaces: [
            { name: "br0", mac: br0?.mac, mtu: 1400 },
            { name: veth?.name, mac: veth?.mac, mtu: 1400 },
            { name: "eth0", mac: eth0?.mac, mtu: 1400, sandbox: netns },
          ],
          ips: [{ interface: 2, address: "10.1.0.2/24", gateway: "10.1.0.1" }],
          routes: [{ dst: "10.0.0.0/8" }],
          dns: {},
        });
      });

      it("names and numbers the same again with the same seed", async () => {
        const first = await node.call("ADD", bridgeConf(), at);
        await node.call("DEL", bridgeConf(), at);
        const again = new TestNode(backend);
        await backend.apply([{ op: "link.del", netns: "host", name: "br0" }]);
        expect((await again.call("ADD", bridgeConf(), at)).stdout).toBe(first.stdout);
      });

      it.each(["0.3.1", "0.4.0"])("answers in version %s with the family of each address", async (cniVersion) => {
        const { result } = await node.call("ADD", bridgeConf({ cniVersion }), at);
        expect(result.cniVersion).toBe(cniVersion);
        expect(result.ips).toEqual([{ version: "4", interface: 2, address: "10.1.0.2/24", gateway: "10.1.0.1" }]);
        expect(Object.keys((result.interfaces as JsonObject[])[0] ?? {})).toEqual(["name", "mac"]);
      });

      it("answers in version 1.0.0 without family and mtu", async () => {
        const { result } = await node.call("ADD", bridgeConf({ cniVersion: "1.0.0" }), at);
        expect(result.ips).toEqual([{ interface: 2, address: "10.1.0.2/24", gateway: "10.1.0.1" }]);
        expect(Object.keys((result.interfaces as JsonObject[])[2] ?? {})).toEqual(["name", "mac", "sandbox"]);
      });

      it("sets the port flags, promiscuity and MAC that it is asked for", async () => {
        await node.call(
          "ADD",
          bridgeConf({ hairpinMode: true, portIsolation: true, runtimeConfig: { mac: "0A:58:0a:01:00:09" } }),
          at,
        );
        expect((await hostVeths())[0]).toMatchObject({ hairpin: true, isolated: true });
        expect((await link(netns, "eth0"))?.mac).toBe("0a:58:0a:01:00:09");
        const other = await backend.addNetns("pod-2");
        await node.call("ADD", bridgeConf({ promiscMode: true }), { id: "c2", netns: other });
        expect((await link("host", "br0"))?.promisc).toBe(true);
      });

      it.each([
        [
          "runtimeConfig over args",
          { runtimeConfig: { mac: "0a:00:00:00:00:01" }, args: { cni: { mac: "0a:00:00:00:00:02" } } },
          "0a:00:00:00:00:01",
        ],
        ["args over CNI_ARGS", { args: { cni: { mac: "0a:00:00:00:00:02" } } }, "0a:00:00:00:00:02"],
        ["CNI_ARGS alone", {}, "0a:00:00:00:00:03"],
      ])("takes a MAC from %s", async (_, more, mac) => {
        await node.call("ADD", bridgeConf(more), { ...at, args: "IgnoreUnknown=1;FOO=bar;MAC=0a:00:00:00:00:03" });
        expect((await link(netns, "eth0"))?.mac).toBe(mac);
      });

      it("adds a default route with isDefaultGateway", async () => {
        const { result } = await node.call("ADD", bridgeConf({ isGateway: false, isDefaultGateway: true }), at);
        expect(result.routes).toEqual([{ dst: "10.0.0.0/8" }, { dst: "0.0.0.0/0", gw: "10.1.0.1" }]);
        const routes = await backend.routes(netns);
        expect(routes.find((r) => r.dst === "default" || r.dst === "0.0.0.0/0")).toMatchObject({
          via: "10.1.0.1",
          dev: "eth0",
        });
      });

      it("leaves a default route to IPAM if it gave one", async () => {
        const ipam = { ...IPAM, routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.9" }] };
        const { result, error } = await node.call("ADD", bridgeConf({ isDefaultGateway: true, ipam }), at);
        expect(error.msg).toBe("");
        expect(result.routes).toEqual([{ dst: "0.0.0.0/0", gw: "10.1.0.9" }]);
      });

      it("puts nothing on the bridge without isGateway", async () => {
        await node.call("ADD", bridgeConf({ isGateway: false }), at);
        expect(await addressesOf("host", "br0")).toEqual([]);
        expect(await backend.sysctl("host", "net.ipv4.ip_forward")).toBe("0");
      });

      it("makes a plain layer 2 port without ipam", async () => {
        const { result } = await node.call("ADD", bridgeConf({ ipam: {} }), at);
        expect(result.ips).toBeUndefined();
        expect(await link(netns, "eth0")).toMatchObject({ up: true });
        expect(await addressesOf(netns, "eth0")).toEqual([]);
      });

      it("leaves the container's end down with disableContainerInterface", async () => {
        await node.call("ADD", bridgeConf({ ipam: {}, disableContainerInterface: true }), at);
        expect((await link(netns, "eth0"))?.up).toBe(false);
      });

      it("gives a container a second interface on the same network", async () => {
        const first = await node.call("ADD", bridgeConf({ isDefaultGateway: true }), at);
        const second = await node.call("ADD", bridgeConf({ isDefaultGateway: true }), { ...at, ifname: "eth1" });
        expect([first.error.msg, second.error.msg]).toEqual(["", ""]);
        expect((await node.call("CHECK", withPrev(bridgeConf(), first.result), at)).error.msg).toBe("");
        const check = await node.call("CHECK", withPrev(bridgeConf(), second.result), { ...at, ifname: "eth1" });
        expect(check.error.msg).toBe("");
        await node.call("DEL", bridgeConf(), at);
        expect((await backend.routes(netns)).find((r) => r.via !== undefined)).toMatchObject({ dev: "eth1" });
      });

      it("says its own dns before that of IPAM", async () => {
        await node.host.files.write("/etc/pods.conf", "# pods\nnameserver 10.96.0.10\nsearch a b\noptions ndots:5\n");
        const ipam = { ...IPAM, resolvConf: "/etc/pods.conf" };
        const fromIpam = await node.call("ADD", bridgeConf({ ipam }), at);
        expect(fromIpam.result.dns).toEqual({ nameservers: ["10.96.0.10"], search: ["a", "b"], options: ["ndots:5"] });
        await node.call("DEL", bridgeConf({ ipam }), at);
        const own = await node.call("ADD", bridgeConf({ ipam, dns: { nameservers: ["1.1.1.1"] } }), at);
        expect(own.result.dns).toEqual({ nameservers: ["1.1.1.1"] });
      });

      it("refuses another address on the bridge, and replaces it with forceAddress", async () => {
        await backend.apply([
          { op: "link.add", netns: "host", name: "br0", kind: "bridge", up: true },
          { op: "addr.add", netns: "host", dev: "br0", address: "10.9.0.1/24" },
        ]);
        const refused = await node.call("ADD", bridgeConf(), at);
        expect(refused.error).toMatchObject({
          code: 101,
          msg: "bridge br0: has 10.9.0.1/24, expected 10.1.0.1/24 (forceAddress would replace it)",
        });
        expect(await node.leases(DATA, "net")).toEqual({});
        expect((await node.call("ADD", bridgeConf({ forceAddress: true }), at)).exitCode).toBe(0);
        expect(await addressesOf("host", "br0")).toEqual(["10.1.0.1/24"]);
      });

      it("gives many containers at once an address each on one bridge", async () => {
        const count = 20;
        const spaces = await Promise.all(Array.from({ length: count }, (_, i) => backend.addNetns(`many-${i}`)));
        const answers = await Promise.all(
          spaces.map((s, i) => node.call("ADD", bridgeConf({ ipMasq: true }), { id: `m${i}`, netns: s })),
        );
        expect(answers.map((a) => a.error.msg)).toEqual(new Array(count).fill(""));
        expect(Object.keys(await node.leases(DATA, "net"))).toHaveLength(count);
        expect(await hostVeths()).toHaveLength(count);
        expect(await addressesOf("host", "br0")).toEqual(["10.1.0.1/24"]);
        await Promise.all(
          spaces.map((s, i) => node.call("DEL", bridgeConf({ ipMasq: true }), { id: `m${i}`, netns: s })),
        );
        expect(await node.leases(DATA, "net")).toEqual({});
        expect(await hostVeths()).toEqual([]);
        expect(await node.nat()).toEqual([]);
      });

      it.each<[string, JsonObject, number, string]>([
        ["a bad MTU", { mtu: -1 }, 7, "mtu: found -1, expected a whole number from 0 to 65535"],
        ["a number for a flag", { isGateway: 1 }, 7, "isGateway: found 1, expected true or false"],
        [
          "a long bridge name",
          { bridge: "a-name-of-16-let" },
          7,
          'bridge: found "a-name-of-16-let", expected the name of an interface, at most 15 octets',
        ],
        [
          "hairpin and promiscuous",
          { hairpinMode: true, promiscMode: true },
          7,
          "promiscMode: found true, expected false where hairpinMode is true",
        ],
        [
          "a bad MAC",
          { runtimeConfig: { mac: "xx" } },
          7,
          'runtimeConfig.mac: found "xx", expected a MAC address such as 0a:58:0a:01:00:05',
        ],
        [
          "an unknown backend",
          { ipMasqBackend: "pf" },
          7,
          'ipMasqBackend: found "pf", expected "iptables" or "nftables"',
        ],
        ["an unknown IPAM plugin", { ipam: { type: "dhcp" } }, 105, 'plugin "dhcp": not built in, expected one of'],
        [
          "IPAM without ranges",
          { ipam: { type: "host-local" } },
          7,
          "ipam.ranges: found nothing, expected at least one range set",
        ],
      ])("refuses %s and leaves nothing", async (_, more, code, msg) => {
        const { error, exitCode } = await node.call("ADD", bridgeConf(more), at);
        expect(exitCode).toBe(1);
        expect(error).toMatchObject({ code, cniVersion: "1.1.0" });
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
        expect(await link("host", "br0")).toBeUndefined();
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("refuses a sandbox that is not there", async () => {
        const { error } = await node.call("ADD", bridgeConf(), { netns: "/run/netns/none" });
        expect(error).toMatchObject({
          code: 8,
          msg: 'CNI_NETNS: found "/run/netns/none", expected a network namespace',
        });
      });

      it("refuses an interface that exists, and gives the address back", async () => {
        await node.call("ADD", bridgeConf(), at);
        const { error } = await node.call("ADD", bridgeConf(), { ...at, id: "c2" });
        expect(error).toMatchObject({ code: 101, msg: `sandbox ${netns}: interface eth0 exists already` });
        expect(await node.leases(DATA, "net")).toEqual({ "10.1.0.2": "c1 eth0" });
        expect(await hostVeths()).toHaveLength(1);
      });

      it("refuses a second ADD of one attachment, and leaves the first as it is", async () => {
        await node.call("ADD", bridgeConf(), at);
        const other = await backend.addNetns("pod-2");
        for (const where of [netns, other])
          expect((await node.call("ADD", bridgeConf(), { netns: where })).error.code).toBe(101);
        expect(await node.leases(DATA, "net")).toEqual({ "10.1.0.2": "c1 eth0" });
        expect(await link(netns, "eth0")).toBeDefined();
        expect(await hostVeths()).toHaveLength(1);
      });

      it("leaves nothing of an ADD whose wiring fails", async () => {
        // a route whose gateway cannot be reached is refused after veth, addresses and rules are planned
        const ipam = { ...IPAM, routes: [{ dst: "10.0.0.0/8", gw: "172.16.0.1" }] };
        const { error } = await node.call("ADD", bridgeConf({ ipam, ipMasq: true }), at);
        expect(error.code).toBe(100);
        expect(error.details).toContain("ENETUNREACH");
        expect(await link("host", "br0")).toBeUndefined();
        expect(await hostVeths()).toEqual([]);
        expect(await link(netns, "eth0")).toBeUndefined();
        expect(await node.nat()).toEqual([]);
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("refuses a device of another kind as its bridge", async () => {
        await backend.apply([{ op: "link.add", netns: "host", name: "br0", kind: "veth", peer: { name: "br0-peer" } }]);
        const { error } = await node.call("ADD", bridgeConf(), at);
        expect(error).toMatchObject({ code: 101, msg: "bridge br0: a device of kind veth has that name" });
        expect((await node.call("STATUS", bridgeConf())).error.code).toBe(50);
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("deletes what it added, and again without complaint", async () => {
        const conf = bridgeConf({ ipMasq: true });
        const { result } = await node.call("ADD", conf, at);
        for (let i = 0; i < 2; i++) {
          const { exitCode, stdout } = await node.call("DEL", withPrev(conf, result), at);
          expect([exitCode, stdout]).toEqual([0, ""]);
          expect(await link(netns, "eth0")).toBeUndefined();
          expect(await hostVeths()).toEqual([]);
          expect(await node.nat()).toEqual([]);
          expect(await node.leases(DATA, "net")).toEqual({});
        }
        expect(await link("host", "br0")).toBeDefined();
      });

      it.for([
        ["an empty CNI_NETNS", ""],
        ["a CNI_NETNS that is gone", "/run/netns/gone"],
      ] as const)("deletes lease and rules with %s and no prevResult", async ([, gone]) => {
        const conf = bridgeConf({ ipMasq: true });
        await node.call("ADD", conf, at);
        await backend.delNetns(netns);
        expect((await node.call("DEL", conf, { netns: gone })).exitCode).toBe(0);
        expect(await node.nat()).toEqual([]);
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("deletes although its rules are flushed and prevResult is unreadable", async () => {
        const conf = bridgeConf({ ipMasq: true });
        await node.call("ADD", conf, at);
        await backend.apply([
          { op: "iptables.restore", netns: "host", family: "ipv4", noflush: false, text: "*nat\nCOMMIT\n" },
        ]);
        expect((await node.call("DEL", withPrev(conf, { ips: 7 }), at)).exitCode).toBe(0);
        expect(await node.leases(DATA, "net")).toEqual({});
      });

      it("masquerades what leaves the network", async () => {
        await node.call("ADD", bridgeConf({ ipMasq: true }), at);
        const note = '-m comment --comment "name: \\"net\\" id: \\"c1\\""';
        const rules = await node.nat();
        const chain = rules.map((r) => / -j (CNI-\w+)$/.exec(r)?.[1]).find((c) => c !== undefined) ?? "";
        expect(chain).toMatch(/^CNI-[0-9a-f]{24}$/);
        expect([...rules].sort()).toEqual(
          [
            `-A POSTROUTING -s 10.1.0.2/32 ${note} -j ${chain}`,
            `-A ${chain} ! -d 224.0.0.0/4 ${note} -j MASQUERADE`,
            `-A ${chain} -d 10.1.0.0/24 ${note} -j ACCEPT`,
          ].sort(),
        );
        expect(rules.findIndex((r) => r.endsWith("ACCEPT"))).toBeLessThan(
          rules.findIndex((r) => r.endsWith("MASQUERADE")),
        );
      });

      it("keeps the rules of a container's other interface", async () => {
        const conf = bridgeConf({ ipMasq: true });
        await node.call("ADD", conf, at);
        await node.call("ADD", conf, { ...at, ifname: "eth1" });
        await node.call("DEL", conf, { ...at, ifname: "eth1" });
        expect((await node.nat()).filter((r) => r.startsWith("-A POSTROUTING"))).toEqual([
          expect.stringContaining("-s 10.1.0.2/32"),
        ]);
        expect(await node.nat()).toHaveLength(3);
        await node.call("DEL", conf, at);
        expect(await node.nat()).toEqual([]);
      });

      describe("CHECK", () => {
        const conf = bridgeConf({ ipMasq: true });
        let prev: JsonObject = {};
        beforeEach(async () => {
          prev = (await node.call("ADD", conf, at)).result;
        });
        const check = async () => (await node.call("CHECK", withPrev(conf, prev), at)).error;

        it("is content right after ADD", async () => {
          expect(await check()).toEqual({ code: 0, msg: "" });
        });

        const breakages: [string, () => readonly RtnlOp[], string][] = [
          ["the interface is gone", () => [{ op: "link.del", netns, name: "eth0" }], "interface eth0 is not there"],
          [
            "the interface is down",
            () => [{ op: "link.set", netns, name: "eth0", up: false }],
            "interface eth0: is down",
          ],
          [
            "the MAC changed",
            () => [{ op: "link.set", netns, name: "eth0", mac: "0a:00:00:00:00:77" }],
            "has MAC 0a:00:00:00:00:77",
          ],
          [
            "the address is gone",
            () => [{ op: "addr.del", netns, dev: "eth0", address: "10.1.0.2/24" }],
            "has no address 10.1.0.2/24",
          ],
          [
            "the route is gone",
            () => [{ op: "route.del", netns, dst: "10.0.0.0/8", via: "10.1.0.1", dev: "eth0" }],
            "no route to 10.0.0.0/8",
          ],
          ["the bridge is gone", () => [{ op: "link.del", netns: "host", name: "br0" }], "bridge br0: is not there"],
          [
            "the rules are flushed",
            () => [{ op: "iptables.restore", netns: "host", family: "ipv4", noflush: false, text: "*nat\nCOMMIT\n" }],
            "nat POSTROUTING: no jump from 10.1.0.2/32",
          ],
        ];
        it.for(breakages)("notices that %s", async ([, ops, msg]) => {
          await backend.apply(ops());
          const error = await check();
          expect(error.code).toBe(104);
          expect(error.msg).toContain(msg);
        });

        it("notices that the lease is gone", async () => {
          await node.host.leases(DATA, "net").locked((leases) => leases.release("10.1.0.2"));
          expect(await check()).toMatchObject({ code: 104, msg: "container c1 eth0: no lease in network net" });
        });

        it("tolerates what a later plugin added", async () => {
          await backend.apply([{ op: "addr.add", netns, dev: "eth0", address: "192.168.7.7/24" }]);
          expect((await check()).code).toBe(0);
        });

        it("needs prevResult", async () => {
          expect((await node.call("CHECK", conf, at)).error).toMatchObject({
            code: 7,
            msg: "prevResult: found nothing, expected the result of ADD",
          });
        });
      });

      it("collects leases and rules of attachments that are not listed", async () => {
        const conf = bridgeConf({ ipMasq: true });
        const other = await backend.addNetns("pod-2");
        await node.call("ADD", conf, at);
        await node.call("ADD", conf, { id: "c2", netns: other });
        await node.call(
          "ADD",
          { ...conf, name: "foreign", bridge: "br1", ipam: { type: "host-local", subnet: "10.5.0.0/24" } },
          { id: "c3", netns: other, ifname: "eth1" },
        );
        const answer = await node.call("GC", {
          ...conf,
          "cni.dev/valid-attachments": [{ containerID: "c2", ifname: "eth0" }],
        });
        expect([answer.exitCode, answer.stdout]).toEqual([0, ""]);
        expect(await node.leases(DATA, "net")).toEqual({ "10.1.0.3": "c2 eth0" });
        expect(await node.leases(DATA, "foreign")).toEqual({ "10.5.0.2": "c3 eth1" });
        const sources = (await node.nat()).flatMap((r) => / -s (\S+)/.exec(r)?.[1] ?? []);
        expect(sources.sort()).toEqual(["10.1.0.3/32", "10.5.0.2/32"]);
        const ends = async () =>
          (await backend.links("host")).flatMap((l) => (l.kind === "veth" ? [l.alias] : [])).sort();
        expect(await ends()).toEqual(["podwire:foreign:c3:eth1", "podwire:net:c2:eth0"]);
        await node.call("GC", { ...conf, "cni.dev/valid-attachments": [] });
        expect(await node.leases(DATA, "net")).toEqual({});
        expect((await node.nat()).join("\n")).not.toContain("c2");
        expect(await ends()).toEqual(["podwire:foreign:c3:eth1"]);
      });

      it("reports in STATUS that no address is left", async () => {
        const conf = bridgeConf({ ipam: { type: "host-local", subnet: "10.1.0.0/30" } });
        expect((await node.call("STATUS", conf)).exitCode).toBe(0);
        await node.call("ADD", conf, at);
        expect((await node.call("STATUS", conf)).error).toMatchObject({
          code: 50,
          msg: "range 10.1.0.1-10.1.0.2: no free address (1 of 1 in use)",
        });
        const second = await node.call("ADD", conf, { ...at, id: "c2", ifname: "eth1" });
        expect(second.error).toMatchObject({
          code: 102,
          msg: "range 10.1.0.1-10.1.0.2: no free address (1 of 1 in use)",
        });
      });

      it("wires both families", async () => {
        const ipam = { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00:1::/64" }]] };
        const conf = bridgeConf({ isDefaultGateway: true, ipMasq: true, ipam });
        const { result, error } = await node.call("ADD", conf, at);
        expect(error.msg).toBe("");
        expect(result.ips).toEqual([
          { interface: 2, address: "10.1.0.2/24", gateway: "10.1.0.1" },
          { interface: 2, address: "fd00:1::2/64", gateway: "fd00:1::1" },
        ]);
        expect(result.routes).toEqual([
          { dst: "0.0.0.0/0", gw: "10.1.0.1" },
          { dst: "::/0", gw: "fd00:1::1" },
        ]);
        expect(await addressesOf("host", "br0")).toEqual(["10.1.0.1/24", "fd00:1::1/64"]);
        expect(await backend.sysctl("host", "net.ipv6.conf.all.forwarding")).toBe("1");
        expect(await backend.sysctl(netns, "net.ipv6.conf.eth0.accept_dad")).toBe("0");
        expect(await node.nat("ipv6")).toContainEqual(expect.stringContaining("! -d ff00::/8"));
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.msg).toBe("");
        await node.call("DEL", conf, { netns: "" });
        expect([await node.nat(), await node.nat("ipv6")]).toEqual([[], []]);
      });
    });

    describe("loopback", () => {
      const conf = { cniVersion: "1.0.0", name: "lo", type: "loopback" };

      it("brings lo up and tells its addresses", async () => {
        const { result } = await node.call("ADD", conf, { ...at, ifname: "lo" });
        expect((await link(netns, "lo"))?.up).toBe(true);
        expect(result.interfaces).toEqual([{ name: "lo", mac: "00:00:00:00:00:00", sandbox: netns }]);
        expect(result.ips).toContainEqual({ interface: 0, address: "127.0.0.1/8" });
        expect((await node.call("CHECK", withPrev(conf, result), at)).exitCode).toBe(0);
      });

      it("tells the family in old versions, and passes prevResult on", async () => {
        const { result } = await node.call("ADD", { ...conf, cniVersion: "0.3.1" }, at);
        expect(result.ips).toContainEqual({ version: "4", interface: 0, address: "127.0.0.1/8" });
        const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.9.0.2/24" }], dns: {} };
        expect((await node.call("ADD", withPrev(conf, prevResult), at)).result).toEqual(prevResult);
      });

      it("takes lo down, and a missing sandbox without complaint", async () => {
        const { result } = await node.call("ADD", conf, at);
        expect((await node.call("DEL", conf, at)).exitCode).toBe(0);
        expect((await link(netns, "lo"))?.up).toBe(false);
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.code).toBe(104);
        expect((await node.call("DEL", conf, { netns: "" })).exitCode).toBe(0);
        expect((await node.call("DEL", conf, { netns: "/run/netns/gone" })).exitCode).toBe(0);
      });
    });

    describe("portmap", () => {
      const mappings = [
        { hostPort: 8080, containerPort: 80, protocol: "tcp" },
        { hostPort: 5353, containerPort: 53, protocol: "UDP", hostIP: "192.168.0.11" },
      ];
      const conf = { cniVersion: "1.1.0", name: "net", type: "portmap", runtimeConfig: { portMappings: mappings } };
      let prev: JsonObject = {};
      beforeEach(async () => {
        prev = (await node.call("ADD", bridgeConf(), at)).result;
      });
      const chainOf = (rules: readonly string[]) =>
        rules.map((r) => /-j (CNI-DN-\w+)/.exec(r)?.[1]).find((c) => c !== undefined) ?? "";

      it("forwards ports and passes the result on", async () => {
        const { result, error } = await node.call("ADD", withPrev(conf, prev), at);
        expect(error.msg).toBe("");
        expect(result).toEqual(prev);
        const rules = await node.nat();
        const chain = chainOf(rules);
        expect(chain).toMatch(/^CNI-DN-[0-9a-f]{21}$/);
        const of = (name: string) =>
          rules.filter((r) => r.startsWith(`-A ${name} `)).map((r) => r.slice(4 + name.length));
        const note = '-m comment --comment "dnat name: \\"net\\" id: \\"c1\\""';
        expect(of("PREROUTING")).toEqual(["-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"]);
        expect(of("OUTPUT")).toEqual(["-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"]);
        expect(of("CNI-HOSTPORT-DNAT")).toEqual([
          `-p tcp ${note} -m multiport --dports 8080 -j ${chain}`,
          `-p udp ${note} -m multiport --dports 5353 -j ${chain}`,
        ]);
        expect(of(chain)).toEqual([
          "-s 10.1.0.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
          "-s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
          "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80",
          "-s 10.1.0.0/24 -d 192.168.0.11/32 -p udp -m udp --dport 5353 -j CNI-HOSTPORT-SETMARK",
          "-s 127.0.0.1/32 -d 192.168.0.11/32 -p udp -m udp --dport 5353 -j CNI-HOSTPORT-SETMARK",
          "-d 192.168.0.11/32 -p udp -m udp --dport 5353 -j DNAT --to-destination 10.1.0.2:53",
        ]);
        expect(of("CNI-HOSTPORT-SETMARK")).toEqual([
          '-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000',
        ]);
        expect(of("CNI-HOSTPORT-MASQ")).toEqual(["-m mark --mark 0x2000/0x2000 -j MASQUERADE"]);
        expect(of("POSTROUTING")).toEqual([
          '-m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
        ]);
        expect(await backend.sysctl("host", "net.ipv4.conf.br0.route_localnet")).toBe("1");
      });

      it("matches at most fifteen ports a rule", async () => {
        const many = Array.from({ length: 40 }, (_, i) => ({ hostPort: 9000 + i, containerPort: 80 }));
        await node.call("ADD", { ...withPrev(conf, prev), runtimeConfig: { portMappings: many } }, at);
        const entries = (await node.nat()).filter((r) => r.startsWith("-A CNI-HOSTPORT-DNAT "));
        expect(entries.map((r) => /--dports (\S+)/.exec(r)?.[1]?.split(",").length)).toEqual([15, 15, 10]);
      });

      it("does nothing without mappings", async () => {
        const { result } = await node.call("ADD", { ...withPrev(conf, prev), runtimeConfig: {} }, at);
        expect(result).toEqual(prev);
        expect(await node.nat()).toEqual([]);
      });

      it("shares its chains when many come at once", async () => {
        const ids = Array.from({ length: 8 }, (_, i) => `p${i}`);
        const answers = await Promise.all(
          ids.map((id, i) =>
            node.call(
              "ADD",
              { ...withPrev(conf, prev), runtimeConfig: { portMappings: [{ hostPort: 7000 + i, containerPort: 80 }] } },
              { ...at, id },
            ),
          ),
        );
        expect(answers.map((a) => a.error.msg)).toEqual(ids.map(() => ""));
        const rules = await node.nat();
        expect(rules.filter((r) => r.startsWith("-A PREROUTING "))).toHaveLength(1);
        expect(rules.filter((r) => r.startsWith("-A CNI-HOSTPORT-DNAT "))).toHaveLength(8);
      });

      it("is checked, deleted with an empty netns, and deleted again", async () => {
        await node.call("ADD", withPrev(conf, prev), at);
        expect((await node.call("CHECK", withPrev(conf, prev), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) {
          expect((await node.call("DEL", conf, { netns: "" })).exitCode).toBe(0);
          expect((await node.nat()).join("\n")).not.toContain("CNI-DN-");
        }
        expect((await node.call("CHECK", withPrev(conf, prev), at)).error).toMatchObject({
          code: 104,
          msg: expect.stringContaining("nat CNI-HOSTPORT-DNAT: no jump to CNI-DN-"),
        });
      });

      it("collects the rules of containers that are not listed", async () => {
        await node.call("ADD", withPrev(conf, prev), at);
        await node.call(
          "ADD",
          { ...withPrev(conf, prev), runtimeConfig: { portMappings: [{ hostPort: 81, containerPort: 80 }] } },
          { ...at, id: "c2" },
        );
        await node.call("GC", { ...conf, "cni.dev/valid-attachments": [{ containerID: "c2", ifname: "eth0" }] });
        const entries = (await node.nat()).filter((r) => r.startsWith("-A CNI-HOSTPORT-DNAT "));
        expect(entries).toEqual([expect.stringContaining("--dports 81 ")]);
      });

      it.each<[string, JsonObject, number, string]>([
        ["no prevResult", { prevResult: null }, 7, "prevResult: found nothing"],
        [
          "a host port of 0",
          { runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 1 }] } },
          7,
          "runtimeConfig.portMappings[0].hostPort: found 0",
        ],
        [
          "no container port",
          { runtimeConfig: { portMappings: [{ hostPort: 1 }] } },
          7,
          "runtimeConfig.portMappings[0].containerPort: found nothing",
        ],
        [
          "an unknown protocol",
          { runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, protocol: "icmp" }] } },
          7,
          'runtimeConfig.portMappings[0].protocol: found "icmp"',
        ],
        [
          "a bad host address",
          { runtimeConfig: { portMappings: [{ hostPort: 1, containerPort: 1, hostIP: "x" }] } },
          7,
          'runtimeConfig.portMappings[0].hostIP: found "x"',
        ],
        ["a mark bit of 32", { markMasqBit: 32 }, 7, "markMasqBit: found 32"],
        ["an unknown backend", { backend: "pf" }, 7, 'backend: found "pf", expected "iptables" or "nftables"'],
      ])("refuses %s", async (_, more, code, msg) => {
        const { error } = await node.call("ADD", { ...withPrev(conf, prev), ...more }, at);
        expect(error.code).toBe(code);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
      });
    });

    describe("flannel", () => {
      const ENV =
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
      const FILE = "/run/flannel/subnet.env";
      const conf = {
        cniVersion: "1.1.0",
        name: "cbr0",
        type: "flannel",
        delegate: { hairpinMode: true, isDefaultGateway: true },
      };
      beforeEach(() => node.host.files.write(FILE, ENV));
      const kept = async () => node.host.files.list("/var/lib/cni/flannel");

      it("delegates to a bridge with the node's subnet", async () => {
        const { result, error } = await node.call("ADD", conf, at);
        expect(error.msg).toBe("");
        expect(result.ips).toEqual([{ interface: 2, address: "10.244.1.2/24", gateway: "10.244.1.1" }]);
        expect(result.routes).toEqual([{ dst: "10.244.0.0/16" }, { dst: "0.0.0.0/0", gw: "10.244.1.1" }]);
        expect(await link("host", "cni0")).toMatchObject({ kind: "bridge", mtu: 1450 });
        expect((await hostVeths())[0]).toMatchObject({ hairpin: true, mtu: 1450 });
        expect(await addressesOf("host", "cni0")).toEqual(["10.244.1.1/24"]);
        expect(JSON.parse((await node.host.files.read("/var/lib/cni/flannel/c1")) ?? "")).toEqual({
          cniVersion: "1.1.0",
          name: "cbr0",
          type: "bridge",
          hairpinMode: true,
          isDefaultGateway: true,
          isGateway: true,
          ipMasq: false,
          mtu: 1450,
          ipam: { type: "host-local", ranges: [[{ subnet: "10.244.1.0/24" }]], routes: [{ dst: "10.244.0.0/16" }] },
        });
      });

      it("checks and deletes with the configuration that it kept, even if the subnet changed", async () => {
        const { result } = await node.call("ADD", conf, at);
        await node.host.files.write(FILE, ENV.replace("10.244.1.1", "10.244.9.1"));
        expect((await node.call("CHECK", withPrev(conf, result), at)).error.msg).toBe("");
        expect((await node.call("DEL", conf, at)).exitCode).toBe(0);
        expect(await node.leases(DATA, "cbr0")).toEqual({});
        expect(await hostVeths()).toEqual([]);
        expect(await kept()).toEqual([]);
        expect((await node.call("DEL", conf, at)).exitCode).toBe(0);
      });

      it("deletes without the kept file, and without the subnet too", async () => {
        await node.call("ADD", conf, at);
        await node.host.files.remove("/var/lib/cni/flannel/c1");
        expect((await node.call("DEL", conf, at)).exitCode).toBe(0);
        expect(await node.leases(DATA, "cbr0")).toEqual({});
        await node.host.files.remove(FILE);
        await node.host.files.write("/var/lib/cni/flannel/c1", "{oops");
        expect((await node.call("DEL", conf, at)).exitCode).toBe(0);
        expect(await kept()).toEqual([]);
      });

      it("keeps nothing of an ADD that failed", async () => {
        await node.call("ADD", conf, at);
        const { error } = await node.call("ADD", conf, { ...at, id: "c2" });
        expect(error.code).toBe(101);
        expect(await kept()).toEqual(["c1"]);
        expect(Object.values(await node.leases(DATA, "cbr0"))).toEqual(["c1 eth0"]);
      });

      it("collects leases and kept files of containers that are not listed", async () => {
        const other = await backend.addNetns("pod-2");
        await node.call("ADD", conf, at);
        await node.call("ADD", conf, { id: "c2", netns: other });
        const { error } = await node.call("GC", {
          ...conf,
          "cni.dev/valid-attachments": [{ containerID: "c2", ifname: "eth0" }],
        });
        expect(error.msg).toBe("");
        expect(Object.values(await node.leases(DATA, "cbr0"))).toEqual(["c2 eth0"]);
        expect(await kept()).toEqual(["c2"]);
      });

      it("asks to try again while the agent has no subnet, and says so in STATUS", async () => {
        expect((await node.call("STATUS", conf)).exitCode).toBe(0);
        await node.host.files.remove(FILE);
        expect((await node.call("ADD", conf, at)).error).toMatchObject({
          code: 11,
          msg: expect.stringContaining(`${FILE}: no such file`),
        });
        expect((await node.call("STATUS", conf)).error.code).toBe(50);
      });

      it.each<[string, string, JsonObject, string]>([
        [
          "a file without keys",
          "FLANNEL_NETWORK=10.244.0.0/16\n",
          {},
          `${FILE}: is missing FLANNEL_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ`,
        ],
        [
          "a bad subnet",
          ENV.replace("10.244.1.1/24", "10.244.1.1"),
          {},
          `${FILE}: FLANNEL_SUBNET: found "10.244.1.1", expected a prefix`,
        ],
        ["a bad MTU", ENV.replace("1450", "big"), {}, `${FILE}: FLANNEL_MTU: found "big", expected a number of octets`],
        ["a delegate with a name", ENV, { delegate: { name: "x" } }, 'delegate.name: found "x", expected nothing'],
        ["a delegate with ipam", ENV, { delegate: { ipam: {} } }, "delegate.ipam: found {}, expected nothing"],
        ["a delegate of the wrong type", ENV, { delegate: "bridge" }, 'delegate: found "bridge", expected an object'],
      ])("refuses %s", async (_, env, more, msg) => {
        await node.host.files.write(FILE, env);
        const { error } = await node.call("ADD", { ...conf, ...more }, at);
        expect(error.code).toBe(7);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
        expect(await kept()).toEqual([]);
      });

      it("lets the delegate's own values win", async () => {
        const { error } = await node.call("ADD", { ...conf, delegate: { bridge: "br7", mtu: 1300, ipMasq: true } }, at);
        expect(error.msg).toBe("");
        expect(await link("host", "br7")).toMatchObject({ mtu: 1300 });
        expect(await node.nat()).toHaveLength(3);
      });
    });
  });
}
