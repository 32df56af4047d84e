/** Sections 2, 4 and 5 of the specification: what holds for every plugin, asked of bridge and host-local. */
import type { JsonObject } from "../../plugins/cni/types.ts";
import { bridge, type Case, hostLocal, newest, VERSIONS } from "./case.ts";
import { type Lab, must } from "./lab.ts";

function ofList(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? (value as JsonObject[]) : [];
}

async function untouched(lab: Lab): Promise<void> {
  const [host, pod] = [await lab.linkNames("host"), await lab.linkNames(lab.pod)];
  must(host.length === 0 && pod.length === 0, `left ${[...host, ...pod].join(", ")}`);
  must(lab.leases().length === 0, `left the lease of ${lab.leases().join(", ")}`);
  const rules = await lab.natRules();
  must(rules === "", `left rules: ${rules}`);
}

function refusal(title: string, section: string, run: (lab: Lab, version: string) => void): Case {
  return {
    title,
    section,
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      run(lab, newest(lab, "bridge"));
      await untouched(lab);
    },
  };
}

const VARIABLES: readonly Case[] = [
  ["ADD", "CNI_CONTAINERID"],
  ["ADD", "CNI_NETNS"],
  ["ADD", "CNI_IFNAME"],
  ["DEL", "CNI_CONTAINERID"],
  ["DEL", "CNI_IFNAME"],
  ["CHECK", "CNI_NETNS"],
].map(([command = "", name = ""]) =>
  refusal(`${command} without ${name} fails with code 4`, "2 Parameters, 5 Error", (lab, cniVersion) => {
    const error = lab.bad("bridge", command, bridge(lab, { cniVersion }), [4], { [name]: "-" });
    must(`${error.msg} ${error.details ?? ""}`.includes(name), `msg does not name ${name}: ${error.msg}`);
  }),
);

