import { describe, expect, it } from "vitest";
import type { Node } from "../api/node.ts";
import { addressPlan } from "./address-plan.ts";

function node(name: string, ...ips: readonly string[]): Node {
  const addresses = ips.map((address) => ({ type: "InternalIP", address }));
  return { apiVersion: "v1", kind: "Node", metadata: { name }, status: { addresses } };
}

describe("the address plan", () => {
  it("gives everybody an address of each family, whose digits say the same number", () => {
    expect(addressPlan([], 2, [6, 4])).toMatchObject({
      router: ["fd00:192:168::1/64", "192.168.0.1/24"],
      apiServer: ["fd00:192:168::10/64", "192.168.0.10/24"],
      gateways: ["fd00:192:168::1", "192.168.0.1"],
      nodes: [
        { name: "node-1", addresses: ["fd00:192:168::11/64", "192.168.0.11/24"] },
        { name: "node-2", addresses: ["fd00:192:168::12/64", "192.168.0.12/24"] },
      ],
    });
  });

  it("keeps the addresses of given nodes, and puts the rest where it is free", () => {
    const given = [node("a", "10.1.0.1", "2001:DB8:1:0::1"), node("b", "10.1.0.11")];
    expect(addressPlan(given, 3, [4, 6])).toMatchObject({
      gateways: ["10.1.0.2", "2001:db8:1::2"],
      nodes: [
        { name: "a", addresses: ["10.1.0.1/16", "2001:db8:1::1/64"] },
        { name: "b", addresses: ["10.1.0.11/16", "2001:db8:1::11/64"] },
        { name: "node-1", addresses: ["10.1.0.12/16", "2001:db8:1::12/64"] },
      ],
    });
  });

  it("refuses nodes that are not in one network", () => {
    const given = [node("a", "2001:db8:1::1"), node("b", "2001:db8:2::1")];
    expect(() => addressPlan(given, undefined, [6])).toThrow(
      "Node status.addresses: found 2001:db8:2::1, expected an address in 2001:db8:1::/64, as the other nodes have",
    );
  });
});
