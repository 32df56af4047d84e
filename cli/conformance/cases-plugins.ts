/** What each plugin must do to the kernel, as the reference plugins document their options. */
import type { JsonObject } from "../../plugins/cni/types.ts";
import { bridge, type Case, hostLocal, newest } from "./case.ts";
import { type Lab, must } from "./lab.ts";

type Run = (lab: Lab, cniVersion: string) => Promise<void>;

function effect(title: string, plugins: readonly string[], run: Run, tags: readonly string[] = []): Case {
  const [first = ""] = plugins;
  return { title, section: "reference", plugins, tags, run: (lab) => run(lab, newest(lab, first)) };
}

const WITH_BRIDGE = ["bridge", "host-local"];

async function hostVeth(lab: Lab) {
  return (await lab.backend.links("host")).find((link) => link.kind === "veth");
}

function ipsOf(result: JsonObject): readonly string[] {
  return Array.isArray(result.ips) ? result.ips.map((ip) => String((ip as JsonObject).address)) : [];
}

export const EFFECTS: readonly Case[] = [
  effect("bridge: makes the bridge, a veth on it, address and gateway", WITH_BRIDGE, async (lab, cniVersion) => {
    const result = lab.good("bridge", "ADD", bridge(lab, { cniVersion, isDefaultGateway: true, mtu: 1400 }));
    const [br0, veth, eth0] = [
      await lab.backend.link("host", "br0"),
      await hostVeth(lab),
      await lab.backend.link(lab.pod, "eth0"),
    ];
    must(br0?.kind === "bridge" && br0.up, "bridge br0: is not there, or down");
    must(veth?.master === "br0" && veth.mtu === 1400 && veth.up, "host's end: is not an up port of br0 with mtu 1400");
    must(eth0?.kind === "veth" && eth0.up && eth0.mtu === 1400, "eth0: is not an up veth with mtu 1400");
    const addrs = async (netns: string, dev: string) => (await lab.backend.addrs(netns, dev)).map((a) => a.address);
    must((await addrs(lab.pod, "eth0")).includes("10.1.0.2/24"), "eth0: has no 10.1.0.2/24");
    must((await addrs("host", "br0")).includes("10.1.0.1/24"), "br0: has no 10.1.0.1/24");
    const routes = await lab.backend.routes(lab.pod);
    must(
      routes.some((r) => r.dst === "default" && r.via === "10.1.0.1"),
      "no default route via 10.1.0.1",
    );
    must((await lab.backend.sysctl("host", "net.ipv4.ip_forward")) === "1", "ip_forward is off");
    must(ipsOf(result).join() === "10.1.0.2/24", `ips: ${ipsOf(result).join(", ")}`);
  }),
  effect("bridge: hairpinMode, and a MAC by runtimeConfig", WITH_BRIDGE, async (lab, cniVersion) => {
    const runtimeConfig = { mac: "0a:58:0a:01:00:09" };
    lab.good("bridge", "ADD", bridge(lab, { cniVersion, hairpinMode: true, runtimeConfig }));
    must((await hostVeth(lab))?.hairpin === true, "hairpin is off");
    must((await lab.backend.link(lab.pod, "eth0"))?.mac === "0a:58:0a:01:00:09", "eth0: has another MAC");
  }),
  effect(
    "bridge: a foreign address on the bridge is refused, and replaced with forceAddress",
    WITH_BRIDGE,
    async (lab, cniVersion) => {
      await lab.backend.apply([
        { op: "link.add", netns: "host", name: "br0", kind: "bridge", up: true },
        { op: "addr.add", netns: "host", dev: "br0", address: "10.9.0.1/24" },
      ]);
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), []);
      must(lab.leases().length === 0, "the failed ADD left a lease");
      lab.good("bridge", "ADD", bridge(lab, { cniVersion, forceAddress: true }));
      const addrs = (await lab.backend.addrs("host", "br0")).filter((a) => a.scope === "global").map((a) => a.address);
      must(addrs.join() === "10.1.0.1/24", `br0: has ${addrs.join(", ")}`);
    },
  ),
  effect("bridge: both families with ipMasq", WITH_BRIDGE, async (lab, cniVersion) => {
    const ipam = hostLocal(lab, { ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00:1::/64" }]] });
    const conf = bridge(lab, { cniVersion, ipMasq: true, isDefaultGateway: true, ipam });
    const prevResult = lab.good("bridge", "ADD", conf);
    must(ipsOf(prevResult).join() === "10.1.0.2/24,fd00:1::2/64", `ips: ${ipsOf(prevResult).join(", ")}`);
    must((await lab.natRules()).includes("MASQUERADE"), "no masquerade of IPv4");
    must((await lab.natRules("ipv6")).includes("MASQUERADE"), "no masquerade of IPv6");
    lab.good("bridge", "CHECK", { ...conf, prevResult });
    lab.good("bridge", "DEL", { ...conf, prevResult });
    must((await lab.natRules()) + (await lab.natRules("ipv6")) === "", "rules are left");
  }),
  effect(
    "bridge: a second attachment of the same container and interface is refused",
    WITH_BRIDGE,
    async (lab, cniVersion) => {
      lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), []);
      must(lab.leases().join() === "10.1.0.2", `leases: ${lab.leases().join(", ")}`);
      must((await lab.backend.link(lab.pod, "eth0")) !== undefined, "the first attachment's interface is gone");
    },
  ),
  effect("loopback: brings lo up and down", ["loopback"], async (lab, cniVersion) => {
    const conf = { cniVersion, name: "lo", type: "loopback" };
    const result = lab.good("loopback", "ADD", conf, { CNI_IFNAME: "lo" });
    must((await lab.backend.link(lab.pod, "lo"))?.up === true, "lo is down");
    must(ipsOf(result).includes("127.0.0.1/8"), `ips: ${ipsOf(result).join(", ")}`);
    lab.good("loopback", "DEL", conf, { CNI_IFNAME: "lo" });
    must((await lab.backend.link(lab.pod, "lo"))?.up === false, "lo is still up");
  }),
  effect("loopback: results before 1.0.0 have ips[].version", ["loopback"], async (lab) => {
    const result = lab.good("loopback", "ADD", { cniVersion: "0.4.0", name: "lo", type: "loopback" });
    const ips = Array.isArray(result.ips) ? (result.ips as JsonObject[]) : [];
    must(ips.length > 0 && ips.every((ip) => ip.version !== undefined), "ips[].version is missing");
  }),
  effect(
    "host-local: round robin, gateway left out, one address a range set",
    ["host-local"],
    async (lab, cniVersion) => {
      const conf = { cniVersion, name: "net", type: "host-local", ipam: hostLocal(lab) };
      const given = ["c1", "c2"].map((CNI_CONTAINERID) =>
        ipsOf(lab.good("host-local", "ADD", conf, { CNI_CONTAINERID })),
      );
      must(given.join(" ") === "10.1.0.2/24 10.1.0.3/24", given.join(" "));
      lab.good("host-local", "DEL", conf);
      const next = ipsOf(lab.good("host-local", "ADD", conf, { CNI_CONTAINERID: "c3" }));
      must(next.join() === "10.1.0.4/24", `after a release: ${next.join(", ")}, expected 10.1.0.4/24`);
    },
  ),
  effect(
    "host-local: a requested address is given, and refused where it is taken",
    ["host-local"],
    async (lab, cniVersion) => {
      const conf = { cniVersion, name: "net", type: "host-local", ipam: hostLocal(lab) };
      const args = { CNI_ARGS: "IP=10.1.0.77" };
      must(ipsOf(lab.good("host-local", "ADD", conf, args)).join() === "10.1.0.77/24", "another address was given");
      lab.bad("host-local", "ADD", conf, [], { ...args, CNI_CONTAINERID: "c2" });
      must(lab.leases().join() === "10.1.0.77", `leases: ${lab.leases().join(", ")}`);
    },
  ),
  ...(
    [
      ["host bits set", [{ subnet: "10.1.0.1/24" }]],
      ["a /32", [{ subnet: "10.1.0.1/32" }]],
      ["rangeStart after rangeEnd", [{ subnet: "10.1.0.0/24", rangeStart: "10.1.0.9", rangeEnd: "10.1.0.8" }]],
      ["rangeEnd outside of the subnet", [{ subnet: "10.1.0.0/24", rangeEnd: "10.2.0.8" }]],
      ["overlapping ranges", [{ subnet: "10.1.0.0/24" }, { subnet: "10.1.0.0/25" }]],
      ["mixed families", [{ subnet: "10.1.0.0/24" }, { subnet: "fd00::/64" }]],
    ] as const
  ).map(([what, set]) =>
    effect(`host-local: ${what} is refused with code 7`, ["host-local"], async (lab, cniVersion) => {
      const ipam = hostLocal(lab, { ranges: [set] });
      lab.bad("host-local", "ADD", { cniVersion, name: "net", type: "host-local", ipam }, [7]);
    }),
  ),
  effect(
    "host-local: GC releases the leases of attachments that are not listed",
    ["host-local"],
    async (lab) => {
      const conf = { cniVersion: "1.1.0", name: "net", type: "host-local", ipam: hostLocal(lab) };
      for (const CNI_CONTAINERID of ["c1", "c2"]) lab.good("host-local", "ADD", conf, { CNI_CONTAINERID });
      lab.good("host-local", "GC", { ...conf, "cni.dev/valid-attachments": [{ containerID: "c2", ifname: "eth0" }] });
      must(lab.leases().join() === "10.1.0.3", `leases: ${lab.leases().join(", ")}`);
    },
    ["gc"],
  ),
  effect(
    "static: gives the addresses of the configuration and of runtimeConfig",
    ["static"],
    async (lab, cniVersion) => {
      const ipam = { type: "static", addresses: [{ address: "10.3.0.5/24", gateway: "10.3.0.1" }] };
      const conf = { cniVersion, name: "net", type: "static", ipam };
      must(ipsOf(lab.good("static", "ADD", conf)).join() === "10.3.0.5/24", "another address");
      const asked = lab.good("static", "ADD", { ...conf, runtimeConfig: { ips: ["10.3.0.8/24"] } });
      must(ipsOf(asked).join() === "10.3.0.8/24", `ips: ${ipsOf(asked).join(", ")}`);
    },
  ),
  effect(
    "ptp: routes between host and container, and leaves nothing",
    ["ptp", "host-local"],
    async (lab, cniVersion) => {
      const conf = {
        cniVersion,
        name: "net",
        type: "ptp",
        ipMasq: true,
        ipam: hostLocal(lab, { routes: [{ dst: "0.0.0.0/0" }] }),
      };
      const prevResult = lab.good("ptp", "ADD", conf);
      const routes = await lab.backend.routes("host");
      must(
        routes.some((r) => r.dst === "10.1.0.2/32"),
        "host: no route to 10.1.0.2",
      );
      lab.good("ptp", "CHECK", { ...conf, prevResult });
      lab.good("ptp", "DEL", { ...conf, prevResult });
      must((await lab.linkNames("host")).length === 0, "host's end is left");
      must((await lab.natRules()) === "", "rules are left");
    },
  ),
  effect(
    "portmap: forwards ports of both protocols, is checked, and leaves no rule of the container",
    ["portmap", ...WITH_BRIDGE],
    async (lab, cniVersion) => {
      const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      const conf = portmap(cniVersion, prevResult);
      const result = lab.good("portmap", "ADD", conf);
      must(JSON.stringify(result.ips) === JSON.stringify(prevResult.ips), "the result is not that of before");
      const rules = await lab.natRules();
      must(
        rules.includes("--to-destination 10.1.0.2:80") && rules.includes("--to-destination 10.1.0.2:53"),
        `rules: ${rules}`,
      );
      lab.good("portmap", "CHECK", conf);
      lab.good("portmap", "DEL", conf);
      must(!(await lab.natRules()).includes("10.1.0.2"), "rules are left");
      lab.good("portmap", "DEL", conf, { CNI_NETNS: "" });
    },
  ),
  effect("portmap: CHECK fails when its rules are gone", ["portmap", ...WITH_BRIDGE], async (lab, cniVersion) => {
    const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
    const conf = portmap(cniVersion, prevResult);
    lab.good("portmap", "ADD", conf);
    const text = "*nat\nCOMMIT\n";
    await lab.backend.apply([{ op: "iptables.restore", netns: "host", family: "ipv4", noflush: false, text }]);
    lab.bad("portmap", "CHECK", conf, []);
  }),
  effect(
    "firewall: lets the container's traffic through, and takes that back",
    ["firewall", ...WITH_BRIDGE],
    async (lab, cniVersion) => {
      const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      const conf = { cniVersion, name: "net", type: "firewall", backend: "iptables", prevResult };
      lab.good("firewall", "ADD", conf);
      const rules = (await lab.rules("ipv4", "filter")).join("\n");
      must(rules.includes("-s 10.1.0.2/32 -j ACCEPT"), `rules: ${rules}`);
      lab.good("firewall", "CHECK", conf);
      for (let i = 0; i < 2; i++) lab.good("firewall", "DEL", conf);
      must(!(await lab.rules("ipv4", "filter")).join("\n").includes("10.1.0.2"), "rules are left");
    },
  ),
  effect(
    "tuning: sets sysctls and the mtu, and puts the mtu back",
    ["tuning", ...WITH_BRIDGE],
    async (lab, cniVersion) => {
      const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      const sysctl = { "net.ipv4.conf.eth0.arp_ignore": "1" };
      const conf = {
        cniVersion,
        name: "net",
        type: "tuning",
        sysctl,
        mtu: 1300,
        dataDir: `${lab.dir}/tuning`,
        prevResult,
      };
      lab.good("tuning", "ADD", conf);
      must((await lab.backend.sysctl(lab.pod, "net.ipv4.conf.eth0.arp_ignore")) === "1", "arp_ignore is not set");
      must((await lab.backend.link(lab.pod, "eth0"))?.mtu === 1300, "mtu is not 1300");
      lab.good("tuning", "DEL", conf);
      must((await lab.backend.link(lab.pod, "eth0"))?.mtu === 1500, "mtu was not put back");
    },
  ),
  effect("tuning: a sysctl outside of net is refused", ["tuning"], async (lab, cniVersion) => {
    const conf = {
      cniVersion,
      name: "net",
      type: "tuning",
      sysctl: { "kernel.panic": "0" },
      prevResult: { cniVersion },
    };
    lab.bad("tuning", "ADD", conf, []);
  }),
];

function portmap(cniVersion: string, prevResult: JsonObject): JsonObject {
  const portMappings = [
    { hostPort: 8080, containerPort: 80, protocol: "tcp" },
    { hostPort: 5353, containerPort: 53, protocol: "udp" },
  ];
  return { cniVersion, name: "net", type: "portmap", runtimeConfig: { portMappings }, prevResult };
}
