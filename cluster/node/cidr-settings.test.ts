import { describe, expect, it } from "vitest";
import { parseCidr } from "../api/ip.ts";
import { checkNetworks, familiesOf, nodeMaskSizes, parseCidrPair } from "./cidr-settings.ts";

describe("CIDR settings", () => {
  it("are one CIDR, or one of each family, the first the primary one", () => {
    expect(parseCidrPair("10.244.0.0/16", "clusterCidr")).toEqual(["10.244.0.0/16"]);
    expect(parseCidrPair("FD00:10:244:0::/56 , 10.244.0.9/16", "clusterCidr")).toEqual([
      "fd00:10:244::/56",
      "10.244.0.0/16",
    ]);
    expect(familiesOf(["fd00:10:244::/56", "10.244.0.0/16"])).toEqual([6, 4]);
  });

  it.each([
    ["", "settings: clusterCidr: found nothing, expected a CIDR such as 10.244.0.0/16 or fd00:10:244::/56"],
    ["10.244.0.0", "found 10.244.0.0, expected a CIDR"],
    ["10.244.0.0/33", "found 10.244.0.0/33, expected a CIDR"],
    ["10.244.0.0/16,", "found nothing, expected a CIDR"],
    ["10.244.0.0/16,fd00:10:244::/129", "found fd00:10:244::/129, expected a CIDR"],
    ["10.244.0.0/16,10.245.0.0/16", "found 10.244.0.0/16,10.245.0.0/16, expected one CIDR, or one of each family"],
    [
      "fd00:1::/56,fd00:2::/56",
      "settings: clusterCidr: found fd00:1::/56,fd00:2::/56, expected one CIDR, or one of each family with a comma",
    ],
    ["10.0.0.0/16,fd00::/56,10.1.0.0/16", "expected one CIDR, or one of each family with a comma"],
  ])("refuse %j", (text, message) => {
    expect(() => parseCidrPair(text, "clusterCidr")).toThrow(message);
  });

  const BOTH = ["10.244.0.0/16", "fd00:10:244::/56"];
  it.each([
    [{}, BOTH, {}],
    [{ nodeCidrMaskSize: 26 }, ["10.244.0.0/16"], { 4: 26 }],
    [{ nodeCidrMaskSize: 80 }, ["fd00:10:244::/64"], { 6: 80 }],
    [{ nodeCidrMaskSizeIpv4: 26 }, ["10.244.0.0/16"], { 4: 26 }],
    [{ nodeCidrMaskSizeIpv4: 26, nodeCidrMaskSizeIpv6: 72 }, BOTH, { 4: 26, 6: 72 }],
  ])("give nodes of %j out of %j blocks of %j", (settings, pods, sizes) => {
    expect(nodeMaskSizes(settings, pods)).toEqual(sizes);
    expect(() => checkNetworks(pods, [], [], sizes)).not.toThrow();
  });

  it.each([
    [{ nodeCidrMaskSize: 26 }, BOTH, "nodeCidrMaskSize: found /26, expected nodeCidrMaskSizeIpv4 and"],
    [{ nodeCidrMaskSize: 26, nodeCidrMaskSizeIpv4: 26 }, ["10.244.0.0/16"], "nodeCidrMaskSize: found /26, expected"],
    [{ nodeCidrMaskSize: 15 }, ["10.244.0.0/16"], "a size from /16, that of clusterCidr 10.244.0.0/16, to /30"],
    [{ nodeCidrMaskSizeIpv4: 31 }, ["10.244.0.0/16"], "nodeCidrMaskSizeIpv4: found /31, expected a size from /16"],
    [{ nodeCidrMaskSizeIpv6: 127 }, BOTH, "nodeCidrMaskSizeIpv6: found /127, expected a size from /56"],
    [{ nodeCidrMaskSizeIpv6: 72 }, ["10.244.0.0/16"], "found /72, expected no size: clusterCidr has no IPv6"],
  ])("refuse blocks of %j out of %j", (settings, pods, message) => {
    expect(() => nodeMaskSizes(settings, pods)).toThrow(message);
  });

  it("refuse an IPv6 CIDR of more than 16 bits of nodes", () => {
    expect(() => checkNetworks(["fd00:10:244::/56"], [], [], { 6: 80 })).toThrow(
      "clusterCidr: found fd00:10:244::/56, expected an IPv6 CIDR of /64 to /80, each node gets a /80 of it",
    );
  });

  it.each([
    [["10.244.0.0/16"], ["fd00:96::/112"], "serviceCidr: found fd00:96::/112, expected a family that clusterCidr has"],
    [["10.244.0.0/16"], ["10.244.8.0/24"], "serviceCidr: found 10.244.8.0/24, expected a CIDR apart from clusterCidr"],
    [["fd00:1::/48"], ["fd00:1:0:9::/112"], "expected a CIDR apart from clusterCidr, fd00:1::/48"],
    [["192.168.0.0/16"], ["10.96.0.0/12"], "clusterCidr: found 192.168.0.0/16, expected a CIDR apart from the nodes'"],
    [["fd00:192:168::/56"], ["fd00:96::/112"], "expected a CIDR apart from the nodes' network, fd00:192:168::/64"],
    [["10.244.0.0/16"], ["10.96.0.0/29"], "serviceCidr: found 10.96.0.0/29, expected a CIDR of /28 at least"],
    [["fd00::/40"], ["fd01:96::/112"], "clusterCidr: found fd00::/40, expected an IPv6 CIDR of /48 to /64, each node"],
    [["fd00:1::/80"], ["fd01:96::/112"], "clusterCidr: found fd00:1::/80, expected an IPv6 CIDR of /48 to /64"],
    [["fd00:1::/56"], ["fd00:96::/125"], "serviceCidr: found fd00:96::/125, expected a CIDR of /124 at least"],
  ])("of pods %j and Services %j do not go together", (pods, services, message) => {
    const nodes = ["192.168.0.0/24", "fd00:192:168::/64"].flatMap((text) => parseCidr(text) ?? []);
    expect(() => checkNetworks(pods, services, nodes, {})).toThrow(message);
  });
});
