import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { missing } from "../../../test/support/needs.ts";
import { DEFAULT_PROXY_CONFIG, type ProxyConfig } from "../config.ts";
import { EndpointsTracker } from "../endpoints-tracker.ts";
import { ServiceTracker } from "../service-tracker.ts";
import { NODE, service, slice } from "../testing.ts";
import { NftablesRenderer } from "./renderer.ts";

const TCP80 = { name: "p80", port: 80, protocol: "TCP" as const };

function harness(config: Partial<ProxyConfig> = {}, family: 4 | 6 = 4) {
  const services = new ServiceTracker(family);
  const endpoints = new EndpointsTracker(family, NODE.name);
  const whole = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.0.0.0/8,fd00:10::/32", ...config };
  const serviceCidrs = ["172.30.0.0/16", "fd00:172:30::/108"];
  const node = { ...NODE, ips: [...NODE.ips, "2001:db8::2"] };
  const renderer = new NftablesRenderer({ family, node, config: whole, services, endpoints, serviceCidrs });
  return { services, endpoints, renderer };
}

/** One of each kind, with what is behind it. */
function populate({ services, endpoints }: ReturnType<typeof harness>): void {
  services.set(service("ns1/svc1", { clusterIP: "172.30.0.41", ports: [TCP80] }));
  endpoints.set(slice("ns1/svc1", "p80", 80, ["10.180.0.1"]));
  services.set(
    service(
      "ns2/svc2",
      {
        type: "LoadBalancer",
        externalTrafficPolicy: "Local",
        clusterIP: "172.30.0.42",
        ports: [{ ...TCP80, nodePort: 3001 }],
        externalIPs: ["192.168.99.22"],
      },
      { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } },
    ),
  );
  endpoints.set(slice("ns2/svc2", "p80", 80, ["10.180.0.2"]));
  services.set(
    service(
      "ns5/svc5",
      {
        type: "LoadBalancer",
        clusterIP: "172.30.0.45",
        ports: [{ ...TCP80, nodePort: 3002 }],
        loadBalancerSourceRanges: [" 203.0.113.0/25", "192.168.0.0/24"],
        sessionAffinity: "ClientIP",
      },
      { loadBalancer: { ingress: [{ ip: "5.6.7.8" }] } },
    ),
  );
  endpoints.set(slice("ns5/svc5", "p80", 80, ["10.180.0.3", `10.180.0.4@${NODE.name}`]));
  services.set(service("ns6/svc6", { clusterIP: "172.30.0.46", ports: [TCP80] }));
}

const reason = missing("netns", "nft");

