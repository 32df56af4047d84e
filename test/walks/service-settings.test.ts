/** What the settings of kube-proxy change for packets, in each mode and each address family. */
import { describe, expect, it } from "vitest";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig } from "../../cluster/kube-proxy/config.ts";
import { Cluster } from "../../library/index.ts";
import { ADDRESSES, clusterFor, inBrackets, manifests, WALK_CASES, type WalkCase } from "./service-manifests.ts";

const TURNS = 8;

const HOST_PORT = `---
apiVersion: v1
kind: Pod
metadata: {name: with-host-port}
spec:
  nodeName: node-3
  containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 8088}]}]`;

async function clusterWith(walk: WalkCase, proxyConfig: Partial<ProxyConfig>): Promise<Cluster> {
  const sources = [{ file: "services.yaml", text: `${manifests(walk.family)}\n${HOST_PORT}` }];
  return Cluster.create({ sources, ...clusterFor(walk), proxyConfig });
}

/** Who is reached in several tries, sorted, or the verdict; with " masq" if the receiver sees another source. */
async function reach(cluster: Cluster, from: string, to: string): Promise<readonly string[]> {
  const seen = new Set<string>();
  for (let i = 0; i < TURNS; i++) {
    const { verdict, deliveredTo, masqueraded } = (await cluster.trace(from, to)).result;
    seen.add(verdict === "delivered" ? `${deliveredTo?.name}${masqueraded ? " masq" : ""}` : verdict);
  }
  return [...seen].sort();
}

const KEPT = ["a1", "b2"];
const MASQ = ["a1 masq", "b2 masq"];

describe.each(WALK_CASES)("settings in %s", (_name, walk) => {
  const { mode, family } = walk;
  const { node, loopback } = ADDRESSES[family];
  const userspace = mode === "userspace";

  it.each<[string, Partial<ProxyConfig>, readonly string[]]>([
    ["masqueradeAll", { masqueradeAll: true }, MASQ],
    ["the node's pod CIDR as local", { detectLocalMode: "NodeCIDR" }, KEPT],
    ["a bridge as local", { detectLocalMode: "BridgeInterface", bridgeInterface: "cni0" }, KEPT],
    ["another bridge as local", { detectLocalMode: "BridgeInterface", bridgeInterface: "br9" }, MASQ],
    ["interfaces by prefix as local", { detectLocalMode: "InterfaceNamePrefix", interfaceNamePrefix: "cni" }, KEPT],
    ["no local detector", { clusterCIDR: "" }, KEPT],
  ])("a pod to a ClusterIP, %s", async (_name, config, expected) => {
    const cluster = await clusterWith(walk, config);
    expect(await reach(cluster, "pod/c3", "svc/both:web")).toEqual(userspace ? MASQ : expected);
  });

  it("nodePortAddresses", async () => {
    const chosen = await clusterWith(walk, { nodePortAddresses: [`${node}12/${family === 4 ? 32 : 128}`] });
    expect(await reach(chosen, "external", "node/node-2:30080")).toEqual(MASQ);
    // userspace mode did not look at it when it wrote rules.
    expect(await reach(chosen, "external", "node/node-1:30080")).toEqual(userspace ? MASQ : ["rejected"]);
    const other = await clusterWith(walk, { nodePortAddresses: [family === 4 ? "fd00::/64" : "10.9.9.0/24"] });
    expect(await reach(other, "external", "node/node-1:30080")).toEqual(MASQ);
    const gateway = family === 4 ? "10.244.3.1" : "[fd00:10:244:3::1]";
    const primary = await clusterWith(walk, { nodePortAddresses: ["primary"] });
    expect(await reach(primary, "external", "node/node-1:30080")).toEqual(MASQ);
    expect(await reach(primary, "pod/c3", `${gateway}:30080`)).toEqual(userspace ? MASQ : ["rejected"]);
  });

  it("node ports on localhost, of which IPv6 has none in iptables mode", async () => {
    const on = await clusterWith(walk, {});
    const none = mode === "ipvs" || mode === "nftables" || (mode === "iptables" && family === 6);
    const localhost = `${inBrackets(loopback)}:30080`;
    expect(await reach(on, "node/node-1", localhost)).toEqual(none ? ["rejected"] : MASQ);
    const off = await clusterWith(walk, { localhostNodePorts: false });
    expect(await reach(off, "node/node-1", localhost)).toEqual(userspace ? MASQ : ["rejected"]);
  });

  it("host ports are the CNI plugin's, beside kube-proxy", async () => {
    const cluster = await clusterWith(walk, {});
    expect(await reach(cluster, "external", "node/node-3:8088")).toEqual(["with-host-port"]);
    // On its way to another node's address flannel has masqueraded it.
    expect(await reach(cluster, "pod/c1", "node/node-3:8088")).toEqual(["with-host-port masq"]);
  });
});

describe("settings of ipvs mode alone", () => {
  it("the scheduler: source hashing keeps a client where it is", async () => {
    const ipvs = { ...DEFAULT_PROXY_CONFIG.ipvs, scheduler: "sh", strictARP: true };
    const cluster = await clusterWith({ mode: "ipvs", family: 4 }, { ipvs });
    expect(await reach(cluster, "pod/c3", "svc/both:web")).toHaveLength(1);
    const ns = [...cluster.namespaces()].find((n) => n.node === "node-1");
    expect(ns?.sysctls.get("net.ipv4.conf.all.arp_ignore")).toBe("1");
    expect(ns?.sysctls.get("net.ipv4.conf.all.arp_announce")).toBe("2");
  });
});

describe.each([4, 6] as const)("settings of nftables mode alone, IPv%d", (family) => {
  it("ClusterIPs: another port is refused, an address that no Service has is dropped", async () => {
    const cluster = await clusterWith({ mode: "nftables", family }, {});
    const clusterIp = cluster.store.get("Service", "default", "both")?.spec.clusterIP ?? "";
    for (const from of ["pod/c3", "node/node-1"]) {
      expect(await reach(cluster, from, `${inBrackets(clusterIp)}:9999`)).toEqual(["rejected"]);
      expect(await reach(cluster, from, family === 4 ? "10.96.254.254:80" : "[fd00:10:96::fefe]:80")).toEqual([
        "dropped",
      ]);
    }
  });
});
