import { decode, encode, type Packet } from "dns-packet";
import { describe, expect, it } from "vitest";
import type { Pod } from "../api/pod.ts";
import { template, testCluster } from "../controllers/testing.ts";
import { formatResolvConf, resolvConfOf, searchNames } from "./resolv-conf.ts";
import { type DnsOptions, DnsServer } from "./server.ts";
import { KubernetesZone } from "./zone.ts";

const MANIFESTS = `
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.7.7, selector: {app: db}, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: shop}
spec: {clusterIPs: [10.96.7.8, "fd01::8"], clusterIP: 10.96.7.8, selector: {app: db}, ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: web, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: None, selector: {app: none}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: backend.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: www.example.com}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
${template("app: db")}`;

async function server(options: DnsOptions = {}, yaml = MANIFESTS): Promise<DnsServer> {
  const { store } = await testCluster(["n1"], yaml, { serviceCidrs: ["10.96.0.0/16", "fd01::/108"] });
  return new DnsServer(new KubernetesZone(store), options);
}

function ask(
  dns: DnsServer,
  name: string,
  type: string,
  extra: Partial<Packet> = {},
  transport: "udp" | "tcp" = "udp",
): ReturnType<typeof decode> {
  const query = encode({ id: 77, type: "query", flags: 0x100, questions: [{ name, type: type as "A" }], ...extra });
  const answer = dns.answer(query, transport);
  if (answer === null) throw new Error("no answer");
  return decode(Buffer.from(answer));
}

function show(packet: ReturnType<typeof decode>): string {
  const text = (packet.answers ?? []).map((a) => {
    const data = (a as { data: unknown }).data;
    if (a.type === "SRV") return `SRV ${a.data.priority} ${a.data.weight} ${a.data.port} ${a.data.target}`;
    return `${a.type} ${Array.isArray(data) ? data.map(String).join("") : String(data)}`;
  });
  const soa = packet.authorities?.some((a) => a.type === "SOA") ? "SOA" : "";
  return [(packet as { rcode?: string }).rcode ?? "", ...text, soa].filter((t) => t !== "").join("; ");
}

describe("the cluster's names", () => {
  it.each([
    ["backend.shop.svc.cluster.local", "A", "NOERROR; A 10.96.7.7"],
    ["BackEnd.Shop.SVC.cluster.LOCAL", "A", "NOERROR; A 10.96.7.7"],
    ["backend.shop.svc.cluster.local", "AAAA", "NOERROR; SOA"],
    ["backend.shop.svc.cluster.local", "TXT", "NOERROR; SOA"],
    ["dual.shop.svc.cluster.local", "AAAA", "NOERROR; AAAA fd01::8"],
    [
      "backend.shop.svc.cluster.local",
      "SRV",
      "NOERROR; SRV 0 50 80 backend.shop.svc.cluster.local; SRV 0 50 53 backend.shop.svc.cluster.local",
    ],
    ["_http._tcp.backend.shop.svc.cluster.local", "SRV", "NOERROR; SRV 0 100 80 backend.shop.svc.cluster.local"],
    ["_http._udp.backend.shop.svc.cluster.local", "SRV", "NXDOMAIN; SOA"],
    ["db.shop.svc.cluster.local", "A", "NOERROR; A 10.244.1.1; A 10.244.1.2"],
    ["db-1.db.shop.svc.cluster.local", "A", "NOERROR; A 10.244.1.2"],
    ["db-2.db.shop.svc.cluster.local", "A", "NXDOMAIN; SOA"],
    ["10-244-1-1.backend.shop.svc.cluster.local", "A", "NOERROR; A 10.244.1.1"],
    [
      "_web._tcp.db.shop.svc.cluster.local",
      "SRV",
      "NOERROR; SRV 0 50 8080 db-0.db.shop.svc.cluster.local; SRV 0 50 8080 db-1.db.shop.svc.cluster.local",
    ],
    ["empty.shop.svc.cluster.local", "A", "NXDOMAIN; SOA"],
    ["alias.shop.svc.cluster.local", "A", "NOERROR; CNAME backend.shop.svc.cluster.local; A 10.96.7.7"],
    ["outside.shop.svc.cluster.local", "A", "NOERROR; CNAME www.example.com"],
    ["nobody.shop.svc.cluster.local", "A", "NXDOMAIN; SOA"],
    ["backend.nowhere.svc.cluster.local", "A", "NXDOMAIN; SOA"],
    ["shop.svc.cluster.local", "A", "NOERROR; SOA"],
    ["nowhere.svc.cluster.local", "A", "NXDOMAIN; SOA"],
    ["svc.cluster.local", "A", "NOERROR; SOA"],
    ["cluster.local", "A", "NOERROR; SOA"],
    ["cluster.local", "SOA", "NOERROR; SOA [object Object]"],
    ["example.cluster.local", "A", "NXDOMAIN; SOA"],
    ["dns-version.cluster.local", "TXT", "NOERROR; TXT 1.1.0"],
    ["10-244-9-9.shop.pod.cluster.local", "A", "NOERROR; A 10.244.9.9"],
    ["10-244-9-9.shop.pod.cluster.local", "AAAA", "NOERROR; SOA"],
    ["fd00--1.shop.pod.cluster.local", "AAAA", "NOERROR; AAAA fd00::1"],
    ["10-244-9-999.shop.pod.cluster.local", "A", "NXDOMAIN; SOA"],
    ["10-244-9-9.nowhere.pod.cluster.local", "A", "NXDOMAIN; SOA"],
    ["7.7.96.10.in-addr.arpa", "PTR", "NOERROR; PTR backend.shop.svc.cluster.local"],
    [
      "8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa",
      "PTR",
      "NOERROR; PTR dual.shop.svc.cluster.local",
    ],
    ["9.9.9.9.in-addr.arpa", "PTR", "REFUSED"],
    ["www.example.com", "A", "REFUSED"],
    ["cluster.localx", "A", "REFUSED"],
  ])("%s %s", async (name, type, want) => {
    expect(show(ask(await server(), name, type))).toBe(want);
  });

  it("finds the pods behind an address", async () => {
    const answers = show(ask(await server(), "1.1.244.10.in-addr.arpa", "PTR"));
    expect(answers).toContain("PTR db-0.db.shop.svc.cluster.local");
    expect(answers).toContain("PTR 10-244-1-1.backend.shop.svc.cluster.local");
  });

  it("sends addresses of SRV targets along, and keeps the name as it was asked", async () => {
    const packet = ask(await server(), "_web._tcp.DB.shop.svc.cluster.local", "SRV");
    expect(packet.additionals?.map((a) => (a as { data: string }).data)).toEqual(["10.244.1.1", "10.244.1.2"]);
    expect(packet.answers?.[0]?.name).toBe("_web._tcp.DB.shop.svc.cluster.local");
    expect(packet.flag_aa).toBe(true);
  });
});

