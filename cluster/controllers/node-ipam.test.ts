import { describe, expect, it } from "vitest";
import { podCidrs } from "../api/node.ts";
import { testCluster } from "./testing.ts";

const node = (name: string, cidr: string): string =>
  `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nspec: {podCIDR: ${cidr}}\n---\n`;

describe("pod CIDRs of nodes", () => {
  it("are given in the order of the names, the first block last", async () => {
    const { store } = await testCluster(["node-10", "node-2", "node-1"]);
    expect(store.list("Node").map((n) => [n.metadata.name, n.spec?.podCIDR])).toEqual([
      ["node-1", "10.244.1.0/24"],
      ["node-10", "10.244.3.0/24"],
      ["node-2", "10.244.2.0/24"],
    ]);
  });

  it("leave out what a node asks for itself, whatever its size", async () => {
    const { store } = await testCluster(
      [],
      `${node("a", "10.244.0.0/22")}${node("b", "10.244.4.128/25")}apiVersion: v1\nkind: Node\nmetadata: {name: c}\n`,
    );
    expect(store.get("Node", "", "c")?.spec?.podCIDR).toBe("10.244.5.0/24");
  });

  it("come in both families", async () => {
    const { store } = await testCluster(["n"], "", { clusterCidrs: ["10.244.0.0/16", "fd00:10:244::/48"] });
    expect(podCidrs(store.list("Node")[0] as never)).toEqual(["10.244.1.0/24", "fd00:10:244:1::/64"]);
  });

  it("run out with a clear word", async () => {
    await expect(testCluster(["a", "b", "c", "d", "e"], "", { clusterCidrs: ["10.244.0.0/22"] })).rejects.toThrow(
      "Node e: spec.podCIDR: cluster CIDR 10.244.0.0/22: no free /24 for it (4 of 4 in use)",
    );
  });

  it("must not overlap", async () => {
    await expect(testCluster([], node("a", "10.244.1.0/24") + node("b", "10.244.0.0/16"))).rejects.toThrow(
      /Node a: spec.podCIDR: 10.244.1.0\/24 overlaps 10.244.0.0\/16 of Node b/,
    );
  });

  it.each([
    ["10.244.0.0/16", 15, "cluster CIDR 10.244.0.0/16: holds no block of /15 for a node"],
    ["10.244.0.0/33", 24, "cluster CIDR 10.244.0.0/33: not a CIDR"],
  ])("refuse the setting %s with blocks of /%i", async (cidr, size, message) => {
    await expect(testCluster([], "", { clusterCidrs: [cidr], nodeMaskSizes: { 4: size } })).rejects.toThrow(message);
  });
});
