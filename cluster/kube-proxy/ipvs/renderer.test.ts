import { describe, expect, it } from "vitest";
import { Host } from "../../../dataplane/host/host.ts";
import { World } from "../../../dataplane/host/world.ts";
import { saveIpvs } from "../../../dataplane/ipvs/text.ts";
import { applyOps } from "../../../dataplane/netns/rtnl-apply.ts";
import type { Family } from "../../api/ip.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig } from "../config.ts";
import { EndpointsTracker } from "../endpoints-tracker.ts";
import { ServiceTracker } from "../service-tracker.ts";
import { NODE, service, slice } from "../testing.ts";
import { IpvsRenderer } from "./renderer.ts";

const PORT = { name: "p", port: 80, protocol: "TCP" as const, targetPort: 8080 };

function proxy(
  config: Partial<ProxyConfig> = {},
  family: Family = 4,
): {
  readonly services: ServiceTracker;
  readonly endpoints: EndpointsTracker;
  readonly renderer: IpvsRenderer;
} {
  const services = new ServiceTracker(family);
  const endpoints = new EndpointsTracker(family, NODE.name);
  const clusterCIDR = "10.180.0.0/16,fd00:180::/56";
  const full: ProxyConfig = { ...DEFAULT_PROXY_CONFIG, mode: "ipvs", clusterCIDR, ...config };
  const node = { ...NODE, ips: [...NODE.ips, "fd00:192:168::2"] };
  return {
    services,
    endpoints,
    renderer: new IpvsRenderer({ family, node, config: full, randomFully: true }, services, endpoints),
  };
}

/** A Service with everything: node port, external address, load balancer with source ranges, affinity. */
function everything(config: Partial<ProxyConfig> = {}): IpvsRenderer {
  const { services, endpoints, renderer } = proxy(config);
  services.set(
    service(
      "d/web",
      {
        type: "LoadBalancer",
        clusterIP: "10.96.0.20",
        ports: [{ ...PORT, nodePort: 30020 }],
        externalIPs: ["198.51.100.7"],
        externalTrafficPolicy: "Local",
        loadBalancerSourceRanges: ["203.0.113.0/24", "0.0.0.0/0"],
        healthCheckNodePort: 32000,
        sessionAffinity: "ClientIP",
      },
      { loadBalancer: { ingress: [{ ip: "198.51.100.9" }] } },
    ),
  );
  endpoints.set(slice("d/web", "p", 8080, ["10.180.0.5@test-node", "10.180.1.5@other"]));
  renderer.update();
  return renderer;
}

/** The same for the other family, whose Service has an SCTP port besides. */
function everything6(): IpvsRenderer {
  const { services, endpoints, renderer } = proxy({}, 6);
  const sctp = { name: "s", port: 80, protocol: "SCTP" as const, nodePort: 30020 };
  services.set(
    service(
      "d/web",
      {
        type: "LoadBalancer",
        clusterIP: "fd00:96::20",
        ports: [{ ...PORT, nodePort: 30020 }, sctp],
        externalTrafficPolicy: "Local",
        loadBalancerSourceRanges: ["2001:db8::/64", "::/0"],
        healthCheckNodePort: 32000,
        sessionAffinity: "ClientIP",
      },
      { loadBalancer: { ingress: [{ ip: "2001:db8:1b::9" }] } },
    ),
  );
  endpoints.set(slice("d/web", "p", 8080, ["fd00:180::5@test-node", "fd00:180:1::5@other"]));
  renderer.update();
  return renderer;
}

