/** Clusters of two address families, and of IPv6 alone: addresses, names, Services of one or both families. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Service } from "../../cluster/api/service.ts";
import type { ClusterOptions } from "../../cluster/boot.ts";
import { environmentOf } from "../../cluster/workload/env.ts";
import { Cluster } from "../../library/index.ts";
import { givenSlice } from "./service-manifests.ts";

const PODS = { clusterCidr: "10.244.0.0/16,fd00:10:244::/56", serviceCidr: "10.96.0.0/12,fd00:10:96::/112" };
const SIX_FIRST = { clusterCidr: "fd00:10:244::/56,10.244.0.0/16", serviceCidr: "fd00:10:96::/112,10.96.0.0/12" };
const SIX = { clusterCidr: "fd00:10:244::/56", serviceCidr: "fd00:10:96::/112" };

function pod(name: string, node: string): string {
  return `apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}, web: 'yes'}}
spec:
  nodeName: ${node}
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.53
      args: [netexec, --http-port=8080]
      ports: [{containerPort: 8080, name: web}]
      env:
        - {name: POD_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
        - {name: HOST_IPS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}`;
}

function service(name: string, spec: string): string {
  return `apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {${spec}, ports: [{name: web, port: 80, targetPort: web}]}`;
}

/** What any cluster can have. */
const ONE_FAMILY = [
  pod("a", "node-1"),
  pod("b", "node-2"),
  service("plain", "selector: {app: b}"),
  service("prefer", "selector: {app: b}, ipFamilyPolicy: PreferDualStack"),
].join("\n---\n");
const MANIFESTS = [
  ONE_FAMILY,
  service("six", "selector: {app: b}, ipFamilies: [IPv6]"),
  service("both", "type: LoadBalancer, selector: {app: b}, ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4]"),
  service("half", "ipFamilyPolicy: PreferDualStack"),
  service("headless", "clusterIP: None, selector: {web: 'yes'}, ipFamilyPolicy: PreferDualStack"),
].join("\n---\n");

async function clusterOf(options: Partial<ClusterOptions>, text = MANIFESTS): Promise<Cluster> {
  return Cluster.create({ sources: [{ file: "dual.yaml", text }], nodes: 2, ...options });
}

function specOf(cluster: Cluster, name: string, namespace = "default"): Service["spec"] | undefined {
  return cluster.store.get("Service", namespace, name)?.spec;
}