export const PROTOCOL: readonly Case[] = [
  {
    title: "VERSION lists supported versions and echoes the version of its input",
    section: "2 VERSION",
    plugins: ["bridge"],
    run: async (lab) => {
      const answer = lab.good("bridge", "VERSION", { cniVersion: "1.0.0" });
      must(Array.isArray(answer.supportedVersions), `supportedVersions: ${JSON.stringify(answer.supportedVersions)}`);
      must(answer.cniVersion === "1.0.0", `cniVersion: ${answer.cniVersion}, expected 1.0.0`);
    },
  },
  {
    title: "VERSION needs no other variables",
    section: "2 VERSION",
    plugins: ["bridge"],
    run: async (lab) => {
      const none = { CNI_CONTAINERID: "-", CNI_NETNS: "-", CNI_IFNAME: "-", CNI_PATH: "-" };
      lab.good("bridge", "VERSION", { cniVersion: "1.0.0" }, none);
    },
  },
  ...VERSIONS.map(
    (cniVersion): Case => ({
      title: `the result of ADD is in the asked version ${cniVersion}`,
      section: "5 Success",
      plugins: ["bridge", "host-local"],
      run: async (lab) => {
        const result = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
        must(result.cniVersion === cniVersion, `cniVersion: ${result.cniVersion}`);
        const old = cniVersion.startsWith("0.");
        for (const ip of ofList(result.ips))
          must(old ? ip.version === "4" : ip.version === undefined, `ips[].version: ${ip.version ?? "nothing"}`);
        const mtu = ofList(result.interfaces).every((item) => item.mtu === undefined);
        must(cniVersion === "1.1.0" || mtu, "interfaces[].mtu before 1.1.0");
      },
    }),
  ),
  {
    title: "the result of ADD has the interfaces, the sandbox as given, and addresses that point to it",
    section: "5 Success",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const cniVersion = newest(lab, "bridge");
      const result = lab.good("bridge", "ADD", bridge(lab, { cniVersion }));
      const interfaces = ofList(result.interfaces);
      const inside = interfaces.findIndex((item) => item.sandbox === lab.pod);
      must(interfaces[inside]?.name === "eth0", "interfaces: none with the sandbox and name eth0");
      must(ofList(result.ips)[0]?.interface === inside, "ips[0].interface: does not point to eth0");
      const link = await lab.backend.link(lab.pod, "eth0");
      must(interfaces[inside]?.mac === link?.mac, `mac: ${interfaces[inside]?.mac}, found ${link?.mac}`);
    },
  },
  {
    title: "the result of ADD in 1.1.0 has the mtu of each interface",
    section: "5 Success",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const result = lab.good("bridge", "ADD", bridge(lab, { mtu: 1400 }));
      const eth0 = ofList(result.interfaces).find((item) => item.name === "eth0");
      must(eth0?.mtu === 1400, `mtu: ${eth0?.mtu ?? "nothing"}, expected 1400`);
    },
  },
  refusal("an unknown CNI_COMMAND fails with code 4", "5 Error", (lab, cniVersion) => {
    lab.bad("bridge", "FROBNICATE", bridge(lab, { cniVersion }), [4]);
  }),
  ...VARIABLES,
  refusal("a bad CNI_IFNAME fails with code 4", "2 Parameters", (lab, cniVersion) => {
    for (const name of ["a/b", "a b", "..", "sixteen-letters-"])
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [4], { CNI_IFNAME: name });
  }),
  refusal("a bad CNI_CONTAINERID fails with code 4", "2 Parameters", (lab, cniVersion) => {
    lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [4], { CNI_CONTAINERID: "-x/.." });
  }),
  refusal("input that is not JSON fails with code 6", "5 Error", (lab) => {
    lab.bad("bridge", "ADD", "{oops", [6]);
  }),
  refusal("a version that is not supported fails with code 1", "5 Error", (lab) => {
    lab.bad("bridge", "ADD", bridge(lab, { cniVersion: "9.9.9" }), [1]);
  }),
  refusal(
    "a configuration without a name, or with a bad one, fails with code 7",
    "1 Format, 5 Error",
    (lab, cniVersion) => {
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion, name: "" }), [7]);
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion, name: "a/b" }), [7]);
    },
  ),
  refusal("a wrong configuration fails with code 7 and is named", "5 Error", (lab, cniVersion) => {
    const conf = bridge(lab, { cniVersion, hairpinMode: true, promiscMode: true });
    const error = lab.bad("bridge", "ADD", conf, [7]);
    must(/hairpin|promisc/i.test(String(error.msg)), `msg: ${error.msg}`);
  }),
  refusal("an error has the cniVersion of the configuration", "5 Error", (lab, cniVersion) => {
    const error = lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [], { CNI_NETNS: `${lab.dir}/none` });
    must(error.cniVersion === cniVersion, `cniVersion: ${error.cniVersion ?? "nothing"}, expected ${cniVersion}`);
  }),
  refusal("ADD into a namespace that does not exist fails", "4 ADD", (lab, cniVersion) => {
    lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [], { CNI_NETNS: `${lab.dir}/none` });
  }),
  refusal(
    "ADD into the plugin's own namespace fails with code 8, before anything is done",
    "5 Error",
    (lab, cniVersion) => {
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [8], { CNI_NETNS: lab.host });
    },
  ),
  refusal("CNI_ARGS with an unknown key fails without IgnoreUnknown", "2 Parameters", (lab, cniVersion) => {
    lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), [], { CNI_ARGS: "NOSUCH=1" });
  }),
  refusal("a delegate that is not in CNI_PATH is an error, and nothing is left", "4 Delegation", (lab, cniVersion) => {
    lab.bad("bridge", "ADD", bridge(lab, { cniVersion, ipam: { type: "no-such-ipam" } }), []);
  }),
  {
    title: "the interface name exists: ADD fails, gives the address back and leaves nothing",
    section: "2 ADD, 4 Delegation",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const cniVersion = newest(lab, "bridge");
      await lab.backend.apply([{ op: "link.add", netns: lab.pod, name: "eth0", kind: "bridge" }]);
      lab.bad("bridge", "ADD", bridge(lab, { cniVersion }), []);
      must(lab.leases().length === 0, `left the lease of ${lab.leases().join(", ")}`);
      const veths = (await lab.backend.links("host")).filter((link) => link.kind === "veth");
      must(veths.length === 0, `left ${veths.map((link) => link.name).join(", ")}`);
    },
  },
  {
    title: "DEL succeeds, prints nothing, and succeeds again",
    section: "2 DEL",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const conf = bridge(lab, { cniVersion: newest(lab, "bridge") });
      const prevResult = lab.good("bridge", "ADD", conf);
      for (let i = 0; i < 2; i++) {
        const answer = lab.call("bridge", "DEL", { ...conf, prevResult });
        must(answer.status === 0 && answer.stdout === "", `exit code ${answer.status}, printed ${answer.stdout}`);
      }
      must((await lab.linkNames(lab.pod)).length === 0, "the interface is still there");
      must(lab.leases().length === 0, "the lease is still there");
    },
  },
  ...["", "/nonexistent/netns"].map(
    (netns): Case => ({
      title: `DEL with ${netns === "" ? "an empty" : "a missing"} CNI_NETNS removes lease and rules`,
      section: "2 DEL",
      plugins: ["bridge", "host-local"],
      run: async (lab) => {
        const conf = bridge(lab, { cniVersion: newest(lab, "bridge"), ipMasq: true });
        const prevResult = lab.good("bridge", "ADD", conf);
        await lab.backend.apply([{ op: "link.del", netns: lab.pod, name: "eth0" }]);
        lab.good("bridge", "DEL", { ...conf, prevResult }, { CNI_NETNS: netns });
        must(lab.leases().length === 0, "the lease is still there");
        must((await lab.natRules()) === "", `rules are left: ${await lab.natRules()}`);
      },
    }),
  ),
  {
    title: "DEL without prevResult succeeds",
    section: "2 DEL",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const conf = bridge(lab, { cniVersion: newest(lab, "bridge"), ipMasq: true });
      lab.good("bridge", "ADD", conf);
      lab.good("bridge", "DEL", conf);
      must(lab.leases().length === 0, "the lease is still there");
      must((await lab.natRules()) === "", `rules are left: ${await lab.natRules()}`);
    },
  },
  {
    title: "DEL of what was never added succeeds",
    section: "2 DEL",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      lab.good("bridge", "DEL", bridge(lab, { cniVersion: newest(lab, "bridge") }));
    },
  },
  {
    title: "CHECK right after ADD succeeds and prints nothing",
    section: "2 CHECK",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const conf = bridge(lab, { cniVersion: newest(lab, "bridge"), ipMasq: true });
      const prevResult = lab.good("bridge", "ADD", conf);
      const answer = lab.call("bridge", "CHECK", { ...conf, prevResult });
      must(answer.status === 0 && answer.stdout === "", `exit code ${answer.status}, printed ${answer.stdout}`);
    },
  },
  refusal("CHECK without prevResult fails", "2 CHECK", (lab, cniVersion) => {
    lab.bad("bridge", "CHECK", bridge(lab, { cniVersion }), []);
  }),
  refusal("CHECK before 0.4.0 fails with code 1", "2 CHECK", (lab) => {
    lab.bad("bridge", "CHECK", bridge(lab, { cniVersion: "0.3.1", prevResult: { cniVersion: "0.3.1" } }), [1]);
  }),
  ...(
    [
      ["its interface is gone", { op: "link.del", name: "eth0" }],
      ["its address is gone", { op: "addr.del", dev: "eth0", address: "10.1.0.2/24" }],
      ["its route is gone", { op: "route.del", dst: "10.0.0.0/8", via: "10.1.0.1", dev: "eth0" }],
    ] as const
  ).map(
    ([what, op]): Case => ({
      title: `CHECK fails when ${what}`,
      section: "2 CHECK",
      plugins: ["bridge", "host-local"],
      run: async (lab) => {
        const ipam = hostLocal(lab, { routes: [{ dst: "10.0.0.0/8" }] });
        const conf = bridge(lab, { cniVersion: newest(lab, "bridge"), ipam });
        const prevResult = lab.good("bridge", "ADD", conf);
        await lab.backend.apply([{ ...op, netns: lab.pod }]);
        lab.bad("bridge", "CHECK", { ...conf, prevResult }, []);
      },
    }),
  ),
  {
    title: "CHECK fails when its masquerade rules are gone",
    section: "2 CHECK",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const conf = bridge(lab, { cniVersion: newest(lab, "bridge"), ipMasq: true });
      const prevResult = lab.good("bridge", "ADD", conf);
      const text = "*nat\nCOMMIT\n";
      await lab.backend.apply([{ op: "iptables.restore", netns: "host", family: "ipv4", noflush: false, text }]);
      lab.bad("bridge", "CHECK", { ...conf, prevResult }, []);
    },
  },
  {
    title: "GC and STATUS before 1.1.0 fail with code 1, or 4 where they are unknown",
    section: "2 GC, 2 STATUS",
    plugins: ["bridge", "host-local"],
    tags: ["gc", "status"],
    run: async (lab) => {
      for (const command of ["GC", "STATUS"])
        lab.bad("bridge", command, bridge(lab, { cniVersion: "1.0.0", "cni.dev/valid-attachments": [] }), [1, 4]);
    },
  },
  {
    title: "GC removes leases and rules of attachments that are not listed, and only those",
    section: "2 GC",
    plugins: ["bridge", "host-local"],
    tags: ["gc"],
    run: async (lab) => {
      const conf = bridge(lab, { ipMasq: true });
      lab.good("bridge", "ADD", conf);
      lab.good("bridge", "ADD", conf, { CNI_CONTAINERID: "c2", CNI_IFNAME: "eth1" });
      const listed = [{ containerID: "c2", ifname: "eth1" }];
      lab.good("bridge", "GC", { ...conf, "cni.dev/valid-attachments": listed, "cni.dev/attachments": listed });
      must(lab.leases().join() === "10.1.0.3", `leases: ${lab.leases().join(", ")}, expected 10.1.0.3`);
      const rules = await lab.natRules();
      must(!rules.includes("10.1.0.2/32") && rules.includes("10.1.0.3/32"), `rules: ${rules}`);
    },
  },
  {
    title: "STATUS succeeds where ADD would",
    section: "2 STATUS",
    plugins: ["bridge", "host-local"],
    tags: ["status"],
    run: async (lab) => {
      const answer = lab.call("bridge", "STATUS", bridge(lab));
      must(answer.status === 0 && answer.stdout === "", `exit code ${answer.status}, printed ${answer.stdout}`);
    },
  },
  {
    title: "STATUS fails with code 50 or 51 when no address is left",
    section: "2 STATUS",
    plugins: ["bridge", "host-local"],
    tags: ["status"],
    run: async (lab) => {
      const conf = bridge(lab, { ipam: hostLocal(lab, { ranges: [[{ subnet: "10.1.0.0/30" }]] }) });
      lab.good("bridge", "ADD", conf);
      lab.bad("bridge", "STATUS", conf, [50, 51]);
    },
  },
  {
    title: "the error of a delegate is the error of the plugin, with its code",
    section: "4 Delegation",
    plugins: ["bridge", "host-local"],
    run: async (lab) => {
      const cniVersion = newest(lab, "bridge");
      const ipam = hostLocal(lab, { ranges: [[{ subnet: "10.1.0.0/30" }]] });
      const alone = { cniVersion, name: "net", type: "host-local", ipam };
      lab.good("host-local", "ADD", alone);
      const own = lab.bad("host-local", "ADD", alone, [], { CNI_CONTAINERID: "c2" });
      const through = lab.bad("bridge", "ADD", bridge(lab, { cniVersion, ipam }), [], { CNI_CONTAINERID: "c2" });
      must(own.code === through.code, `code ${through.code}, the delegate's is ${own.code}`);
    },
  },
];