/** What nft lists after the texts, one transaction each; throws what it says against them. */
function inNft(...texts: readonly string[]): string {
  const script = texts.map((text) => `nft -f - <<'END' || exit 1\n${text}END`).join("\n");
  const run = spawnSync("unshare", ["-n", "sh", "-c", `${script}\nnft -s list ruleset`], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return run.stdout;
}

const sorted = (text: string): readonly string[] =>
  text
    .split("\n")
    .map((l) => l.trim())
    .sort();

describe("the table of nftables mode", () => {
  it("names chains as kube-proxy does", () => {
    const h = harness();
    populate(h);
    const text = h.renderer.full();
    for (const name of [
      "service-ULMVA6XW-ns1/svc1/tcp/p80",
      "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80",
      "external-42NFTM6N-ns2/svc2/tcp/p80",
      "firewall-HVFWP5L3-ns5/svc5/tcp/p80",
    ])
      expect(text).toContain(`add chain ip kube-proxy ${name}\n`);
    expect(text).toContain("add set ip kube-proxy affinity-GTK6MW7G-ns5/svc5/tcp/p80__10.180.0.3/80 {");
  });

  it("leads to endpoints, refuses where there are none, and drops where none is here", () => {
    const h = harness();
    populate(h);
    const lines = h.renderer.full().split("\n");
    const rulesOf = (chain: string): readonly string[] =>
      lines.flatMap((l) => (l.startsWith(`add rule ip kube-proxy ${chain} `) ? [l.split(`${chain} `)[1] ?? ""] : []));
    expect(rulesOf("service-ULMVA6XW-ns1/svc1/tcp/p80")).toEqual([
      "ip daddr 172.30.0.41 ip saddr != 10.0.0.0/8 jump mark-for-masquerade",
      "numgen random mod 1 vmap { 0 : goto endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 }",
    ]);
    expect(rulesOf("endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80")).toEqual([
      "ip saddr 10.180.0.1 jump mark-for-masquerade",
      "meta l4proto tcp dnat to 10.180.0.1:80",
    ]);
    expect(rulesOf("external-42NFTM6N-ns2/svc2/tcp/p80")).toEqual([
      'ip saddr 10.0.0.0/8 goto service-42NFTM6N-ns2/svc2/tcp/p80 comment "short-circuit pod traffic"',
      'fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"',
      'fib saddr type local goto service-42NFTM6N-ns2/svc2/tcp/p80 comment "short-circuit local traffic"',
    ]);
    // The node is in a range, so the load balancer's own address is let in, too.
    expect(rulesOf("firewall-HVFWP5L3-ns5/svc5/tcp/p80")).toEqual([
      "ip saddr != { 203.0.113.0/25, 192.168.0.0/24, 5.6.7.8 } drop",
    ]);
    const element = (text: string): string => `add element ip kube-proxy ${text}`;
    expect(lines).toContain(
      element('no-endpoint-services { 172.30.0.46 . tcp . 80 comment "ns6/svc6:p80" : goto reject-chain }'),
    );
    expect(lines).toContain(element('no-endpoint-services { 1.2.3.4 . tcp . 80 comment "ns2/svc2:p80" : drop }'));
    expect(lines).toContain(element('no-endpoint-nodeports { tcp . 3001 comment "ns2/svc2:p80" : drop }'));
    expect(lines).toContain(element("cluster-ips { 172.30.0.46 }"));
    expect(lines).toContain(element("nodeport-ips { 192.168.0.2 }"));
  });

  it("costs a few commands for a Service that comes, changes and goes", () => {
    const h = harness();
    populate(h);
    h.renderer.full();
    const count = (): number => h.renderer.update().text.split("\n").length - 1;
    h.services.set(service("ns9/new", { clusterIP: "172.30.0.99", ports: [TCP80] }));
    expect(count()).toBe(2);
    h.endpoints.set(slice("ns9/new", "p80", 80, ["10.180.0.9"]));
    expect(count()).toBe(8);
    h.endpoints.set(slice("ns9/new", "p80", 80, ["10.180.0.9", "10.180.0.10"]));
    expect(count()).toBe(6);
    expect(h.renderer.update().text).toBe("");
  });

  it("takes nothing away that another port still needs", () => {
    const h = harness();
    const two = { clusterIP: "172.30.0.50", ports: [TCP80, { name: "p81", port: 81 }] };
    h.services.set(service("ns/two", two));
    h.services.set(service("ns/other", { clusterIP: "172.30.0.51", ports: [TCP80] }));
    h.renderer.full();
    h.services.set(service("ns/two", { ...two, ports: [TCP80] }));
    const { text } = h.renderer.update();
    expect(text).not.toContain("delete element ip kube-proxy cluster-ips");
    h.services.delete("ns", "two");
    expect(h.renderer.update().text).toContain("delete element ip kube-proxy cluster-ips { 172.30.0.50 }");
  });
});

describe("with the real nft", () => {
  it.for([4, 6] as const)("loads, and again, IPv%i", (family, { skip }) => {
    skip(reason !== null, reason ?? "");
    const h = harness({}, family);
    populate(h);
    const six = { clusterIP: "fd00:172:30::41", clusterIPs: ["fd00:172:30::41"], ports: [TCP80] };
    h.services.set(service("d/six", six));
    h.endpoints.set(slice("d/six", "p80", 80, ["fd00:10:180::1", "fd00:10:180::2:1"]));
    const text = h.renderer.full();
    expect(sorted(inNft(text, text))).toEqual(sorted(inNft(text)));
  });

  it("has after any changes what a fresh start would write", ({ skip }) => {
    skip(reason !== null, reason ?? "");
    const h = harness();
    populate(h);
    const texts = [h.renderer.full()];
    const change = (by: () => void): void => {
      by();
      texts.push(h.renderer.update().text);
    };
    const sticky = { type: "NodePort" as const, clusterIP: "172.30.0.60", ports: [{ ...TCP80, nodePort: 3060 }] };
    const affinity = (timeoutSeconds: number) => ({
      ...sticky,
      sessionAffinity: "ClientIP" as const,
      sessionAffinityConfig: { clientIP: { timeoutSeconds } },
    });
    change(() => h.services.set(service("d/s", affinity(100))));
    change(() => h.endpoints.set(slice("d/s", "p80", 80, ["10.180.0.9", "10.180.0.10"])));
    change(() => h.services.set(service("d/s", affinity(200))));
    change(() => h.services.set(service("d/s", sticky)));
    change(() => h.endpoints.set(slice("d/s", "p80", 80, ["10.180.0.10"])));
    change(() => h.services.set(service("d/s", { ...sticky, externalTrafficPolicy: "Local" })));
    change(() => h.endpoints.set(slice("d/s", "p80", 80, [])));
    change(() => h.services.delete("ns2", "svc2"));
    change(() => h.endpoints.set(slice("ns6/svc6", "p80", 80, ["10.180.0.66"])));
    change(() => h.renderer.setNode({ ...NODE, zone: "z" }));
    expect(sorted(inNft(...texts))).toEqual(sorted(inNft(h.renderer.full())));
  });
});
