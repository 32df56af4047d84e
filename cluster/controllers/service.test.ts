import { describe, expect, it } from "vitest";
import { ClusterError } from "../api/cluster-error.ts";
import type { ServiceSpec } from "../api/service.ts";
import { dnsServiceIp, systemObjects } from "./system-objects.ts";
import { testCluster } from "./testing.ts";

const service = (name: string, spec: string): string =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {selector: {a: b}, ${spec}}\n---\n`;
const PORT = "ports: [{port: 80}]";

async function specOf(text: string, settings = {}): Promise<ServiceSpec | undefined> {
  const { store } = await testCluster([], text, settings);
  return store.get("Service", "default", "s")?.spec;
}

async function errorOf(text: string, settings = {}): Promise<string> {
  try {
    await testCluster([], text, settings);
  } catch (error) {
    if (error instanceof ClusterError) return `${error.reason}: ${error.message}`;
    throw error;
  }
  return "no error";
}

describe("the service controller", () => {
  it("fills in what the API server fills in", async () => {
    const spec = await specOf(service("s", PORT));
    expect(spec).toMatchObject({
      type: "ClusterIP",
      sessionAffinity: "None",
      internalTrafficPolicy: "Cluster",
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      ports: [{ port: 80, protocol: "TCP", targetPort: 80 }],
    });
    expect(spec?.clusterIP).toMatch(/^10\.96\.\d+\.\d+$/);
    expect(spec?.clusterIPs).toEqual([spec?.clusterIP]);
    expect(spec).not.toHaveProperty("externalTrafficPolicy");
  });

  it("keeps given addresses and ports and hands them to nobody else", async () => {
    const small = { serviceCidrs: ["10.96.0.0/29"], nodePortRange: [30000, 30001] };
    const { store } = await testCluster(
      [],
      service("zz", `clusterIP: 10.96.0.3, type: NodePort, ports: [{port: 80, nodePort: 30000}]`) +
        ["a", "b", "c", "d"].map((n) => service(n, PORT)).join("") +
        service("e", `type: NodePort, ${PORT}`),
      small as never,
    );
    const ips = store.list("Service").map((s) => s.spec.clusterIP);
    expect(new Set(ips).size).toBe(6);
    expect(store.get("Service", "default", "zz")?.spec.clusterIP).toBe("10.96.0.3");
    expect(store.get("Service", "default", "e")?.spec.ports?.[0]?.nodePort).toBe(30001);
  });

  it("moves no address when another service is added", async () => {
    const before = await specOf(service("s", PORT));
    const after = await specOf(["a", "b", "c"].map((n) => service(n, PORT)).join("") + service("s", PORT));
    expect(after?.clusterIP).toBe(before?.clusterIP);
  });

  it("gives both families where they are asked for", async () => {
    const dual = { serviceCidrs: ["10.96.0.0/16", "fd01::/108"] };
    const spec = await specOf(service("s", `ipFamilyPolicy: PreferDualStack, ${PORT}`), dual);
    expect(spec?.ipFamilies).toEqual(["IPv4", "IPv6"]);
    expect(spec?.clusterIPs?.[1]).toMatch(/^fd01::/);
    expect((await specOf(service("s", `ipFamilies: [IPv6], ${PORT}`), dual))?.clusterIP).toMatch(/^fd01::/);
  });

  it("leaves headless and ExternalName services without an address", async () => {
    expect(await specOf(service("s", `clusterIP: None, ${PORT}`))).toMatchObject({
      clusterIP: "None",
      clusterIPs: ["None"],
    });
    expect(
      await specOf(
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: ExternalName, externalName: a.example}\n",
      ),
    ).not.toHaveProperty("clusterIP");
  });

  it("gives load balancers an address where there is a pool, and a health check port for policy Local", async () => {
    const { store } = await testCluster([], service("s", `type: LoadBalancer, externalTrafficPolicy: Local, ${PORT}`), {
      loadBalancerCidrs: ["192.0.2.0/24"],
    });
    const s = store.get("Service", "default", "s");
    expect(s?.status?.loadBalancer?.ingress?.[0]?.ip).toMatch(/^192\.0\.2\.\d+$/);
    expect(s?.spec.healthCheckNodePort).toBeGreaterThanOrEqual(30000);
    expect(s?.spec.healthCheckNodePort).not.toBe(s?.spec.ports?.[0]?.nodePort);
  });

  const DUAL = { serviceCidrs: ["10.96.0.0/16", "fd00:96::/112"] };
  it.each([
    ["nothing said", PORT, DUAL, "SingleStack", ["IPv4"]],
    ["the other family first", PORT, { serviceCidrs: [...DUAL.serviceCidrs].reverse() }, "SingleStack", ["IPv6"]],
    ["one family named", `ipFamilies: [IPv6], ${PORT}`, DUAL, "SingleStack", ["IPv6"]],
    ["two families named", `ipFamilies: [IPv6, IPv4], ${PORT}`, DUAL, "RequireDualStack", ["IPv6", "IPv4"]],
    ["an address given", `clusterIP: "fd00:96::9", ${PORT}`, DUAL, "SingleStack", ["IPv6"]],
    ["both preferred", `ipFamilyPolicy: PreferDualStack, ${PORT}`, DUAL, "PreferDualStack", ["IPv4", "IPv6"]],
    ["both preferred, one there", `ipFamilyPolicy: PreferDualStack, ${PORT}`, {}, "PreferDualStack", ["IPv4"]],
    [
      "both required, one named",
      `ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6], ${PORT}`,
      DUAL,
      "RequireDualStack",
      ["IPv6", "IPv4"],
    ],
    ["headless", `clusterIP: None, ${PORT}`, DUAL, "SingleStack", ["IPv4"]],
  ] as const)("infers families: %s", async (_, spec, settings, ipFamilyPolicy, ipFamilies) => {
    const { store } = await testCluster([], service("s", spec), settings);
    const s = store.get("Service", "default", "s");
    expect(s?.spec).toMatchObject({ ipFamilyPolicy, ipFamilies });
    const ips = s?.spec.clusterIPs ?? [];
    if (ips[0] !== "None") expect(ips.map((ip) => (ip.includes(":") ? "IPv6" : "IPv4"))).toEqual(ipFamilies);
  });

  it("lets a headless Service without a selector have both families on any cluster", async () => {
    const text = service("s", `clusterIP: None, ${PORT}`).replace("selector: {a: b}, ", "");
    expect(await specOf(text)).toMatchObject({ ipFamilyPolicy: "RequireDualStack", ipFamilies: ["IPv4", "IPv6"] });
  });

  it("gives up the second address where the policy becomes SingleStack", async () => {
    const cluster = await testCluster([], service("s", `ipFamilyPolicy: PreferDualStack, ${PORT}`), DUAL);
    const [first] = cluster.store.get("Service", "default", "s")?.spec.clusterIPs ?? [];
    await cluster.apply(service("s", `ipFamilyPolicy: SingleStack, ${PORT}`));
    expect(cluster.store.get("Service", "default", "s")?.spec).toMatchObject({
      clusterIPs: [first],
      ipFamilies: ["IPv4"],
    });
  });

  it.each([
    [
      "an address outside the range",
      service("s", `clusterIP: 10.43.0.1, ${PORT}`),
      {},
      "AddressOutOfRange: Service default/s: spec.clusterIP: 10.43.0.1 is not in the service CIDR 10.96.0.0/16",
    ],
    [
      "an address that another Service has, written another way",
      service("a", `clusterIP: "fd00:96::9", ${PORT}`) + service("b", `clusterIP: "FD00:96:0::9", ${PORT}`),
      { serviceCidrs: ["fd00:96::/112"] },
      "AddressInUse: Service default/b: spec.clusterIP: fd00:96::9 is in use by Service default/a",
    ],
    [
      "a full range",
      ["a", "b", "c"].map((n) => service(n, PORT)).join(""),
      { serviceCidrs: ["10.96.0.0/30"] },
      "CidrExhausted: Service default/c: spec.clusterIP: service CIDR 10.96.0.0/30: no free address (2 of 2 in use)",
    ],
    [
      "no node port left",
      service("a", `type: NodePort, ${PORT}`) + service("b", `type: NodePort, ${PORT}`),
      { nodePortRange: [30000, 30000] },
      "PortsExhausted: Service default/b: spec.ports: node ports 30000-30000: none free (1 of 1 in use)",
    ],
    ["a CIDR that is none", "", { serviceCidrs: ["10.96.0.0"] }, "CidrInvalid: service CIDR 10.96.0.0: not a CIDR"],
    [
      "two CIDRs of a family",
      "",
      { serviceCidrs: ["10.96.0.0/16", "10.97.0.0/16"] },
      "CidrInvalid: service CIDRs 10.96.0.0/16 and 10.97.0.0/16: two of one family",
    ],
    [
      "dual stack without a second range",
      service("s", `ipFamilyPolicy: RequireDualStack, ${PORT}`),
      {},
      "FamilyMissing: Service default/s: spec.ipFamilyPolicy: RequireDualStack needs a service CIDR of each family, there is 10.96.0.0/16",
    ],
    [
      "a family without a range",
      service("s", `ipFamilies: [IPv6], ${PORT}`),
      {},
      "FamilyMissing: Service default/s: spec.ipFamilies: IPv6 is not a family of the service CIDR 10.96.0.0/16",
    ],
  ])("refuses %s", async (_, text, settings, message) => {
    expect(await errorOf(text, settings)).toBe(message);
  });
});

it("finds kube-dns and the API server where a real cluster has them", async () => {
  const objects = systemObjects({ serviceCidr: "10.96.0.0/12", apiServer: { ip: "192.168.0.10", port: 6443 } });
  const cluster = await testCluster(["n1"], "", { serviceCidrs: ["10.96.0.0/12"] });
  for (const object of objects)
    if (cluster.store.get(object.kind, object.metadata.namespace ?? "", object.metadata.name) === undefined)
      await cluster.store.create(object);
  await cluster.manager.settle();
  expect(cluster.store.get("Service", "default", "kubernetes")?.spec.clusterIP).toBe("10.96.0.1");
  expect(cluster.store.get("Service", "kube-system", "kube-dns")?.spec.clusterIP).toBe(dnsServiceIp("10.96.0.0/12"));
  expect(dnsServiceIp("10.96.0.0/12")).toBe("10.96.0.10");
  const slices = cluster.store.list("EndpointSlice", { namespace: "kube-system" });
  expect(slices.flatMap((s) => s.ports?.map((p) => `${p.name} ${p.port}/${p.protocol}`))).toEqual([
    "dns 53/UDP",
    "dns-tcp 53/TCP",
    "metrics 9153/TCP",
  ]);
  expect(slices[0]?.endpoints).toHaveLength(2);
});
