/**
 * What Services can do, one walk a feature, in each mode of kube-proxy and each address family: real packets between pods,
 * nodes and the world outside. Where a mode is known to do something of its own, its expectation says so.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { EndpointSlice } from "../../cluster/api/endpoint-slice.ts";
import { runTool } from "../../cluster/apps/tools.ts";
import type { ProxyMode } from "../../cluster/boot.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { ipKey } from "../../dataplane/wire/ip-key.ts";
import { Cluster } from "../../library/index.ts";
import "../../library/vitest.ts";
import {
  ADDRESSES,
  clusterFor,
  type GivenEndpoint,
  givenSlice,
  inBrackets,
  manifests,
  WALK_CASES,
} from "./service-manifests.ts";

type Expectation<T> = { readonly usual: T } & { readonly [M in ProxyMode]?: T };

/** As many as it takes for every endpoint of two to have its turn, by any draw that the seed gives. */
const TURNS = 12;

describe.each(WALK_CASES)("Services in %s", (_name, { mode: proxyMode, family }) => {
  let cluster: Cluster;
  const { external, proxied, node, loopback, balancers } = ADDRESSES[family];
  const ipOf = (pod: string): string => cluster.store.get("Pod", "default", pod)?.status?.podIP ?? "";
  const service = (name: string) => cluster.store.get("Service", "default", name);
  const balancerOf = (name: string): string => service(name)?.status?.loadBalancer?.ingress?.[0]?.ip ?? "";
  const at = (ip: string, port: number): string => `${inBrackets(ip)}:${port}`;
  const inMode = <T>(e: Expectation<T>): T => (Object.hasOwn(e, proxyMode) ? (e[proxyMode] as T) : e.usual);
  const userspace = proxyMode === "userspace";

  /** Who is reached in several tries, sorted, or the verdict; with " masq" if the receiver sees another source. */
  async function reach(from: string, to: string, protocol?: "tcp" | "udp" | "sctp"): Promise<readonly string[]> {
    const seen = new Set<string>();
    for (let i = 0; i < TURNS; i++) {
      const { result } = await cluster.trace(from, to, protocol === undefined ? {} : { protocol });
      const { verdict, deliveredTo, masqueraded, reply } = result;
      const replied = verdict === "delivered" && reply.verdict !== "delivered" ? " without a reply" : "";
      seen.add((verdict === "delivered" ? `${deliveredTo?.name}${masqueraded ? " masq" : ""}` : verdict) + replied);
    }
    return [...seen].sort();
  }

  beforeAll(async () => {
    const sources = [{ file: "services.yaml", text: manifests(family) }];
    cluster = await Cluster.create({ sources, ...clusterFor({ mode: proxyMode, family }) });
    const a1 = { ip: ipOf("a1"), node: "node-1" };
    const b2 = { ip: ipOf("b2"), node: "node-2" };
    const gone = { ready: false, serving: true, terminating: true };
    const zone = (name: string) => ({ forZones: [{ name }] });
    await cluster.apply([
      givenSlice("drained", 8080, [
        { ...a1, conditions: gone },
        { ...b2, conditions: { ...gone, serving: false } },
      ]),
      givenSlice("half-drained", 8080, [{ ...a1, conditions: gone }, b2]),
      givenSlice("zoned", 8080, [
        { ...a1, hints: zone("zone-a") },
        { ...b2, hints: zone("zone-b") },
      ]),
      givenSlice("on-node", 8080, [
        { ...a1, hints: { forZones: [{ name: "zone-b" }], forNodes: [{ name: "node-1" }] } },
        { ...b2, hints: { forZones: [{ name: "zone-b" }], forNodes: [{ name: "node-2" }] } },
      ]),
      givenSlice("some-hints", 8080, [{ ...a1, hints: zone("zone-a") }, b2]),
      givenSlice("unready", 8080, [a1]),
      givenSlice("split", 8080, [a1], "one"),
      givenSlice("split", 8080, [b2], "two"),
      givenSlice("zeros", 8080, [
        { ...a1, ip: ipOf("a1").replace(/([.:])(1[.:])/, (_, before, rest) => `${before}00${rest}`) },
      ]),
    ]);
  });

  const BOTH: Expectation<readonly string[]> = { usual: ["a1", "b2"], userspace: ["a1 masq", "b2 masq"] };
  const BOTH_MASQ = ["a1 masq", "b2 masq"];
  const A1: Expectation<readonly string[]> = { usual: ["a1"], userspace: ["a1 masq"] };
  const B2: Expectation<readonly string[]> = { usual: ["b2"], userspace: ["b2 masq"] };

  it("ClusterIP: every ready endpoint, the client's address kept", async () => {
    expect(await reach("pod/c3", "svc/both:web")).toEqual(inMode(BOTH));
    expect(await reach("node/node-3", "svc/both:web")).toEqual(BOTH_MASQ);
    // A trace names the Service behind what sent the packet on.
    const { hops } = (await cluster.trace("pod/c3", "svc/both:web")).result;
    expect(hops.map((h) => h.rule?.origin ?? "").join()).toContain("Service default/both, services.yaml:");
  });

  it("the same port number for three protocols", async () => {
    expect(await reach("pod/c3", "svc/both:dgram")).toEqual(inMode(BOTH));
    expect(await reach("external", "node/node-3:30080", "udp")).toEqual(BOTH_MASQ);
  });

  it("SCTP, but for userspace mode, which has none", async () => {
    expect(await reach("pod/c3", "svc/both:assoc")).toEqual(inMode({ ...BOTH, userspace: ["dropped"] }));
    expect(await reach("external", "node/node-3:30080", "sctp")).toEqual(userspace ? ["rejected"] : BOTH_MASQ);
  });

  it("a target port by number, a port without a name", async () => {
    expect(await reach("pod/c3", "svc/number:8000")).toEqual(inMode(B2));
  });

  it("a port that the Service does not have: nothing to do with it, so it leaves and is lost; ipvs and nftables mode refuse", async () => {
    expect(await reach("pod/c3", "svc/both:81")).toEqual(
      inMode({ usual: ["dropped"], ipvs: ["rejected"], nftables: ["rejected"] }),
    );
  });

  it("hairpin: a pod reaches itself, masqueraded", async () => {
    expect(await reach("pod/a1", "svc/self:web")).toEqual(["a1 masq"]);
  });

  it("NodePort: every node, masqueraded", async () => {
    for (const node of ["node-1", "node-2", "node-3"])
      expect(await reach("external", `node/${node}:30080`)).toEqual(BOTH_MASQ);
    expect(await reach("pod/c3", "node/node-1:30080")).toEqual(BOTH_MASQ);
  });

  it("session affinity keeps a client at its endpoint until it has been away for the timeout", async () => {
    expect(await reach("pod/c3", "svc/sticky:web")).toHaveLength(1);
    expect(await reach("pod/c1", "svc/sticky:web")).toHaveLength(1);
    const { loop } = cluster.world;
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 2 * TURNS; i++) {
      loop.run({ deadline: loop.time + 600_000 });
      seen.add((await cluster.trace("pod/c3", "svc/sticky:web")).result.deliveredTo?.name);
    }
    expect([...seen].sort()).toEqual(["a1", "b2"]);
  });

  it("internal traffic policy Local: the node's own endpoints only", async () => {
    expect(await reach("node/node-2", "svc/inside:web")).toEqual(["b2 masq"]);
    expect(await reach("pod/c3", "svc/inside:web")).toEqual(
      inMode<readonly string[]>({ usual: ["dropped"], ipvs: ["rejected"], userspace: ["b2 masq"] }),
    );
  });

  it("external traffic policy Local: the client's address kept, nobody elsewhere", async () => {
    expect(await reach("external", "node/node-2:30081")).toEqual(inMode(B2));
    expect(await reach("external", "node/node-1:30081")).toEqual(
      // ipvs mode leads to all where none is local; there flannel replaces the source, as it is not a pod's.
      inMode<readonly string[]>({ usual: ["dropped"], ipvs: ["b2 masq"], userspace: ["b2 masq"] }),
    );
    // Pods and nodes take the short way, to every endpoint.
    expect(await reach("pod/c1", "node/node-1:30081")).toEqual(inMode(B2));
    expect(await reach("node/node-1", "node/node-1:30081")).toEqual(["b2 masq"]);
  });

  it("LoadBalancer: an address from the provider, reached from outside and inside", async () => {
    expect(balancerOf("balanced")).toMatch(balancers);
    expect(await reach("external", at(balancerOf("balanced"), 80))).toEqual(BOTH_MASQ);
    expect(await reach("pod/c3", at(balancerOf("balanced"), 80))).toEqual(BOTH_MASQ);
    expect(await reach("external", at(balancerOf("far"), 80))).toEqual(inMode(B2));
  });

  it("source ranges: who is not in them is dropped; node ports go past them", async () => {
    expect(await reach("external", at(balancerOf("open"), 80))).toEqual(BOTH_MASQ);
    expect(await reach("external", at(balancerOf("closed"), 80))).toEqual(
      inMode<readonly string[]>({ usual: ["dropped"], userspace: BOTH_MASQ }),
    );
    expect(await reach("external", "node/node-1:30084")).toEqual(BOTH_MASQ);
  });

  it("ipMode Proxy: kube-proxy leaves the address to the load balancer", async () => {
    const traced = await cluster.trace("pod/c3", at(proxied, 80));
    expect(traced.result.verdict).toBe("delivered");
    if (!userspace) expect(traced.result.hops.map((h) => h.node)).toContain("router");
    expect(await reach("external", at(proxied, 80))).toEqual(BOTH_MASQ);
  });

  it("external IPs", async () => {
    expect(await reach("external", at(external, 80))).toEqual(BOTH_MASQ);
    expect(await reach("pod/c3", at(external, 80))).toEqual(
      // Traffic of pods to an external IP is not masqueraded twice, but it is masqueraded.
      BOTH_MASQ,
    );
  });

  it("dual stack: each address leads to the endpoints of its family (userspace mode, and IPv4 here: one family)", async () => {
    const { clusterIPs = [], ipFamilies = [] } = service("two")?.spec ?? {};
    const balancers = service("two")?.status?.loadBalancer?.ingress ?? [];
    expect(ipFamilies).toEqual(family === 4 ? ["IPv4"] : userspace ? ["IPv6"] : ["IPv6", "IPv4"]);
    expect([clusterIPs.length, balancers.length]).toEqual([ipFamilies.length, ipFamilies.length]);
    for (const ip of clusterIPs) expect(await reach("pod/c3", at(ip, 80))).toEqual(inMode(BOTH));
    for (const { ip = "" } of balancers) expect(await reach("external", at(ip, 80))).toEqual(BOTH_MASQ);
    for (const to of cluster.nodes.get("node-1")?.ips ?? [])
      expect(await reach("external", at(to, 30087))).toEqual(BOTH_MASQ);
  });

  it("no endpoints: refused", async () => {
    expect(await reach("pod/c3", "svc/nobody:web")).toEqual(["rejected"]);
    expect(await reach("external", "node/node-1:30086")).toEqual(["rejected"]);
  });

  it("headless and ExternalName: no more than names", async () => {
    expect(await reach("pod/c3", "headless:8080")).toEqual(["a1"]);
    expect(await reach("pod/c3", "alias:80")).toEqual(inMode(BOTH));
  });

  it("endpoints that terminate serve where none is ready", async () => {
    expect(await reach("pod/c3", "svc/drained:web")).toEqual(
      inMode<readonly string[]>({ usual: ["a1"], userspace: ["rejected"] }),
    );
    expect(await reach("pod/c3", "svc/half-drained:web")).toEqual(inMode(B2));
  });

  it("topology hints: the own node, or the own zone, if all endpoints have hints", async () => {
    expect(await reach("pod/c1", "svc/zoned:web")).toEqual(inMode(userspace ? BOTH : A1));
    expect(await reach("pod/c3", "svc/zoned:web")).toEqual(inMode(userspace ? BOTH : B2));
    expect(await reach("pod/c1", "svc/on-node:web")).toEqual(inMode(userspace ? BOTH : A1));
    expect(await reach("pod/c3", "svc/on-node:web")).toEqual(inMode(BOTH));
    expect(await reach("pod/c3", "svc/some-hints:web")).toEqual(inMode(BOTH));
  });

  it("publishNotReadyAddresses: the slice says ready", async () => {
    expect(await reach("pod/c3", "svc/unready:web")).toEqual(inMode(A1));
  });

  it("several slices of one Service; a slice that gets another name and port", async () => {
    expect(await reach("pod/c3", "svc/split:web")).toEqual(inMode(BOTH));
    await cluster.delete("EndpointSlice", "default", "split-one");
    expect(await reach("pod/c3", "svc/split:web")).toEqual(inMode(B2));
    await cluster.apply([givenSlice("split", 8080, [{ ip: ipOf("a1"), node: "node-1" }], "three")]);
    expect(await reach("pod/c3", "svc/split:web")).toEqual(inMode(BOTH));
  });

  it("addresses with leading zeros are read as Kubernetes reads them, IPv4 as decimal", async () => {
    expect(await reach("pod/c3", "svc/zeros:web")).toEqual(inMode(A1));
  });

  it("the health check node port tells whether the node has endpoints", async () => {
    for (const [number, status] of [
      [12, "200 OK"],
      [11, "503 Service Unavailable"],
    ] as const) {
      const { stdout } = cluster.exec("c3", ["curl", "-i", `http://${at(`${node}${number}`, 30200)}/`]);
      expect(stdout).toContain(`HTTP/1.1 ${status}`);
      expect(stdout).toContain(`"localEndpoints":${status.startsWith("200") ? 1 : 0}`);
    }
  });

  it("metrics, on the node's own localhost", async () => {
    const ns = [...cluster.namespaces()].find((n) => n.node === "node-1" && cluster.podOf(n) === undefined);
    if (ns === undefined) throw new Error("node-1 has no namespace");
    const { stdout } = runTool(ns, ["curl", `http://${at(loopback, 10249)}/metrics`], {
      nameservers: [],
      searches: [],
      options: [],
    });
    const metric = (name: string): number => Number(new RegExp(`^kubeproxy_${name} (\\d+)$`, "m").exec(stdout)?.[1]);
    expect(metric("sync_full_proxy_rules_duration_seconds_count")).toBeGreaterThan(0);
    expect(metric("sync_proxy_rules_service_changes_total")).toBeGreaterThan(20);
    if (proxyMode === "iptables")
      expect(metric('sync_proxy_rules_iptables_total{table="nat"}'.replaceAll(/[{}]/g, "\\$&"))).toBeGreaterThan(100);
    // On node-1 there is nobody behind "inside" and "far".
    for (const policy of ["internal", "external"])
      expect(stdout).toContain(`no_local_endpoints_total{traffic_policy="${policy}"} 1\n`);
  });

  it("UDP: a client that keeps its port is not left with an endpoint that is gone", async () => {
    await cluster.apply([datagrams("both-udp", [{ ip: ipOf("a1"), node: "node-1" }])]);
    const ns = [...cluster.namespaces()].find((n) => cluster.podOf(n)?.metadata.name === "c3");
    if (ns === undefined) throw new Error("c3 has no namespace");
    const answers: string[] = [];
    const socket = UdpSocket.bind(ns, ANY, 41_000, {
      datagram: (_s, bytes, off, len) => void answers.push(new TextDecoder().decode(bytes.subarray(off, off + len))),
    });
    const ask = (): void => {
      const { loop } = cluster.world;
      const question = new TextEncoder().encode("hostname");
      socket?.send(ipKey(service("both-udp")?.spec.clusterIP ?? ""), 90, question, 0, question.length);
      loop.run({ deadline: loop.time + 100 });
    };
    ask();
    ask();
    await cluster.apply([datagrams("both-udp", [{ ip: ipOf("b2"), node: "node-2" }])]);
    ask();
    socket?.close();
    expect(answers).toEqual(userspace ? ["a1", "a1", "a1"] : ["a1", "a1", "b2"]);
  });
});

function datagrams(name: string, endpoints: readonly GivenEndpoint[]): EndpointSlice {
  return { ...givenSlice(name, 8081, endpoints), ports: [{ name: "", port: 8081, protocol: "UDP" }] };
}
