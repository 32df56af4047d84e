/** The cases of `conformance.contract.ts` go on: ptp, static, firewall and tuning, on whichever data plane. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../backend/ops.ts";
import type { JsonObject } from "./cni/types.ts";
import type { DataPlaneUnderTest } from "./conformance.contract.ts";
import { type CallOptions, TestNode, withPrev } from "./testing.ts";

export function otherPluginsConformance(name: string, open: () => Promise<DataPlaneUnderTest>): void {
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

    const links = async (where: string) => (await backend.links(where)).filter((l) => l.kind !== "loopback");
    const filter = async () =>
      (await backend.iptablesSave("host", "ipv4", "filter")).split("\n").filter((line) => line.startsWith("-A "));

    describe("static", () => {
      const ipam = (more: JsonObject = {}): JsonObject => ({
        type: "static",
        addresses: [{ address: "10.3.0.5/24", gateway: "10.3.0.1" }],
        routes: [{ dst: "10.0.0.0/8" }],
        dns: { nameservers: ["10.96.0.10"] },
        ...more,
      });
      const conf = (more: JsonObject = {}, own: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "static",
        ipam: ipam(own),
        ...more,
      });

      it("gives what the configuration names, in every version", async () => {
        for (const cniVersion of ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
          const { result } = await node.call("ADD", conf({ cniVersion }), at);
          const version = cniVersion.startsWith("0.") ? { version: "4" } : {};
          expect(result).toMatchObject({
            cniVersion,
            ips: [{ ...version, address: "10.3.0.5/24", gateway: "10.3.0.1" }],
            routes: [{ dst: "10.0.0.0/8" }],
            dns: { nameservers: ["10.96.0.10"] },
          });
          expect(result.interfaces).toBeUndefined();
        }
      });

      it.each<[string, JsonObject, string, JsonObject[]]>([
        [
          "CNI_ARGS beside the configuration",
          {},
          "IP=10.3.0.6/24;GATEWAY=10.3.0.254",
          [
            { address: "10.3.0.5/24", gateway: "10.3.0.254" },
            { address: "10.3.0.6/24", gateway: "10.3.0.254" },
          ],
        ],
        [
          "args over CNI_ARGS",
          { args: { cni: { ips: ["10.3.0.7/24"] } } },
          "IP=10.3.0.6/24",
          [{ address: "10.3.0.7/24" }],
        ],
        [
          "runtimeConfig over args",
          { runtimeConfig: { ips: ["10.3.0.8/24"] }, args: { cni: { ips: ["10.3.0.7/24"] } } },
          "",
          [{ address: "10.3.0.8/24" }],
        ],
      ])("takes addresses from %s", async (_, more, args, ips) => {
        expect((await node.call("ADD", conf(more), { ...at, args })).result.ips).toEqual(ips);
      });

      it.each<[string, JsonObject, string]>([
        ["no address", { addresses: [] }, "ipam.addresses: found nothing"],
        [
          "an address without its length",
          { addresses: [{ address: "10.3.0.5" }] },
          'ipam.addresses[0].address: found "10.3.0.5"',
        ],
        [
          "a gateway of another family",
          { addresses: [{ address: "10.3.0.5/24", gateway: "fd00::1" }] },
          'ipam.addresses[0].gateway: found "fd00::1"',
        ],
      ])("refuses %s", async (_, own, msg) => {
        const { error } = await node.call("ADD", conf({}, own), at);
        expect(error.code).toBe(7);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
      });

      it("serves a bridge", async () => {
        const bridge = { cniVersion: "1.1.0", name: "net", type: "bridge", bridge: "br0", ipam: ipam() };
        const { result } = await node.call("ADD", bridge, at);
        expect(result.ips).toEqual([{ interface: 2, address: "10.3.0.5/24", gateway: "10.3.0.1" }]);
        expect((await node.call("CHECK", withPrev(bridge, result), at)).error.msg).toBe("");
        expect((await node.call("DEL", withPrev(bridge, result), at)).exitCode).toBe(0);
      });
    });

    describe("bandwidth", () => {
      const BRIDGE: JsonObject = {
        cniVersion: "1.1.0",
        name: "net",
        type: "bridge",
        bridge: "br0",
        mtu: 1400,
        ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }]] },
      };
      const LIMITS = { ingressRate: 8_000_000, ingressBurst: 80_000, egressRate: 16_000_000, egressBurst: 160_000 };
      const [DOWN, UP] = [
        { kind: "tbf", rate: 1_000_000, burst: 10_000, limit: 35_000 },
        { kind: "tbf", rate: 2_000_000, burst: 20_000, limit: 70_000 },
      ];
      const conf = (prevResult: JsonObject, bandwidth: JsonObject = LIMITS, more: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "bandwidth",
        runtimeConfig: { bandwidth },
        prevResult,
        ...more,
      });
      const ifbs = async () => (await links("host")).filter((l) => l.kind === "ifb");
      const added = async (ifname = "eth0") => {
        const { result } = await node.call("ADD", BRIDGE, { ...at, ifname });
        return result;
      };
      const hostIfname = (result: JsonObject) => String((result.interfaces as JsonObject[])[1]?.name);

      it("limits both directions", async () => {
        const prev = await added();
        const { result, error } = await node.call("ADD", conf(prev), at);
        expect(error.msg).toBe("");
        const [ifb] = await ifbs();
        expect(ifb).toMatchObject({ name: expect.stringMatching(/^bwp[0-9a-f]{12}$/), up: true, mtu: 1400 });
        const veth = hostIfname(prev);
        const shown = await backend.qdiscs("host");
        expect(shown).toHaveLength(3);
        expect(shown).toContainEqual(expect.objectContaining({ dev: veth, ...DOWN }));
        expect(shown).toContainEqual(expect.objectContaining({ dev: ifb?.name, ...UP }));
        expect(shown).toContainEqual({ dev: veth, kind: "ingress", redirect: ifb?.name });
        const own = { name: ifb?.name, mac: ifb?.mac, mtu: 1400 };
        expect(result).toEqual({ ...prev, interfaces: [...(prev.interfaces as JsonObject[]), own] });
        expect((await node.call("CHECK", conf(result), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) {
          expect(await node.call("DEL", conf(result), at)).toMatchObject({ exitCode: 0, stdout: "" });
          expect(await ifbs()).toEqual([]);
          expect(await backend.qdiscs("host")).toEqual([]);
        }
      });

      it("limits one direction alone", async () => {
        const prev = await added();
        const down = { ingressRate: 8_000_000, ingressBurst: 80_000 };
        const { result } = await node.call("ADD", conf(prev, down), at);
        expect(result).toEqual(prev);
        expect(await backend.qdiscs("host")).toMatchObject([{ dev: hostIfname(prev), ...DOWN }]);
        expect((await node.call("CHECK", conf(result, down), at)).error.msg).toBe("");
      });

      it("takes the configuration's own limits before those of the runtime", async () => {
        const prev = await added();
        await node.call("ADD", conf(prev, LIMITS, { ingressRate: 800, ingressBurst: 8000 }), at);
        expect(await backend.qdiscs("host")).toMatchObject([{ kind: "tbf", rate: 100, burst: 1000, limit: 1002 }]);
      });

      it("changes nothing without limits", async () => {
        const prev = await added();
        for (const none of [{}, { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 }]) {
          const { result } = await node.call("ADD", conf(prev, none), at);
          expect(result).toEqual(prev);
          expect((await node.call("CHECK", conf(prev, none), at)).error.msg).toBe("");
        }
        expect(await backend.qdiscs("host")).toEqual([]);
      });

      it("limits a second interface of a container too", async () => {
        const second = { ...at, ifname: "eth1" };
        const one = (await node.call("ADD", conf(await added()), at)).result;
        const two = (await node.call("ADD", conf(await added("eth1")), second)).result;
        expect(await ifbs()).toHaveLength(2);
        await node.call("DEL", conf(one), at);
        expect(await ifbs()).toHaveLength(1);
        expect((await node.call("CHECK", conf(two), second)).error.msg).toBe("");
        await node.call("DEL", conf(two), second);
        expect(await ifbs()).toEqual([]);
      });

      it("finds at CHECK what somebody changed", async () => {
        const prev = await added();
        const { result } = await node.call("ADD", conf(prev), at);
        const check = () => node.call("CHECK", conf(result), at);
        const other = { ...LIMITS, ingressRate: 4_000_000 };
        expect((await node.call("CHECK", conf(result, other), at)).error.code).toBe(104);
        await backend.apply([{ op: "qdisc.del", netns: "host", dev: hostIfname(prev), kind: "ingress" }]);
        expect((await check()).error.msg).toContain("is not redirected to bwp");
        await backend.apply([{ op: "link.del", netns: "host", name: (await ifbs())[0]?.name ?? "" }]);
        expect((await check()).error.msg).toBe("ifb device of eth0: is not there");
        await backend.apply([{ op: "qdisc.del", netns: "host", dev: hostIfname(prev), kind: "tbf" }]);
        expect((await check()).error.msg).toContain("found nothing, expected rate 1000000 burst 10000 limit 35000");
      });

      it("deletes without a namespace and without a result", async () => {
        await node.call("ADD", conf(await added()), at);
        await backend.delNetns(netns);
        const { prevResult: _, ...bare } = conf({});
        expect((await node.call("DEL", bare, { netns: "" })).exitCode).toBe(0);
        expect(await ifbs()).toEqual([]);
      });

      it("collects the devices of dead attachments, and half made ones, but nobody else's", async () => {
        await node.call("ADD", conf(await added()), at);
        const second = { ...at, ifname: "eth1" };
        await node.call("ADD", conf(await added("eth1")), second);
        await backend.apply([
          { op: "link.add", netns: "host", name: "bwp0123456789ab", kind: "ifb" },
          { op: "link.add", netns: "host", name: "ifb7", kind: "ifb" },
        ]);
        const { prevResult: _, ...bare } = conf({});
        const valid = [{ containerID: "c1", ifname: "eth1" }];
        const gc = (name: string) => node.call("GC", { ...bare, name, "cni.dev/valid-attachments": valid });
        expect((await gc("net")).error.msg).toBe("");
        const kept = (await ifbs()).map((l) => l.alias || l.name).sort();
        expect(kept).toEqual(["ifb7", "podwire:net:c1:eth1"]);
        await gc("other");
        expect(await ifbs()).toHaveLength(2);
      });

      it.each<[string, JsonObject, number, string]>([
        [
          "a rate without a burst",
          { ingressRate: 8000 },
          7,
          "runtimeConfig.bandwidth.ingressBurst: found nothing, expected at least 8 bits where ingressRate is given",
        ],
        ["a burst without a rate", { egressBurst: 8000 }, 7, "runtimeConfig.bandwidth.egressRate: found nothing"],
        ["a rate of some bits", { egressRate: 7, egressBurst: 8000 }, 7, "runtimeConfig.bandwidth.egressRate: found 7"],
        ["a negative rate", { egressRate: -1, egressBurst: 1 }, 7, "runtimeConfig.bandwidth.egressRate: found -1"],
        [
          "a burst beyond the kernel's",
          { egressRate: 8, egressBurst: 34_359_738_368 },
          7,
          "runtimeConfig.bandwidth.egressBurst: found 34359738368, expected less than 32 Gbit",
        ],
      ])("refuses %s", async (_, limits, code, msg) => {
        const { error } = await node.call("ADD", conf(await added(), limits), at);
        expect(error.code).toBe(code);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
        expect(await backend.qdiscs("host")).toEqual([]);
      });

      it("refuses subnets, and a list in which nobody made a veth", async () => {
        const prev = await added();
        const subnets = conf(prev, LIMITS, { unshapedSubnets: ["10.0.0.0/8"] });
        expect((await node.call("ADD", subnets, at)).error).toMatchObject({ code: 2 });
        const none = conf({ cniVersion: "1.1.0", interfaces: [] });
        expect((await node.call("ADD", none, at)).error).toMatchObject({ code: 7 });
        expect(await backend.qdiscs("host")).toEqual([]);
      });
    });

    describe("ptp", () => {
      const conf = (more: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "ptp",
        mtu: 1400,
        ipMasq: true,
        ipam: { type: "host-local", subnet: "10.4.0.0/24", routes: [{ dst: "0.0.0.0/0" }] },
        ...more,
      });

      it("routes between the host and a container", async () => {
        const { result, error } = await node.call("ADD", conf(), at);
        expect(error.msg).toBe("");
        const [outside] = await links("host");
        expect(outside).toMatchObject({ kind: "veth", mtu: 1400, up: true, master: null });
        expect(result).toMatchObject({
          interfaces: [
            { name: outside?.name, mtu: 1400 },
            { name: "eth0", mtu: 1400, sandbox: netns },
          ],
          ips: [{ interface: 1, address: "10.4.0.2/24", gateway: "10.4.0.1" }],
          routes: [{ dst: "0.0.0.0/0" }],
        });
        expect((await backend.addrs("host", outside?.name)).map((a) => a.address)).toContain("10.4.0.1/32");
        expect(await backend.routes("host")).toContainEqual(
          expect.objectContaining({ dst: "10.4.0.2/32", dev: outside?.name }),
        );
        const routes = await backend.routes(netns);
        expect(routes).toContainEqual(expect.objectContaining({ dst: "10.4.0.1/32", dev: "eth0", scope: "link" }));
        expect(routes.filter((r) => r.dst === "10.4.0.0/24")).toEqual([
          expect.objectContaining({ via: "10.4.0.1", dev: "eth0", src: "10.4.0.2" }),
        ]);
        expect(routes.find((r) => r.dst === "default" || r.dst === "0.0.0.0/0")).toMatchObject({ via: "10.4.0.1" });
        expect(await backend.sysctl("host", "net.ipv4.ip_forward")).toBe("1");
        expect((await node.nat()).join("\n")).toContain("-s 10.4.0.2/32");
        expect((await node.call("CHECK", withPrev(conf(), result), at)).error.msg).toBe("");
      });

      it("routes IPv6", async () => {
        const ipam = { type: "host-local", subnet: "fd00:4::/64", routes: [{ dst: "::/0" }] };
        const { result, error } = await node.call("ADD", conf({ ipam }), at);
        expect(error.msg).toBe("");
        expect(await backend.routes("host")).toContainEqual(expect.objectContaining({ dst: "fd00:4::2/128" }));
        expect((await backend.routes(netns)).find((r) => r.dst === "::/0")).toMatchObject({ via: "fd00:4::1" });
        expect((await node.call("CHECK", withPrev(conf({ ipam }), result), at)).error.msg).toBe("");
      });

      it("is deleted with all that it made, and again", async () => {
        for (const where of [netns, ""]) {
          await node.call("ADD", conf(), at);
          if (where === "") await backend.apply([{ op: "link.del", netns, name: "eth0" }]);
          for (let i = 0; i < 2; i++) expect((await node.call("DEL", conf(), { netns: where })).error.msg).toBe("");
          expect(await links("host")).toEqual([]);
          expect(await links(netns)).toEqual([]);
          expect(await node.nat()).toEqual([]);
          expect(await node.leases("/var/lib/cni/networks", "net")).toEqual({});
        }
      });

      it("notices that a route is gone, and leaves nothing of an ADD that fails", async () => {
        const { result } = await node.call("ADD", conf(), at);
        const dev = (await links("host"))[0]?.name ?? "";
        await backend.apply([{ op: "route.del", netns: "host", dst: "10.4.0.2/32", dev }]);
        expect((await node.call("CHECK", withPrev(conf(), result), at)).error).toMatchObject({
          code: 104,
          msg: "host: no route to 10.4.0.2/32",
        });
        const again = await node.call("ADD", conf(), { ...at, id: "c2" });
        expect(again.error.code).toBe(101);
        expect(Object.values(await node.leases("/var/lib/cni/networks", "net"))).toEqual(["c1 eth0"]);
      });
    });

    describe("firewall", () => {
      const prev = {
        cniVersion: "1.1.0",
        interfaces: [{ name: "br0" }, { name: "veth0" }, { name: "eth0", sandbox: "/x" }],
        ips: [{ address: "10.5.0.2/24", interface: 2 }],
        dns: {},
      };
      const conf = (more: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "firewall",
        prevResult: prev,
        ...more,
      });

      it("lets a container's traffic through, and takes that back", async () => {
        const { result, error } = await node.call("ADD", conf(), at);
        expect(error.msg).toBe("");
        expect(result).toEqual(prev);
        await node.call("ADD", conf({ prevResult: { ...prev, ips: [{ address: "10.5.0.3/24" }] } }), {
          ...at,
          id: "c2",
        });
        expect(await filter()).toEqual([
          '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
          '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
          "-A CNI-FORWARD -d 10.5.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
          "-A CNI-FORWARD -s 10.5.0.2/32 -j ACCEPT",
          "-A CNI-FORWARD -d 10.5.0.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
          "-A CNI-FORWARD -s 10.5.0.3/32 -j ACCEPT",
        ]);
        expect((await node.call("CHECK", conf(), at)).error.msg).toBe("");
        for (let i = 0; i < 2; i++) expect((await node.call("DEL", conf(), { netns: "" })).exitCode).toBe(0);
        expect((await filter()).join("\n")).not.toContain("10.5.0.2");
        expect((await filter()).join("\n")).toContain("10.5.0.3");
        expect((await node.call("CHECK", conf(), at)).error).toMatchObject({
          code: 104,
          msg: expect.stringContaining("filter: is missing -A CNI-FORWARD -d 10.5.0.2/32"),
        });
      });

      it("keeps containers of a bridge apart with ingressPolicy isolated", async () => {
        expect((await node.call("ADD", conf({ ingressPolicy: "isolated" }), at)).error.msg).toBe("");
        const note = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)"';
        const rules = await filter();
        expect(rules.filter((rule) => rule.startsWith("-A CNI-ISOLATION-STAGE-1 "))).toEqual([
          `-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 ${note} -j DROP`,
          `-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 ${note} -j CNI-ISOLATION-STAGE-2`,
          `-A CNI-ISOLATION-STAGE-1 ${note} -j RETURN`,
        ]);
        expect((await node.call("CHECK", conf({ ingressPolicy: "isolated" }), at)).error.msg).toBe("");
        expect((await node.call("DEL", conf({ ingressPolicy: "isolated" }), at)).exitCode).toBe(0);
        expect((await filter()).join("\n")).not.toContain("-s 10.1.0.2/32");
      });

      it("keeps other bridges out with ingressPolicy same-bridge, once for all containers", async () => {
        for (const id of ["c1", "c2"]) await node.call("ADD", conf({ ingressPolicy: "same-bridge" }), { ...at, id });
        const note = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)"';
        const of = async (chain: string) => (await filter()).filter((rule) => rule.startsWith(`-A ${chain} `));
        expect((await of("FORWARD"))[0]).toContain("-j CNI-ISOLATION-STAGE-1");
        expect(await of("CNI-ISOLATION-STAGE-1")).toEqual([
          `-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 ${note} -j CNI-ISOLATION-STAGE-2`,
          `-A CNI-ISOLATION-STAGE-1 ${note} -j RETURN`,
        ]);
        expect(await of("CNI-ISOLATION-STAGE-2")).toEqual([
          `-A CNI-ISOLATION-STAGE-2 -o br0 ${note} -j DROP`,
          `-A CNI-ISOLATION-STAGE-2 ${note} -j RETURN`,
        ]);
        expect((await node.call("CHECK", conf({ ingressPolicy: "same-bridge" }), at)).error.msg).toBe("");
      });

      it.each<[string, JsonObject, number, string]>([
        ["no prevResult", { prevResult: null }, 7, "prevResult: found nothing"],
        ["an unknown policy", { ingressPolicy: "x" }, 7, 'ingressPolicy: found "x"'],
        ["firewalld", { backend: "firewalld" }, 2, 'backend: found "firewalld"'],
      ])("refuses %s", async (_, more, code, msg) => {
        const { error } = await node.call("ADD", conf(more), at);
        expect(error.code).toBe(code);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
      });
    });

    describe("tuning", () => {
      let prev: JsonObject = {};
      beforeEach(async () => {
        const ipam = { type: "host-local", subnet: "10.6.0.0/24" };
        const bridge = { cniVersion: "1.1.0", name: "net", type: "bridge", bridge: "br0", ipam };
        prev = (await node.call("ADD", bridge, at)).result;
      });
      const conf = (more: JsonObject = {}): JsonObject => ({
        cniVersion: "1.1.0",
        name: "net",
        type: "tuning",
        prevResult: prev,
        ...more,
      });
      const eth0 = async () => (await backend.links(netns)).find((l) => l.name === "eth0");
      const changes = {
        sysctl: { "net.ipv4.conf.IFNAME.arp_ignore": "1", "net/ipv4/conf/eth0/arp_announce": "2" },
        mtu: 1300,
        promisc: true,
        runtimeConfig: { mac: "0a:58:0a:06:00:09" },
      };

      it("sets sysctls and attributes, tells them, and puts the attributes back", async () => {
        const before = await eth0();
        const { result, error } = await node.call("ADD", conf(changes), at);
        expect(error.msg).toBe("");
        expect(await backend.sysctl(netns, "net.ipv4.conf.eth0.arp_ignore")).toBe("1");
        expect(await backend.sysctl(netns, "net.ipv4.conf.eth0.arp_announce")).toBe("2");
        expect(await eth0()).toMatchObject({ mtu: 1300, promisc: true, mac: "0a:58:0a:06:00:09" });
        expect((result.interfaces as JsonObject[])[2]).toMatchObject({ mac: "0a:58:0a:06:00:09", mtu: 1300 });
        expect((await node.call("CHECK", conf(changes), at)).error.msg).toBe("");
        expect((await node.call("DEL", conf(changes), at)).exitCode).toBe(0);
        expect(await eth0()).toMatchObject({ mtu: before?.mtu, promisc: false, mac: before?.mac });
        expect(await node.host.files.list("/run/cni/tuning")).toEqual([]);
        expect((await node.call("CHECK", conf(changes), at)).error.code).toBe(104);
        expect((await node.call("DEL", conf(changes), { netns: "" })).exitCode).toBe(0);
      });

      it("sets only what the list of the administrator allows", async () => {
        await node.host.files.write("/etc/cni/tuning/allowlist.conf", "^net.ipv4.conf.*.arp_ignore$\n");
        expect((await node.call("ADD", conf(changes), at)).error).toMatchObject({
          code: 7,
          msg: expect.stringContaining("arp_announce: is not allowed"),
        });
        const sysctl = { "net.ipv4.conf.IFNAME.arp_ignore": "1" };
        expect((await node.call("ADD", conf({ sysctl }), at)).error.msg).toBe("");
      });

      it.each<[string, JsonObject, number, string]>([
        ["a key outside of net", { sysctl: { "kernel.panic": "1" } }, 7, 'sysctl: found "kernel.panic"'],
        ["a key that leaves net", { sysctl: { "net/../kernel/panic": "1" } }, 7, 'sysctl: found "net/../kernel/panic"'],
        ["a number for a value", { sysctl: { "net.ipv4.ip_forward": 1 } }, 7, "sysctl.net.ipv4.ip_forward: found 1"],
        ["a key that does not exist", { sysctl: { "net.ipv9.x": "1" }, mtu: 1300 }, 100, ""],
        ["no prevResult", { prevResult: null }, 7, "prevResult: found nothing"],
      ])("refuses %s and changes nothing", async (_, more, code, msg) => {
        const before = await eth0();
        const { error } = await node.call("ADD", conf(more), at);
        expect(error.code).toBe(code);
        expect(error.msg.startsWith(msg), error.msg).toBe(true);
        expect(await eth0()).toEqual(before);
        expect(await node.host.files.list("/run/cni/tuning")).toEqual([]);
      });
    });
  });
}