describe("DNS messages", () => {
  it("ask an upstream for other names where there is one", async () => {
    const dns = await server({
      upstream: (name) => (name === "www.example.com" ? ["192.0.2.1", "2001:db8::1"] : null),
    });
    expect(show(ask(dns, "www.example.com", "A"))).toBe("NOERROR; A 192.0.2.1");
    expect(show(ask(dns, "www.example.com", "AAAA"))).toBe("NOERROR; AAAA 2001:db8::1");
    expect(show(ask(dns, "no.example.com", "A"))).toBe("NXDOMAIN");
  });

  it("are cut over UDP when they are too long, and whole over TCP", async () => {
    const dns = await server({}, MANIFESTS.replace("replicas: 2", "replicas: 90"));
    const name = "db.shop.svc.cluster.local";
    const short = ask(dns, name, "A");
    expect([short.flag_tc, short.answers?.length]).toEqual([true, 0]);
    expect(ask(dns, name, "A", {}, "tcp").answers).toHaveLength(90);
    const edns = {
      additionals: [
        {
          type: "OPT" as const,
          name: ".",
          udpPayloadSize: 4096,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    };
    expect(
      ask(await server({}, MANIFESTS.replace("replicas: 2", "replicas: 20")), name, "A", edns).answers,
    ).toHaveLength(20);
  });

  it("that are broken get FORMERR or nothing", async () => {
    const dns = await server();
    expect(dns.answer(new Uint8Array(5))).toBeNull();
    expect(dns.answer(encode({ id: 1, type: "response", questions: [] }))).toBeNull();
    const cut = encode({ id: 9, type: "query", questions: [{ name: "a.b", type: "A" }] }).subarray(0, 14);
    expect(dns.answer(cut)?.[3]).toBe(1);
    expect(dns.answer(encode({ id: 9, type: "query", questions: [] }))?.[3]).toBe(1);
    const notify = encode({ id: 9, type: "query", questions: [{ name: "a.b", type: "A" }] });
    notify[2] = 4 << 3;
    expect((dns.answer(notify)?.[3] ?? 0) & 15).toBe(4);
  });
});

describe("a pod's resolv.conf", () => {
  const pod = (spec: Partial<Pod["spec"]>): Pod => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p", namespace: "shop" },
    spec: { containers: [], ...spec },
  });
  const settings = {
    clusterDns: ["10.96.0.10"],
    node: { nameservers: ["192.0.2.53"], searches: ["corp.example"], options: ["rotate"] },
  };

  it.each([
    [
      "by default",
      {},
      "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n",
    ],
    ["on the host network", { hostNetwork: true }, "search corp.example\nnameserver 192.0.2.53\noptions rotate\n"],
    [
      "on the host network, cluster first",
      { hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" as const },
      "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n",
    ],
    [
      "with policy None",
      {
        dnsPolicy: "None" as const,
        dnsConfig: { nameservers: ["1.1.1.1"], options: [{ name: "ndots", value: "2" }, { name: "edns0" }] },
      },
      "nameserver 1.1.1.1\noptions ndots:2 edns0\n",
    ],
    [
      "with a dnsConfig on top",
      { dnsConfig: { searches: ["my.example"], options: [{ name: "ndots", value: "1" }] } },
      "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example my.example\nnameserver 10.96.0.10\noptions ndots:1\n",
    ],
  ])("%s", (_, spec, want) => {
    expect(formatResolvConf(resolvConfOf(pod(spec), settings))).toBe(want);
  });

  it("says which names are asked for, in order", () => {
    const conf = resolvConfOf(pod({}), { clusterDns: ["10.96.0.10"] });
    expect(searchNames("backend", conf)).toEqual([
      "backend.shop.svc.cluster.local",
      "backend.svc.cluster.local",
      "backend.cluster.local",
      "backend",
    ]);
    expect(searchNames("a.b.c.d.e.f", conf)[0]).toBe("a.b.c.d.e.f");
    expect(searchNames("backend.", conf)).toEqual(["backend"]);
    expect(searchNames("a.b", { nameservers: [], searches: ["x"], options: [] })).toEqual(["a.b", "a.b.x"]);
  });
});