describe("a dual-stack cluster", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await clusterOf(PODS);
  });

  it("has nodes and pods with an address of each family, the primary one first", () => {
    const node = cluster.store.get("Node", "", "node-2");
    expect(node?.spec).toMatchObject({
      podCIDR: "10.244.2.0/24",
      podCIDRs: ["10.244.2.0/24", "fd00:10:244:2::/64"],
    });
    expect(node?.status?.addresses?.map((a) => `${a.type} ${a.address}`)).toEqual([
      "InternalIP 192.168.0.12",
      "InternalIP fd00:192:168::12",
      "Hostname node-2",
    ]);
    expect(node?.metadata.annotations).toMatchObject({ "flannel.alpha.coreos.com/public-ipv6": "fd00:192:168::12" });
    const { status } = cluster.store.get("Pod", "default", "b") ?? {};
    expect(status?.podIPs?.map(({ ip }) => ip)).toEqual([status?.podIP, expect.stringMatching(/^fd00:10:244:2::/)]);
    expect(status?.hostIPs).toEqual([{ ip: "192.168.0.12" }, { ip: "fd00:192:168::12" }]);
  });

  it("gives nodes blocks of the sizes that settings ask for, and wires pods in them", async () => {
    const small = await clusterOf({ ...PODS, nodeCidrMaskSizeIpv4: 26, nodeCidrMaskSizeIpv6: 72 });
    expect(small.store.get("Node", "", "node-2")?.spec?.podCIDRs).toEqual([
      "10.244.0.128/26",
      "fd00:10:244:0:200::/72",
    ]);
    for (const family of [4, 6] as const)
      expect((await small.trace("pod/a", "pod/b:8080", { family })).result.verdict).toBe("delivered");
  });

  it("tells a pod both of its addresses by the downward API", () => {
    const b = cluster.store.get("Pod", "default", "b");
    const [container] = b?.spec.containers ?? [];
    if (b === undefined || container === undefined) throw new Error("there is no pod b");
    expect(environmentOf(b, container, cluster.store).vars).toMatchObject({
      POD_IPS: b.status?.podIPs?.map(({ ip }) => ip).join(","),
      HOST_IPS: "192.168.0.12,fd00:192:168::12",
    });
  });

  it("puts the other family first where that is the primary one", async () => {
    const other = await clusterOf(SIX_FIRST);
    const { status } = other.store.get("Pod", "default", "b") ?? {};
    expect(status?.podIP).toMatch(/^fd00:10:244:2::/);
    expect(status?.podIPs?.[1]?.ip).toMatch(/^10\.244\.2\./);
    expect(status?.hostIP).toBe("fd00:192:168::12");
    expect(specOf(other, "plain")).toMatchObject({ ipFamilies: ["IPv6"], ipFamilyPolicy: "SingleStack" });
    expect(specOf(other, "kubernetes")?.clusterIPs).toEqual(["fd00:10:96::1"]);
    expect(other.exec("a", ["curl", "http://plain/hostname"]).stdout).toBe("b");
  });

  it("gives Services the families that they ask for", () => {
    expect(specOf(cluster, "plain")).toMatchObject({ ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack" });
    expect(specOf(cluster, "six")).toMatchObject({ ipFamilies: ["IPv6"], ipFamilyPolicy: "SingleStack" });
    expect(specOf(cluster, "prefer")).toMatchObject({
      ipFamilies: ["IPv4", "IPv6"],
      ipFamilyPolicy: "PreferDualStack",
    });
    const both = specOf(cluster, "both");
    expect(both).toMatchObject({ ipFamilies: ["IPv6", "IPv4"], ipFamilyPolicy: "RequireDualStack" });
    expect(both?.clusterIPs).toEqual([expect.stringMatching(/^fd00:10:96::/), expect.stringMatching(/^10\./)]);
    expect(specOf(cluster, "kubernetes")?.clusterIPs).toEqual(["10.96.0.1"]);
    expect(specOf(cluster, "kube-dns", "kube-system")?.clusterIPs).toEqual(["10.96.0.10"]);
  });

  it("has an EndpointSlice a family", () => {
    const slices = cluster.store.list("EndpointSlice", { labels: { "kubernetes.io/service-name": "both" } });
    const [status] = [cluster.store.get("Pod", "default", "b")?.status];
    expect(slices.map((s) => [s.addressType, s.endpoints[0]?.addresses[0]]).sort()).toEqual([
      ["IPv4", status?.podIPs?.[0]?.ip],
      ["IPv6", status?.podIPs?.[1]?.ip],
    ]);
  });

  it("answers A and AAAA, and PTR of both", () => {
    const lookup = (...args: string[]): string => cluster.exec("a", ["nslookup", ...args]).stdout;
    const ips = specOf(cluster, "prefer")?.clusterIPs ?? [];
    expect(lookup("prefer").match(/^Address: .*$/gm)).toEqual(ips.map((ip) => `Address: ${ip}`));
    expect(lookup("six").match(/^Address: .*$/gm)).toEqual([`Address: ${specOf(cluster, "six")?.clusterIP}`]);
    expect(lookup("headless").match(/^Address: .*$/gm)).toHaveLength(4);
    for (const ip of ips) expect(lookup(ip)).toMatch(/\.arpa\tname = prefer\.default\.svc\.cluster\.local\.\n$/);
  });

  it("reaches a Service by either family, and by a name as a program would: IPv6 first", async () => {
    for (const [family, text] of [
      [4, /10\.244\.2\.\d+:8080$/],
      [6, /\[fd00:10:244:2::\w+\]:8080$/],
    ] as const) {
      const { result } = await cluster.trace("pod/a", "svc/prefer:web", { family });
      expect(result.verdict).toBe("delivered");
      expect(result.hops.at(-1)?.packet).toMatch(text);
      expect(result.source.ip).toBe(result.hops[0]?.packet.replace(/^\[?([0-9a-f.:]+?)\]?:\d+ .*$/, "$1"));
    }
    const { result } = await cluster.trace("pod/a", "prefer:80");
    expect(result.hops.at(-1)?.packet).toMatch(/^\[fd00:/);
  });

  it("runs curl and ping with addresses of either family", () => {
    const [four, six] = specOf(cluster, "prefer")?.clusterIPs ?? [];
    for (const host of [four, `[${six}]`])
      expect(cluster.exec("a", ["curl", `http://${host}/hostname`]).stdout).toBe("b");
    expect(cluster.exec("a", ["curl", "-4", "http://prefer/clientip"]).stdout).toMatch(/^10\.244\.1\.\d+:\d+$/);
    expect(cluster.exec("a", ["curl", "-6", "http://prefer/clientip"]).stdout).toMatch(/^\[fd00:10:244:1::\w+\]:\d+$/);
    expect(cluster.exec("a", ["curl", "-6", "http://plain/"])).toMatchObject({ exitCode: 6 });
    const ip = cluster.store.get("Pod", "default", "b")?.status?.podIPs?.[1]?.ip ?? "";
    expect(cluster.exec("a", ["ping", "-c", "1", ip]).stdout).toContain(`64 bytes from ${ip}: icmp_seq=1 ttl=62`);
    expect(cluster.exec("a", ["ping", "-c", "1", "-t", "1", ip]).stdout).toContain("Time exceeded: Hop limit");
  });

  it("falls back to the other family where one has nobody, as curl does", async () => {
    const ip = cluster.store.get("Pod", "default", "b")?.status?.podIPs?.[0]?.ip ?? "";
    await cluster.apply([givenSlice("half", 8080, [{ ip, node: "node-2" }])]);
    expect(cluster.exec("a", ["curl", "-6", "http://half/hostname"]).exitCode).toBe(7);
    expect(cluster.exec("a", ["curl", "http://half/hostname"]).stdout).toBe("b");
  });

  it("tells the path MTU of the tunnel over IPv6, 20 octets less than the pods' own", () => {
    const ip = cluster.store.get("Pod", "default", "b")?.status?.podIPs?.[1]?.ip ?? "";
    expect(cluster.exec("a", ["ping", "-c", "1", "-s", "1382", ip]).stdout).toContain("1 received");
    expect(cluster.exec("a", ["ping", "-c", "1", "-s", "1383", ip]).stdout).toContain("Packet too big: mtu=1430");
  });

  it("carries what is longer than the tunnel takes, at the MTU that the node tells", () => {
    const text = "0123456789".repeat(900);
    for (const flag of ["-4", "-6"])
      expect(cluster.exec("a", ["curl", flag, `http://prefer/echo?msg=${text}`]).stdout).toBe(text);
  });

  it("follows a Service that becomes dual stack, and single stack again", async () => {
    const changing = await clusterOf(PODS);
    const given = changing.store.get("Service", "default", "plain");
    if (given === undefined) throw new Error("there is no Service plain");
    const { clusterIP, clusterIPs, ipFamilies, ...spec } = given.spec;
    const change = (ipFamilyPolicy: Service["spec"]["ipFamilyPolicy"]): Promise<void> =>
      changing.apply([
        { ...given, metadata: { name: "plain", namespace: "default" }, spec: { ...spec, ipFamilyPolicy } } as Service,
      ]);
    const state = () => ({
      families: specOf(changing, "plain")?.ipFamilies,
      slices: changing.store
        .list("EndpointSlice", { labels: { "kubernetes.io/service-name": "plain" } })
        .map((s) => s.addressType)
        .sort(),
      names: changing.exec("a", ["nslookup", "plain"]).stdout.match(/^Address: .*$/gm)?.length,
    });
    const single = { families: ["IPv4"], slices: ["IPv4"], names: 1 };
    expect(state()).toEqual(single);
    await change("PreferDualStack");
    expect(state()).toEqual({ families: ["IPv4", "IPv6"], slices: ["IPv4", "IPv6"], names: 2 });
    expect(specOf(changing, "plain")?.clusterIP).toBe(clusterIP);
    const six = `[${specOf(changing, "plain")?.clusterIPs?.[1]}]:80`;
    expect((await changing.trace("pod/a", six)).result.deliveredTo?.name).toBe("b");
    await change("SingleStack");
    expect(state()).toEqual(single);
    expect((await changing.trace("pod/a", six)).result).toMatchObject({ verdict: "dropped", deliveredTo: null });
  });

  it("gives a load balancer an address of each family", async () => {
    const ingress = cluster.store.get("Service", "default", "both")?.status?.loadBalancer?.ingress ?? [];
    expect(ingress.map((i) => i.ip)).toEqual([
      expect.stringMatching(/^2001:db8:1b::/),
      expect.stringMatching(/^198\.51\.100\./),
    ]);
    for (const { ip = "" } of ingress) {
      const to = ip.includes(":") ? `[${ip}]:80` : `${ip}:80`;
      expect((await cluster.trace("external", to)).result).toMatchObject({ verdict: "delivered", masqueraded: true });
    }
  });

  it("takes an address of somebody here as it is, though it could be a shorter one and a port", async () => {
    const pods = { ...PODS, serviceCidr: "10.96.0.0/12,fd00:10:96::/108" };
    const web = service("web", "selector: {app: b}, ipFamilies: [IPv6], clusterIP: 'fd00:10:96::1:53'");
    const wide = await clusterOf(pods, `${ONE_FAMILY}\n---\n${web}`);
    const { title } = await wide.trace("pod/a", "fd00:10:96::1:53", { protocol: "icmp" });
    expect(title).toContain("Service default/web");
    await expect(wide.trace("pod/a", "fd00:10:96::1:54")).rejects.toThrow(/expected \[fd00:10:96::1\]:54 for a port/);
  });

  it("says which address is missing where a family is asked for that an end has not", async () => {
    await expect(cluster.trace("pod/a", "svc/six:web", { family: 4 })).rejects.toThrow(
      /TO: found svc\/six:web, which has fd00:10:96::\w+, expected an end with an IPv4 address/,
    );
  });
});

describe("a cluster of IPv6 alone", () => {
  it("has no IPv4 anywhere", async () => {
    const cluster = await clusterOf({ ...SIX, network: "flannel-host-gw" }, ONE_FAMILY);
    for (const ns of cluster.namespaces())
      for (const dev of ns.devs.values()) if (dev.name !== "lo") expect(dev.addrs.map((a) => a.address)).toEqual([]);
    expect(cluster.exec("a", ["curl", "http://plain/hostname"]).stdout).toBe("b");
    expect((await cluster.trace("pod/a", "external:80")).result).toMatchObject({
      verdict: "delivered",
      masqueraded: true,
      deliveredTo: { ip: "2001:db8::10" },
    });
    expect(specOf(cluster, "prefer")).toMatchObject({ ipFamilies: ["IPv6"], ipFamilyPolicy: "PreferDualStack" });
    expect((await cluster.trace("node/node-1", "svc/kubernetes:https")).result.verdict).toBe("delivered");
  });
});

describe("what cannot be", () => {
  it.each<[Partial<ClusterOptions>, string]>([
    [{ clusterCidr: "10.1.0.0/16,10.2.0.0/16" }, "settings: clusterCidr: found 10.1.0.0/16,10.2.0.0/16, expected one"],
    [{ serviceCidr: "fd00:10:96::/112" }, "settings: serviceCidr: found fd00:10:96::/112, expected a family that"],
    [{ ...PODS, serviceCidr: "10.96.0.0/12,fd00:10:244:9::/112" }, "expected a CIDR apart from clusterCidr"],
    [{ ...PODS, clusterCidr: "10.244.0.0/16,fd00:10:244::/64" }, "no free /64 for it (1 of 1 in use)"],
    [
      { ...PODS, proxyMode: "userspace" },
      "settings: proxyMode: found userspace, expected iptables, ipvs or nftables: Services have two families",
    ],
  ])("%j is refused", async (options, message) => {
    await expect(clusterOf(options)).rejects.toThrow(message);
  });

  it("a Node that brings pod CIDRs of its own, and not one of each family", async () => {
    const node = "apiVersion: v1\nkind: Node\nmetadata: {name: own}\nspec: {podCIDR: 10.244.7.0/24}";
    await expect(clusterOf(PODS, node)).rejects.toThrow(
      /dual\.yaml:4: spec\.podCIDRs: found Node own: .*node "own" ipv6 pod cidr not assigned, expected a CIDR such as/,
    );
  });

  it("a Service that needs two families on a cluster of one", async () => {
    const text = service("two", "ipFamilyPolicy: RequireDualStack, selector: {app: a}");
    await expect(clusterOf({}, text)).rejects.toThrow(
      /dual\.yaml:4: spec\.ipFamilyPolicy: found .*RequireDualStack needs a service CIDR of each family/,
    );
  });
});
