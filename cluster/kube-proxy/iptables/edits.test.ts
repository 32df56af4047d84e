import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Host } from "../../../dataplane/host/host.ts";
import { World } from "../../../dataplane/host/world.ts";
import { saveRules } from "../../../dataplane/netfilter/restore-op.ts";
import { applyOps } from "../../../dataplane/netns/rtnl-apply.ts";
import { DEFAULT_PROXY_CONFIG } from "../config.ts";
import { EndpointsTracker } from "../endpoints-tracker.ts";
import { ServiceTracker } from "../service-tracker.ts";
import { NODE, service, slice } from "../testing.ts";
import { LineCounts } from "./line-counts.ts";
import { IptablesRenderer } from "./renderer.ts";

/** What one step does to one Service: take it away, or give it these ports, endpoints and ways in. */
const steps = fc.array(
  fc.array(
    fc.record({
      n: fc.nat(11),
      gone: fc.boolean(),
      ports: fc.constantFrom([80], [443], [80, 443], [80, 81, 82]),
      endpoints: fc.constantFrom([], ["10.1.0.1"], ["10.1.0.2", "10.1.0.3@test-node"], ["10.1.0.1", "10.1.0.9"]),
      type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer", "Local"),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  { minLength: 1, maxLength: 8 },
);

describe("edits", () => {
  it("lead to the rules and counters that the whole text leads to", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const services = new ServiceTracker(4);
        const endpoints = new EndpointsTracker(4, NODE.name);
        const config = { ...DEFAULT_PROXY_CONFIG, clusterCIDR: "10.0.0.0/8" };
        const renderer = new IptablesRenderer(
          { family: 4, node: NODE, config, randomFully: true },
          services,
          endpoints,
        );
        const world = new World(1);
        const [whole, edited] = [new Host(world, "whole"), new Host(world, "edited")];
        const restore = (host: Host, text: string): void =>
          applyOps(host, [{ op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true }]);
        const set = (n: number, ports: readonly number[], to: readonly string[], type: string): void => {
          const local = type === "Local";
          const spec = {
            clusterIP: `10.96.0.${n + 1}`,
            type: local ? "LoadBalancer" : type,
            ports: ports.map((port) => ({
              name: `p${port}`,
              port,
              ...(type === "ClusterIP" ? {} : { nodePort: 30000 + 100 * n + (port % 100) }),
            })),
            ...(local ? { externalTrafficPolicy: "Local", loadBalancerSourceRanges: ["10.0.0.0/8"] } : {}),
          } as const;
          const ingress = type === "LoadBalancer" || local ? [{ ip: `192.0.2.${n + 1}` }] : [];
          services.set(service(`d/s${n}`, spec as never, { loadBalancer: { ingress } }));
          for (const port of [80, 81, 82, 443]) endpoints.delete(slice(`d/s${n}`, `p${port}`, 8080, [], `${port}`));
          for (const port of ports) endpoints.set(slice(`d/s${n}`, `p${port}`, 8080, to, `${port}`));
        };
        for (let n = 0; n < 12; n += 2) set(n, [80], ["10.1.0.1"], "ClusterIP");
        renderer.update();
        const text = renderer.full();
        for (const host of [whole, edited]) restore(host, text);
        for (const step of list) {
          for (const { n, gone, ports, endpoints: to, type } of step) {
            if (gone) services.delete("d", `s${n}`);
            else set(n, ports, to, type);
          }
          if (renderer.update() === 0) continue;
          const partial = renderer.partial();
          restore(whole, partial.text());
          expect(partial.edits).toBeDefined();
          restore(edited, partial.edits ?? "");
          expect(saveRules(edited.root, true)).toBe(saveRules(whole.root, true));
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe("edits of chains that others have changed", () => {
  it.each([
    ["a rule put in", "*nat\n-I KUBE-SERVICES 1 -d 10.96.0.9/32 -j ACCEPT\nCOMMIT\n"],
    ["a rule taken out", "*nat\n-D KUBE-SERVICES 1\nCOMMIT\n"],
    ["a chain emptied", "*nat\n-F KUBE-SERVICES\nCOMMIT\n"],
    ["a rule in a chain that no Service is in", "*nat\n-A KUBE-MARK-MASQ -j RETURN\nCOMMIT\n"],
  ])("give way to the whole text: %s", (_, change) => {
    const services = new ServiceTracker(4);
    const endpoints = new EndpointsTracker(4, NODE.name);
    const context = { family: 4, node: NODE, config: DEFAULT_PROXY_CONFIG, randomFully: true } as const;
    const renderer = new IptablesRenderer(context, services, endpoints);
    const host = new Host(new World(1), "node");
    const restore = (text: string, source: string, edits?: string): void =>
      applyOps(host, [
        {
          op: "iptables.restore",
          netns: "host",
          family: "ipv4",
          text,
          noflush: true,
          source,
          ...(edits !== undefined && { edits }),
        },
      ]);
    const set = (n: number): void => {
      services.set(service(`d/s${n}`, { clusterIP: `10.96.0.${n}`, ports: [{ name: "p", port: 80 }] } as never));
      endpoints.set(slice(`d/s${n}`, "p", 8080, ["10.1.0.1"]));
    };
    for (const n of [1, 2, 3]) set(n);
    renderer.update();
    restore(renderer.full(), "kube-proxy");
    restore(change, "somebody");
    set(4);
    renderer.update();
    const { edits, text } = renderer.partial();
    expect(edits).toBeDefined();
    restore(text(), "kube-proxy", edits);
    const healed = saveRules(host.root);
    const fresh = new Host(new World(1), "node");
    applyOps(fresh, [{ op: "iptables.restore", netns: "host", family: "ipv4", text: renderer.full(), noflush: true }]);
    expect(healed).toBe(saveRules(fresh.root));
    // What it left itself it edits again.
    set(5);
    renderer.update();
    const next = renderer.partial();
    restore("*nat\nthis is not read\n", "kube-proxy", next.edits);
    expect(saveRules(host.root)).toContain("10.96.0.5/32");
  });
});

describe("LineCounts", () => {
  it("counts as the sum over all keys before does", () => {
    const key = fc.integer({ min: 0, max: 3000 }).map((n) => `k${n}`);
    const change = fc.tuple(key, fc.option(fc.tuple(fc.nat(3), fc.nat(3))));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1500, maxLength: 2500 }), key, (changes, asked) => {
        const all = new Map<string, readonly number[]>();
        const counts = new LineCounts(2, []);
        for (const [k, lines] of changes) {
          counts.set(k, lines);
          if (lines === null) all.delete(k);
          else all.set(k, lines);
        }
        for (const chain of [0, 1]) {
          let sum = 0;
          for (const [k, lines] of all) if (k < asked) sum += lines[chain] ?? 0;
          expect(counts.before(asked, chain)).toBe(sum);
        }
      }),
      { numRuns: 20 },
    );
  });
});
