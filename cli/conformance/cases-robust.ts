/** What a node meets in its life: many calls at once, state that is damaged or cannot be written, other ways to ask. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Json, JsonObject } from "../../plugins/cni/types.ts";
import { bridge, type Case, hostLocal, newest } from "./case.ts";
import { type Lab, must, show } from "./lab.ts";

const AT_ONCE = 20;
const WITH_BRIDGE = ["bridge", "host-local"];

type Run = (lab: Lab, cniVersion: string) => Promise<void>;

function robust(title: string, plugins: readonly string[], run: Run, section = "reference"): Case {
  const [first = ""] = plugins;
  return { title, section, plugins, run: (lab) => run(lab, newest(lab, first)) };
}

function listOf(value: Json | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? (value as JsonObject[]) : [];
}

function ips(result: JsonObject): string {
  return listOf(result.ips)
    .map((ip) => String(ip.address))
    .join();
}

/** A file among the leases of the network "net". */
function plant(lab: Lab, name: string, text: string): void {
  const dir = join(lab.dir, "leases", "net");
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, name), text);
}

export const ROBUST: readonly Case[] = [
  robust(
    `${AT_ONCE} ADDs at once give ${AT_ONCE} addresses, and as many DELs leave nothing`,
    WITH_BRIDGE,
    async (lab, cniVersion) => {
      const conf = bridge(lab, { cniVersion, ipMasq: true });
      const pods: string[] = [];
      for (let i = 0; i < AT_ONCE; i++) pods.push(await lab.backend.addNetns(`many-${i}`));
      const all = (command: string) =>
        Promise.all(
          pods.map((CNI_NETNS, i) => lab.start("bridge", command, conf, { CNI_NETNS, CNI_CONTAINERID: `m${i}` })),
        );
      for (const answer of await all("ADD")) must(answer.status === 0, show(answer));
      must(lab.leases().length === AT_ONCE, `${lab.leases().length} leases`);
      for (const answer of await all("DEL")) must(answer.status === 0, show(answer));
      must(lab.leases().length === 0, `leases are left: ${lab.leases().join(", ")}`);
      must((await lab.natRules()) === "", "rules are left");
      must((await lab.linkNames("host")).join() === "br0", `links: ${(await lab.linkNames("host")).join(", ")}`);
    },
    "2 (Execution protocol: different containers concurrently)",
  ),
  robust("bridge: promiscMode", WITH_BRIDGE, async (lab, cniVersion) => {
    lab.good("bridge", "ADD", bridge(lab, { cniVersion, promiscMode: true }));
    must((await lab.backend.link("host", "br0"))?.promisc === true, "br0: is not promiscuous");
  }),
  robust("host-local: resolvConf becomes dns", ["host-local"], async (lab, cniVersion) => {
    const file = join(lab.dir, "resolv.conf");
    writeFileSync(file, "nameserver 10.96.0.10\nsearch a b\noptions ndots:5\n");
    const conf = { cniVersion, name: "net", type: "host-local", ipam: hostLocal(lab, { resolvConf: file }) };
    const { dns } = lab.good("host-local", "ADD", conf);
    const wanted = { nameservers: ["10.96.0.10"], search: ["a", "b"], options: ["ndots:5"] };
    must(
      JSON.stringify(Object.entries(dns ?? {}).sort()) === JSON.stringify(Object.entries(wanted).sort()),
      `dns: ${JSON.stringify(dns)}`,
    );
  }),
  robust("host-local: ranges by runtimeConfig come first", ["host-local"], async (lab, cniVersion) => {
    const runtimeConfig = { ipRanges: [[{ subnet: "10.9.0.0/24" }]] };
    const conf = { cniVersion, name: "net", type: "host-local", runtimeConfig, ipam: hostLocal(lab) };
    const given = ips(lab.good("host-local", "ADD", conf));
    must(given === "10.9.0.2/24,10.1.0.2/24", `ips: ${given}`);
  }),
  robust("host-local: addresses by args.cni.ips", ["host-local"], async (lab, cniVersion) => {
    const args = { cni: { ips: ["10.1.0.50"] } };
    const given = ips(
      lab.good("host-local", "ADD", { cniVersion, name: "net", type: "host-local", args, ipam: hostLocal(lab) }),
    );
    must(given === "10.1.0.50/24", `ips: ${given}`);
  }),
  robust("bridge: a MAC by args.cni.mac", WITH_BRIDGE, async (lab, cniVersion) => {
    lab.good("bridge", "ADD", bridge(lab, { cniVersion, args: { cni: { mac: "0a:58:0a:01:00:07" } } }));
    const mac = (await lab.backend.link(lab.pod, "eth0"))?.mac;
    must(mac === "0a:58:0a:01:00:07", `eth0: ${mac}`);
  }),
  ...["portmap", "firewall", "tuning", "bandwidth"].map((type) =>
    robust(
      `${type}: passes the result before it on`,
      [type, ...WITH_BRIDGE],
      async (lab, cniVersion) => {
        const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion, isDefaultGateway: true }));
        const conf = { cniVersion, name: "net", type, prevResult };
        const result = lab.good(type, "ADD", conf);
        for (const key of ["cniVersion", "interfaces", "ips", "routes"]) {
          const [was, is] = [JSON.stringify(prevResult[key]), JSON.stringify(result[key])];
          must(was === is, `${key}: found ${is}, expected ${was}`);
        }
      },
      "3 (Plugin Result Types: chained)",
    ),
  ),
  robust("host-local: a data directory that cannot be written is an error", ["host-local"], async (lab, cniVersion) => {
    const ipam = hostLocal(lab, { dataDir: "/sys/podwire-conformance" });
    lab.bad("host-local", "ADD", { cniVersion, name: "net", type: "host-local", ipam }, []);
  }),
  robust(
    "host-local: a lease file without words keeps its address, and harms no other",
    ["host-local"],
    async (lab, v) => {
      plant(lab, "10.1.0.2", "");
      const conf = { cniVersion: v, name: "net", type: "host-local", ipam: hostLocal(lab) };
      const given = ips(lab.good("host-local", "ADD", conf));
      must(given === "10.1.0.3/24", `ips: ${given}`);
      lab.good("host-local", "DEL", conf);
    },
  ),
  robust("host-local: a lock file of a process that is gone stops nobody", ["host-local"], async (lab, cniVersion) => {
    plant(lab, "lock", "999999\n");
    const given = ips(
      lab.good("host-local", "ADD", { cniVersion, name: "net", type: "host-local", ipam: hostLocal(lab) }),
    );
    must(given === "10.1.0.2/24", `ips: ${given}`);
  }),
  robust(
    "bandwidth: limits both directions, is checked, and takes its devices back",
    ["bandwidth", ...WITH_BRIDGE],
    async (lab, cniVersion) => {
      const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      const bandwidth = { ingressRate: 8_000_000, ingressBurst: 80_000, egressRate: 16_000_000, egressBurst: 160_000 };
      const conf = { cniVersion, name: "net", type: "bandwidth", runtimeConfig: { bandwidth } };
      const result = lab.good("bandwidth", "ADD", { ...conf, prevResult });
      const shaped = (await lab.backend.qdiscs("host")).map((q) => (q.kind === "tbf" ? `${q.rate}` : "ingress"));
      must(shaped.sort().join() === "1000000,2000000,ingress", `qdiscs: ${shaped.join(", ")}`);
      lab.good("bandwidth", "CHECK", { ...conf, prevResult: result });
      lab.good("bandwidth", "DEL", { ...conf, prevResult: result });
      const ifbs = (await lab.backend.links("host")).filter((link) => link.kind === "ifb");
      must(ifbs.length === 0, "the ifb device is left");
    },
  ),
  {
    ...robust("bridge: ipMasq with nftables, checked, and taken back", WITH_BRIDGE, async (lab, cniVersion) => {
      const conf = bridge(lab, { cniVersion, ipMasq: true, ipMasqBackend: "nftables" });
      const prevResult = lab.good("bridge", "ADD", conf);
      const table = "inet cni_plugins_masquerade";
      const rules = async () => lab.backend.nftList("host", { table });
      must((await rules()).includes("ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade"), `rules: ${await rules()}`);
      lab.good("bridge", "CHECK", { ...conf, prevResult });
      lab.good("bridge", "DEL", { ...conf, prevResult });
      must(!(await rules()).includes("10.1.0.2"), "rules are left");
    }),
    tags: ["nftables"],
    commands: ["nft"],
  },
  {
    ...robust(
      "portmap: forwards with nftables, checked, and taken back",
      ["portmap", ...WITH_BRIDGE],
      async (lab, cniVersion) => {
        const prevResult = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
        const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
        const conf = {
          cniVersion,
          name: "net",
          type: "portmap",
          backend: "nftables",
          runtimeConfig: { portMappings },
          prevResult,
        };
        lab.good("portmap", "ADD", conf);
        const rules = async () => lab.backend.nftList("host", { table: "ip cni_hostport" });
        must((await rules()).includes("tcp dport 8080 dnat to 10.1.0.2:80"), `rules: ${await rules()}`);
        lab.good("portmap", "CHECK", conf);
        lab.good("portmap", "DEL", conf);
        must(!(await rules()).includes("10.1.0.2"), "rules are left");
      },
    ),
    tags: ["nftables"],
    commands: ["nft"],
  },
  {
    ...robust(
      "bridge: macspoofchk holds the port to its MAC, and is taken back",
      WITH_BRIDGE,
      async (lab, cniVersion) => {
        const runtimeConfig = { mac: "0a:58:0a:01:00:09" };
        const conf = bridge(lab, { cniVersion, macspoofchk: true, runtimeConfig });
        const prevResult = lab.good("bridge", "ADD", conf);
        const rules = async () => lab.backend.nftList("host", { table: "bridge nat" });
        must((await rules()).includes("ether saddr 0a:58:0a:01:00:09 return"), `rules: ${await rules()}`);
        lab.good("bridge", "DEL", { ...conf, prevResult });
        must(!(await rules()).includes("c1-eth0"), "rules are left");
      },
    ),
    tags: ["nftables"],
    commands: ["nft"],
  },
  {
    ...robust("bridge: a VLAN", WITH_BRIDGE, async (lab, cniVersion) => {
      const result = lab.good("bridge", "ADD", bridge(lab, { cniVersion, vlan: 100, isGateway: false }));
      const port = String(listOf(result.interfaces)[1]?.name);
      const vlans = await lab.backend.vlans("host", port);
      must(
        vlans.some(({ vid, pvid, untagged }) => vid === 100 && pvid && untagged),
        `VLANs: ${JSON.stringify(vlans)}`,
      );
    }),
    tags: ["vlan"],
    needsVlans: true,
  },
];