describe("ipvs mode", () => {
  it("gives each address of a Service a virtual server, local ones where the policy says so", () => {
    expect(everything().serversText()).toBe(`-A -t 10.96.0.20:80 -s rr -p 10800
-a -t 10.96.0.20:80 -r 10.180.0.5:8080 -m -w 1
-a -t 10.96.0.20:80 -r 10.180.1.5:8080 -m -w 1
-A -t 198.51.100.7:80 -s rr -p 10800
-a -t 198.51.100.7:80 -r 10.180.0.5:8080 -m -w 1
-A -t 198.51.100.9:80 -s rr -p 10800
-a -t 198.51.100.9:80 -r 10.180.0.5:8080 -m -w 1
-A -t 192.168.0.2:30020 -s rr -p 10800
-a -t 192.168.0.2:30020 -r 10.180.0.5:8080 -m -w 1
`);
  });

  it("fills kube-proxy's sets, and binds all addresses but the node's", () => {
    const renderer = everything();
    const added = renderer
      .setsText()
      .split("\n")
      .filter((l) => l.startsWith("add "));
    expect(added).toEqual([
      "add KUBE-CLUSTER-IP 10.96.0.20,tcp:80",
      "add KUBE-EXTERNAL-IP-LOCAL 198.51.100.7,tcp:80",
      "add KUBE-HEALTH-CHECK-NODE-PORT 32000",
      "add KUBE-IPVS-IPS 10.96.0.20",
      "add KUBE-IPVS-IPS 198.51.100.7",
      "add KUBE-IPVS-IPS 198.51.100.9",
      "add KUBE-LOAD-BALANCER 198.51.100.9,tcp:80",
      "add KUBE-LOAD-BALANCER-FW 198.51.100.9,tcp:80",
      "add KUBE-LOAD-BALANCER-LOCAL 198.51.100.9,tcp:80",
      "add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.9,tcp:80,0.0.0.0/1",
      "add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.9,tcp:80,128.0.0.0/1",
      "add KUBE-LOAD-BALANCER-SOURCE-CIDR 198.51.100.9,tcp:80,203.0.113.0/24",
      "add KUBE-LOAD-BALANCER-SOURCE-IP 198.51.100.9,tcp:80,198.51.100.9",
      "add KUBE-LOOP-BACK 10.180.0.5,tcp:8080,10.180.0.5",
      "add KUBE-NODE-PORT-LOCAL-TCP 30020",
      "add KUBE-NODE-PORT-TCP 30020",
    ]);
    expect(renderer.addresses).toEqual(["10.96.0.20", "198.51.100.7", "198.51.100.9"]);
  });

  it("has sets of its own for IPv6, with names that the kernel takes", () => {
    const text = everything6().setsText();
    const creates = text.split("\n").filter((l) => l.startsWith("create "));
    expect(creates).toHaveLength(17);
    for (const line of creates) {
      expect(line.split(" ")[1]).toMatch(/^KUBE-6-.{1,24}$/);
      expect(line).toMatch(/ (family inet6 hashsize 1024 maxelem 65536|bitmap:port range 0-65535) -exist$/);
    }
    expect(text).toContain("create KUBE-6-NODE-PORT-LOCAL-SCTP-HAS hash:ip,port family inet6");
    const entries = text.split("\n").filter((l) => l.startsWith("add ") && !l.includes("sctp"));
    expect(entries).toEqual([
      "add KUBE-6-CLUSTER-IP fd00:96::20,tcp:80",
      "add KUBE-6-HEALTH-CHECK-NODE-PORT 32000",
      "add KUBE-6-IPVS-IPS 2001:db8:1b::9",
      "add KUBE-6-IPVS-IPS fd00:96::20",
      "add KUBE-6-LOAD-BALANCER 2001:db8:1b::9,tcp:80",
      "add KUBE-6-LOAD-BALANCER-FW 2001:db8:1b::9,tcp:80",
      "add KUBE-6-LOAD-BALANCER-LOCAL 2001:db8:1b::9,tcp:80",
      "add KUBE-6-LOAD-BALANCER-SOURCE-CID 2001:db8:1b::9,tcp:80,2001:db8::/64",
      "add KUBE-6-LOAD-BALANCER-SOURCE-CID 2001:db8:1b::9,tcp:80,8000::/1",
      "add KUBE-6-LOAD-BALANCER-SOURCE-CID 2001:db8:1b::9,tcp:80,::/1",
      "add KUBE-6-LOAD-BALANCER-SOURCE-IP 2001:db8:1b::9,tcp:80,2001:db8:1b::9",
      "add KUBE-6-LOOP-BACK fd00:180::5,tcp:8080,fd00:180::5",
      "add KUBE-6-NODE-PORT-LOCAL-TCP 30020",
      "add KUBE-6-NODE-PORT-TCP 30020",
    ]);
  });

  it("gives IPv6 Services virtual servers in brackets, and rules over the sets of IPv6", () => {
    const renderer = everything6();
    expect(
      renderer
        .serversText()
        .split("\n")
        .filter((l) => !l.includes("--sctp")),
    ).toEqual([
      "-A -t [fd00:96::20]:80 -s rr -p 10800",
      "-a -t [fd00:96::20]:80 -r [fd00:180:1::5]:8080 -m -w 1",
      "-a -t [fd00:96::20]:80 -r [fd00:180::5]:8080 -m -w 1",
      "-A -t [2001:db8:1b::9]:80 -s rr -p 10800",
      "-a -t [2001:db8:1b::9]:80 -r [fd00:180::5]:8080 -m -w 1",
      "-A -t [fd00:192:168::2]:30020 -s rr -p 10800",
      "-a -t [fd00:192:168::2]:30020 -r [fd00:180::5]:8080 -m -w 1",
      "",
    ]);
    const rules = renderer.rulesText();
    expect(rules).toContain("-A KUBE-SERVICES -s ::1/128 -j RETURN\n");
    expect(rules).toContain("--match-set KUBE-6-CLUSTER-IP dst,dst ! -s fd00:180::/56 -j KUBE-MARK-MASQ");
    expect(rules.match(/--match-set (?!KUBE-6-)\S+/g)).toBeNull();
    expect(renderer.originOf("TCP [fd00:96::20]:80")).toMatchObject({ kind: "Service", name: "web" });
  });

  it("writes text that a node takes whole", () => {
    const host = new Host(new World(1), "node");
    const renderer = everything({ ipvs: { ...DEFAULT_PROXY_CONFIG.ipvs, scheduler: "mh" } });
    const netns = "host";
    applyOps(host, [
      { op: "ipset.restore", netns, text: renderer.setsText() },
      { op: "iptables.restore", netns, family: "ipv4", text: renderer.rulesText(), noflush: true },
      { op: "ipvs.restore", netns, text: renderer.serversText() },
    ]);
    expect(saveIpvs(host.root)).toContain("-A -t 10.96.0.20:80 -s mh -p 10800 -b mh-port\n");
  });

  it("writes rules that do not grow with the Services", () => {
    const { services, renderer } = proxy();
    const lines = (n: number): number => {
      for (let i = 0; i < n; i++)
        services.set(service(`d/s${i}`, { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [PORT] }));
      renderer.update();
      return renderer.rulesText().split("\n").length;
    };
    expect(lines(1)).toBe(lines(500));
  });

  it("changes only what changed, and lets connections of TCP end", () => {
    const { services, endpoints, renderer } = proxy();
    services.set(service("d/a", { clusterIP: "10.96.0.1", ports: [PORT] }));
    services.set(service("d/b", { clusterIP: "10.96.0.2", ports: [PORT] }));
    endpoints.set(slice("d/a", "p", 8080, ["10.180.0.5", "10.180.0.6"]));
    expect(renderer.update().bind).toEqual(["10.96.0.1", "10.96.0.2"]);
    const gone = slice("d/a", "p", 8080, ["10.180.0.5", "10.180.0.6"]);
    endpoints.delete(gone);
    endpoints.set(slice("d/a", "p", 8080, ["10.180.0.5"]));
    const change = renderer.update(() => 3);
    expect(change).toMatchObject({ sets: "", bind: [], unbind: [], rules: false });
    expect(change.servers).toBe("-e -t 10.96.0.1:80 -r 10.180.0.6:8080 -m -w 0\n");
    expect(renderer.update(() => 1).servers).toBe("");
    expect(renderer.update(() => 0).servers).toBe("-d -t 10.96.0.1:80 -r 10.180.0.6:8080\n");
    services.delete("d", "b");
    expect(renderer.update()).toMatchObject({
      servers: "-D -t 10.96.0.2:80\n",
      sets: "del KUBE-CLUSTER-IP 10.96.0.2,tcp:80\ndel KUBE-IPVS-IPS 10.96.0.2\n",
      unbind: ["10.96.0.2"],
    });
  });
});
