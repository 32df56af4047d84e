/**
 * What `proxy render` prints loads into the real tools of this machine, for both address families, in every mode; and so do
 * the rules of flannel.
 */
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { flannelRules } from "../../cluster/agents/flannel/rules.ts";
import type { KubeObject } from "../../cluster/api/meta.ts";
import type { ServiceSpec } from "../../cluster/api/service.ts";
import { DEFAULT_PROXY_CONFIG } from "../../cluster/kube-proxy/config.ts";
import { type Tool, textsFor } from "../../cluster/kube-proxy/render.ts";
import { service, slice } from "../../cluster/kube-proxy/testing.ts";
import { missing } from "../support/needs.ts";

/** Services that bring every rule and set there is, once for each family. */
function objects(): readonly KubeObject[] {
  return [
    ["v4", "10.96.0.", "198.51.100.", "203.0.113.0/24", "10.244.1."],
    ["v6", "fd00:96::", "2001:db8:7::", "2001:db8::/64", "fd00:10:244:1::"],
  ].flatMap(([name = "", cluster = "", outside = "", range = "", pods = ""]) => {
    const ports = (["TCP", "UDP", "SCTP"] as const).map((protocol) => ({
      name: protocol.toLowerCase(),
      port: 80,
      protocol,
      nodePort: name === "v4" ? 30080 : 30086,
    }));
    const common: ServiceSpec = { type: "LoadBalancer", ports, sessionAffinity: "ClientIP" };
    const status = (n: number) => ({ loadBalancer: { ingress: [{ ip: `${outside}${n}` }] } });
    const externalIPs = [`${outside}9`];
    const all = { ...common, clusterIP: `${cluster}5`, externalIPs, loadBalancerSourceRanges: [range] };
    const other = ports.map((p) => ({ ...p, nodePort: p.nodePort + 1 }));
    const local = {
      ...common,
      ports: other,
      clusterIP: `${cluster}6`,
      externalTrafficPolicy: "Local",
      internalTrafficPolicy: "Local",
      healthCheckNodePort: name === "v4" ? 30200 : 30206,
    } as const;
    return [
      service(`d/all-${name}`, all, status(1)),
      service(`d/local-${name}`, local, status(2)),
      service(`d/empty-${name}`, { clusterIP: `${cluster}7`, ports: [{ port: 80 }] }),
      ...ports.flatMap(({ name: port }) => [
        slice(`d/all-${name}`, port, 8080, [`${pods}2@n1`, `${pods}3@n2`], port),
        slice(`d/local-${name}`, port, 8080, [`${pods}2@n1`, `${pods}3@n2`], port),
      ]),
    ];
  });
}

const NODE = {
  name: "n1",
  ips: ["192.168.0.11", "fd00:192:168::11"],
  podCidrs: ["10.244.1.0/24", "fd00:10:244:1::/64"],
};
const COMMANDS: Readonly<Partial<Record<Tool, string>>> = {
  "iptables-restore": "iptables-restore",
  "ip6tables-restore": "ip6tables-restore",
  ipset: "ipset restore",
  nft: "nft -f -",
};

/** Gives texts to commands, in a namespace of their own that is gone with them. */
function load(texts: readonly (readonly [command: string, text: string])[]): void {
  const script = texts.map(([command, text], i) => `${command} <<'TEXT${i}'\n${text}TEXT${i}\n`).join("");
  execFileSync("unshare", ["-n", "sh", "-c", `set -e\n${script}`], { stdio: "pipe" });
}

it.for([
  ["iptables-restore", "10.244.0.0/16", "10.244.1.0/24"],
  ["ip6tables-restore", "fd00:10:244::/56", "fd00:10:244:1::/64"],
] as const)("flannel's rules are what %s takes", ([command, network, subnet], { skip }) => {
  const reason = missing("root", "unshare", command);
  skip(reason !== null, reason ?? "");
  const text = flannelRules({ network, subnet, ipMasq: true });
  expect(() => load([[`${command} --noflush`, text]])).not.toThrow();
});

describe.each(["iptables", "ipvs", "nftables", "userspace"] as const)("what is rendered in %s mode", (mode) => {
  it.for([
    ["IPv4 first", NODE.ips],
    ["IPv6 first", [...NODE.ips].reverse()],
  ] as const)("the real tools take, %s", ([, ips], { skip }) => {
    const config = { ...DEFAULT_PROXY_CONFIG, mode, clusterCIDR: "10.244.0.0/16,fd00:10:244::/56" };
    const texts = textsFor(objects(), {
      node: { ...NODE, ips },
      config,
      serviceCidrs: ["10.96.0.0/16", "fd00:96::/112"],
    });
    // There is no ip_vs here to take what ipvsadm would read.
    const tools = [...texts.keys()].filter((tool) => tool !== "ipvsadm");
    const reason = missing("root", "unshare", ...tools);
    skip(reason !== null, reason ?? "");
    load(tools.map((tool) => [COMMANDS[tool] ?? "", texts.get(tool) ?? ""]));
    expect(tools.length).toBe({ iptables: 2, ipvs: 3, nftables: 1, userspace: 1 }[mode]);
  });
});
