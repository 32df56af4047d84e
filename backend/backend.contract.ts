/**
 * What every Backend must do: one suite, run against each implementation by its own test. It looks only through the
 * interface, so it holds for a fake, the emulator, a socket and a kernel.
 */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NetlinkError, type RtnlOp } from "../dataplane/netns/rtnl-ops.ts";
import type { Backend } from "./ops.ts";

export type BackendUnderTest = { readonly backend: Backend; readonly dispose: () => Promise<void> };

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "no error";
  } catch (error) {
    return error instanceof NetlinkError ? error.code : `${(error as Error).name}: ${(error as Error).message}`;
  }
}

export function backendContract(name: string, open: () => Promise<BackendUnderTest>): void {
  describe(`${name} as a Backend`, () => {
    let subject: BackendUnderTest;
    let backend: Backend;
    let pod = "";
    beforeEach(async () => {
      subject = await open();
      backend = subject.backend;
      pod = await backend.addNetns("contract-pod");
    });
    afterEach(async () => {
      await backend.delNetns(pod);
      await subject.dispose();
    });

    const bridge: RtnlOp = {
      op: "link.add",
      netns: "host",
      name: "ctbr0",
      kind: "bridge",
      mac: "0a:00:00:00:00:01",
      up: true,
    };
    const veth = (): RtnlOp => ({
      op: "link.add",
      netns: pod,
      name: "eth0",
      kind: "veth",
      mac: "0a:00:00:00:00:02",
      mtu: 1450,
      peer: {
        name: "ctveth0",
        netns: "host",
        master: "ctbr0",
        mtu: 1450,
        mac: "0a:00:00:00:00:03",
        up: true,
        hairpin: true,
        isolated: true,
      },
    });
    const linkOf = async (netns: string, dev: string) => (await backend.links(netns)).find((l) => l.name === dev);

    it("makes namespaces with a loopback that is down", async () => {
      expect(await backend.hasNetns(pod)).toBe(true);
      expect((await backend.links(pod)).map(({ name: dev, up }) => ({ dev, up }))).toEqual([{ dev: "lo", up: false }]);
      expect(await backend.addrs(pod)).toEqual([]);
    });

    it("gives the loopback its address when it comes up", async () => {
      await backend.apply([{ op: "link.set", netns: pod, name: "lo", up: true }]);
      expect((await backend.addrs(pod)).map((a) => a.address)).toContain("127.0.0.1/8");
    });

    it("removes namespaces, and missing ones without complaint", async () => {
      await backend.delNetns(pod);
      await backend.delNetns(pod);
      expect(await backend.hasNetns(pod)).toBe(false);
    });

    it("refuses a namespace that does not exist", async () => {
      expect(await codeOf(backend.links(`${pod}-none`))).toBe("ENOENT");
      expect(await codeOf(backend.apply([{ op: "link.set", netns: `${pod}-none`, name: "lo", up: true }]))).toBe(
        "ENOENT",
      );
    });

    it("makes a veth across namespaces, one end a port of a bridge", async () => {
      await backend.apply([bridge, veth()]);
      const inside = await linkOf(pod, "eth0");
      const outside = await linkOf("host", "ctveth0");
      expect(inside).toMatchObject({ kind: "veth", mac: "0a:00:00:00:00:02", mtu: 1450, up: false, master: null });
      expect(outside).toMatchObject({
        mac: "0a:00:00:00:00:03",
        mtu: 1450,
        up: true,
        master: "ctbr0",
        hairpin: true,
        isolated: true,
      });
      expect(inside?.peerIfindex).toBe(outside?.ifindex);
      expect(outside?.peerIfindex).toBe(inside?.ifindex);
    });

    it("tells one link by name, and the addresses of one device", async () => {
      await backend.apply([bridge, veth(), { op: "addr.add", netns: "host", dev: "ctbr0", address: "10.201.0.1/24" }]);
      expect(await backend.link("host", "ctbr0")).toEqual(await linkOf("host", "ctbr0"));
      expect(await backend.link("host", "ctveth0")).toEqual(await linkOf("host", "ctveth0"));
      expect(await backend.link("host", "ctnone")).toBeUndefined();
      expect(await backend.addrs("host", "ctbr0")).toEqual([
        { dev: "ctbr0", address: "10.201.0.1/24", scope: "global" },
      ]);
      expect(await backend.addrs("host", "ctnone")).toEqual([]);
    });

    it("tells the carrier of a veth from both ends", async () => {
      await backend.apply([bridge, veth()]);
      expect((await linkOf("host", "ctveth0"))?.carrier).toBe(false);
      await backend.apply([{ op: "link.set", netns: pod, name: "eth0", up: true }]);
      expect((await linkOf("host", "ctveth0"))?.carrier).toBe(true);
      expect((await linkOf(pod, "eth0"))?.carrier).toBe(true);
    });

    it("removes both ends of a veth when one goes, also with its namespace", async () => {
      await backend.apply([bridge, veth()]);
      await backend.apply([{ op: "link.del", netns: "host", name: "ctveth0" }]);
      expect(await linkOf(pod, "eth0")).toBeUndefined();
      await backend.apply([veth()]);
      await backend.delNetns(pod);
      expect(await linkOf("host", "ctveth0")).toBeUndefined();
    });

    it("adds an address with its prefix route, and routes through a gateway on it", async () => {
      await backend.apply([
        bridge,
        veth(),
        { op: "addr.add", netns: pod, dev: "eth0", address: "10.201.0.5/24" },
        { op: "link.set", netns: pod, name: "eth0", up: true },
        { op: "route.add", netns: pod, dst: "0.0.0.0/0", via: "10.201.0.1", dev: "eth0" },
        { op: "route.add", netns: pod, dst: "10.202.0.0/16", via: "10.201.0.1", metric: 7 },
      ]);
      expect(await backend.addrs(pod)).toContainEqual({ dev: "eth0", address: "10.201.0.5/24", scope: "global" });
      const routes = await backend.routes(pod);
      expect(routes).toContainEqual(expect.objectContaining({ dst: "10.201.0.0/24", dev: "eth0" }));
      expect(routes.find((r) => r.dst === "default" || r.dst === "0.0.0.0/0")).toMatchObject({
        via: "10.201.0.1",
        dev: "eth0",
      });
      expect(routes).toContainEqual(
        expect.objectContaining({ dst: "10.202.0.0/16", via: "10.201.0.1", dev: "eth0", metric: 7 }),
      );
    });

    it("routes IPv4 through a gateway of IPv6, and dumps it so", async () => {
      await backend.apply([
        bridge,
        veth(),
        { op: "link.set", netns: pod, name: "eth0", up: true },
        { op: "addr.add", netns: pod, dev: "eth0", address: "fd00:201::5/64" },
        { op: "route.add", netns: pod, dst: "10.202.0.0/16", via: "fd00:201::1", dev: "eth0" },
        { op: "route.add", netns: pod, dst: "10.203.0.0/16", via: "fd00:201::1", dev: "eth0" },
        { op: "route.del", netns: pod, dst: "10.203.0.0/16", via: "fd00:201::1" },
      ]);
      const routes = (await backend.routes(pod)).filter((r) => r.dst.startsWith("10."));
      expect(routes).toEqual([expect.objectContaining({ dst: "10.202.0.0/16", via: "fd00:201::1", dev: "eth0" })]);
    });

    it("changes all or nothing", async () => {
      const links = await backend.links("host");
      const code = await codeOf(
        backend.apply([bridge, veth(), { op: "addr.add", netns: pod, dev: "eth7", address: "10.201.0.5/24" }]),
      );
      expect(code).toBe("ENODEV");
      expect((await backend.links("host")).map((l) => l.name)).toEqual(links.map((l) => l.name));
      expect((await backend.links(pod)).map((l) => l.name)).toEqual(["lo"]);
    });

    it("names what is wrong by errno", async () => {
      await backend.apply([bridge]);
      expect(await codeOf(backend.apply([bridge]))).toBe("EEXIST");
      expect(await codeOf(backend.apply([{ op: "link.del", netns: "host", name: "ctnone" }]))).toBe("ENODEV");
      const address: RtnlOp = { op: "addr.add", netns: "host", dev: "ctbr0", address: "10.201.0.1/24" };
      await backend.apply([address]);
      expect(await codeOf(backend.apply([address]))).toBe("EEXIST");
      expect(
        await codeOf(backend.apply([{ op: "route.add", netns: "host", dst: "10.203.0.0/16", via: "10.204.0.1" }])),
      ).toBe("ENETUNREACH");
    });

    it("says which operation failed", async () => {
      const failing: RtnlOp = { op: "link.del", netns: "host", name: "ctnone" };
      await expect(backend.apply([failing])).rejects.toMatchObject({ name: "NetlinkError", failed: failing });
    });

    it("sets and reads sysctls, those of a device made in the same call too", async () => {
      await backend.apply([
        bridge,
        veth(),
        { op: "sysctl.set", netns: "host", key: "net.ipv4.ip_forward", value: "1" },
        { op: "sysctl.set", netns: pod, key: "net.ipv4.conf.eth0.arp_notify", value: "1" },
      ]);
      expect(await backend.sysctl("host", "net.ipv4.ip_forward")).toBe("1");
      expect(await backend.sysctl(pod, "net.ipv4.conf.eth0.arp_notify")).toBe("1");
      expect(await backend.sysctl("host", "net.ipv4.no_such_key")).toBeUndefined();
    });

    it("adds rules beside others and prints them as iptables-save does", async () => {
      const restore = (text: string): RtnlOp => ({
        op: "iptables.restore",
        netns: pod,
        family: "ipv4",
        noflush: true,
        text,
      });
      await backend.apply([restore("*nat\n:CNI-a - [0:0]\n-A CNI-a -j ACCEPT\nCOMMIT\n")]);
      const comment = '-m comment --comment "name: \\"n\\" id: \\"x\\""';
      await backend.apply([
        restore(
          `*nat\n:CNI-b - [0:0]\n-A CNI-b ! -d 224.0.0.0/4 ${comment} -j MASQUERADE\n-A POSTROUTING -s 10.1.0.5/32 -j CNI-b\nCOMMIT\n`,
        ),
      ]);
      const lines = (await backend.iptablesSave(pod, "ipv4")).split("\n");
      expect(lines).toEqual(
        expect.arrayContaining([
          "*nat",
          ":CNI-a - [0:0]",
          "-A CNI-a -j ACCEPT",
          `-A CNI-b ! -d 224.0.0.0/4 ${comment} -j MASQUERADE`,
          "-A POSTROUTING -s 10.1.0.5/32 -j CNI-b",
        ]),
      );
      await backend.apply([
        restore("*nat\n:CNI-b - [0:0]\n-D POSTROUTING -s 10.1.0.5/32 -j CNI-b\n-X CNI-b\nCOMMIT\n"),
      ]);
      expect(await backend.iptablesSave(pod, "ipv4")).not.toContain("CNI-b");
      expect(await backend.iptablesSave(pod, "ipv4")).toContain("CNI-a");
    });

    it("shapes what leaves a device, and sends what comes in by another", async () => {
      const tbf = { kind: "tbf", rate: 125_000, burst: 25_000, limit: 28_125 } as const;
      await backend.apply([
        bridge,
        veth(),
        { op: "qdisc.add", netns: "host", dev: "ctveth0", ...tbf },
        { op: "link.add", netns: "host", name: "ctifb0", kind: "ifb", up: true, mtu: 1450 },
        { op: "qdisc.add", netns: "host", dev: "ctveth0", kind: "ingress" },
        { op: "filter.add", netns: "host", dev: "ctveth0", redirect: "ctifb0" },
        { op: "qdisc.add", netns: "host", dev: "ctifb0", ...tbf, rate: 1_000_000_000 },
      ]);
      expect(await linkOf("host", "ctifb0")).toMatchObject({ kind: "ifb", up: true, mtu: 1450 });
      const shown = await backend.qdiscs("host", "ctveth0");
      expect(shown).toHaveLength(2);
      expect(shown).toContainEqual(
        expect.objectContaining({ dev: "ctveth0", ...tbf, sent: expect.any(Number), drops: 0 }),
      );
      expect(shown).toContainEqual({ dev: "ctveth0", kind: "ingress", redirect: "ctifb0" });
      expect(await backend.qdiscs("host")).toHaveLength(3);
      const again: RtnlOp = { op: "qdisc.add", netns: "host", dev: "ctveth0", ...tbf };
      expect(await codeOf(backend.apply([again]))).toBe("EEXIST");
      const del = (kind: "tbf" | "ingress"): RtnlOp => ({ op: "qdisc.del", netns: "host", dev: "ctveth0", kind });
      // what fails later puts it back
      expect(await codeOf(backend.apply([del("tbf"), { op: "link.set", netns: "host", name: "none" }]))).toBe("ENODEV");
      expect(await backend.qdiscs("host", "ctveth0")).toHaveLength(2);
      await backend.apply([del("tbf"), del("ingress")]);
      expect(await backend.qdiscs("host", "ctveth0")).toEqual([]);
      expect(await codeOf(backend.apply([del("tbf")]))).toBe("ENOENT");
      const filter: RtnlOp = { op: "filter.add", netns: "host", dev: "ctveth0", redirect: "ctifb0" };
      expect(await codeOf(backend.apply([filter]))).toBe("EINVAL");
      await backend.apply([{ op: "link.del", netns: "host", name: "ctifb0" }]);
      expect(await backend.qdiscs("host")).toEqual([]);
    });

    it("makes a chain with -N once", async () => {
      const text = "*nat\n-N CNI-once\n-A CNI-once -j ACCEPT\nCOMMIT\n";
      const op: RtnlOp = { op: "iptables.restore", netns: pod, family: "ipv4", noflush: true, text };
      await backend.apply([op]);
      expect(await codeOf(backend.apply([op]))).not.toBe("no error");
      const lines = (await backend.iptablesSave(pod, "ipv4")).split("\n");
      expect(lines.filter((line) => line === "-A CNI-once -j ACCEPT")).toHaveLength(1);
    });

    it("takes nftables transactions, whole or not at all, and lists them", async () => {
      const nft = (text: string): RtnlOp => ({ op: "nft.apply", netns: pod, text });
      await backend.apply([
        nft("add table inet contract\nadd chain inet contract c { type filter hook input priority 0; }\n"),
        nft('add rule inet contract c iifname "eth0" tcp dport { 80, 443 } counter accept comment "x"\n'),
      ]);
      const listed =
        'table inet contract {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tiifname "eth0" tcp dport { 80, 443 } counter accept comment "x"\n\t}\n}\n';
      expect(await backend.nftList(pod, { table: "inet contract", stateless: true })).toBe(listed);
      expect(await backend.nftList(pod, { table: "inet none" })).toBe("");
      const handles = await backend.nftList(pod, { handles: true });
      const handle = /comment "x" # handle (\d+)/.exec(handles)?.[1];
      expect(
        await codeOf(
          backend.apply([
            nft("add table ip second\nflush chain inet contract c\n"),
            { op: "addr.add", netns: pod, dev: "none0", address: "10.201.0.9/24" },
          ]),
        ),
      ).not.toBe("no error");
      expect(await backend.nftList(pod, { stateless: true })).toBe(listed);
      expect(
        await codeOf(backend.apply([nft("add rule inet contract c accept\nadd rule inet ct none accept\n")])),
      ).not.toBe("no error");
      expect(await backend.nftList(pod, { stateless: true })).toBe(listed);
      const now = /comment "x" # handle (\d+)/.exec(await backend.nftList(pod, { handles: true }))?.[1] ?? handle;
      await backend.apply([nft(`delete rule inet contract c handle ${now}\n`)]);
      expect(await backend.nftList(pod)).not.toContain("accept comment");
    });

    it.each([
      ["IPv4", "192.0.2.1", "192.0.2.2"],
      ["IPv6", "2001:db8::1", "2001:db8::2"],
    ])("makes VXLAN devices over %s, with a VTEP for a MAC", async (_, local, remote) => {
      const [netns, mac] = [pod, "0a:00:00:00:00:09"];
      const add: RtnlOp = { op: "link.add", netns, name: "ctvx", kind: "vxlan", vni: 7, local, learning: false };
      await backend.apply([add, { op: "fdb.replace", netns, dev: "ctvx", mac, dst: remote }]);
      expect((await linkOf(pod, "ctvx"))?.kind).toBe("vxlan");
      const entry = { dev: "ctvx", mac, dst: remote, state: "permanent" };
      expect((await backend.fdb(pod)).filter((e) => e.mac === mac)).toEqual([entry]);
      await backend.apply([{ op: "fdb.del", netns, dev: "ctvx", mac }]);
      expect((await backend.fdb(pod)).filter((e) => e.mac === mac)).toEqual([]);
    });

    it("refuses a rules text as a whole", async () => {
      const code = await codeOf(
        backend.apply([
          bridge,
          {
            op: "iptables.restore",
            netns: "host",
            family: "ipv4",
            noflush: true,
            text: "*nat\n-A CNI-none -j ACCEPT\nCOMMIT\n",
          },
        ]),
      );
      expect(code).not.toBe("no error");
      expect(await linkOf("host", "ctbr0")).toBeUndefined();
    });
  });
}
