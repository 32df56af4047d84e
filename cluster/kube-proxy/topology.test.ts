import { describe, expect, it } from "vitest";
import type { EndpointInfo } from "./endpoints-tracker.ts";
import type { ServicePortInfo } from "./service-tracker.ts";
import { chooseEndpoints } from "./topology.ts";

/** `state`: r ready, t serving and terminating, n not ready, d terminating and not serving; then @node, ~zone hint, !node hint. */
function endpoint(text: string): EndpointInfo {
  const [, name = "", state = "", node, zone, nodeHint] =
    /^(\w+):(\w)(?:@(\w+))?(?:~(\w+))?(?:!(\w+))?$/.exec(text) ?? [];
  return {
    ip: name,
    port: 80,
    text: name,
    nodeName: node,
    zone: undefined,
    ready: state === "r",
    serving: state === "r" || state === "t",
    terminating: state === "t" || state === "d",
    isLocal: node === "me",
    zoneHints: zone === undefined ? [] : [zone],
    nodeHints: nodeHint === undefined ? [] : [nodeHint],
    target: undefined,
  };
}

const INFO: ServicePortInfo = {
  id: { namespace: "n", name: "s", port: "" },
  portName: "n/s",
  protocol: "TCP",
  clusterIp: "10.0.0.1",
  port: 80,
  nodePort: 0,
  externalIps: [],
  loadBalancerIps: [],
  sourceRanges: [],
  stickySeconds: 0,
  externalPolicyLocal: false,
  internalPolicyLocal: false,
  healthCheckNodePort: 0,
};
const LOCAL_OUTSIDE = { nodePort: 30000, externalPolicyLocal: true };
const LOCAL_INSIDE = { internalPolicyLocal: true };

describe("the choice of endpoints", () => {
  it.each([
    ["all ready ones", "a:r@me b:r@x", {}, "a b | - | a b | any"],
    ["ready before terminating ones", "a:r b:t c:n", {}, "a | - | a | any"],
    ["terminating ones where none is ready", "b:t c:n d:d", {}, "b | - | b | any"],
    ["none where none serves", "c:n d:d", {}, "- | - | - | none"],
    [
      "external policy without an external address counts for nothing",
      "a:r@me b:r",
      { externalPolicyLocal: true },
      "a b | - | a b | any",
    ],
    ["external policy Local: local ones too", "a:r@me b:r", LOCAL_OUTSIDE, "a b | a | a b | any"],
    ["local terminating ones beside remote ready ones", "a:t@me b:r", LOCAL_OUTSIDE, "b | a | b a | any"],
    ["local ready ones before local terminating ones", "a:t@me b:r@me c:r", LOCAL_OUTSIDE, "b c | b | b c | any"],
    ["internal policy Local: only local ones", "a:r@me b:r", LOCAL_INSIDE, "- | a | a | any"],
    ["internal policy Local without local ones still knows of others", "b:r", LOCAL_INSIDE, "- | - | - | any"],
    ["zone hints that all have", "a:r~z1 b:r~z2", {}, "a | - | a | any"],
    ["zone hints that one lacks", "a:r~z1 b:r", {}, "a b | - | a b | any"],
    ["zone hints for other zones", "a:r~z3 b:r~z2", {}, "a b | - | a b | any"],
    ["zone hints of endpoints that are not ready count for nothing", "a:r~z1 b:n", {}, "a | - | a | any"],
    ["node hints before zone hints", "a:r~z1!me b:r~z1!x", {}, "a | - | a | any"],
    ["node hints for other nodes, then zone hints", "a:r~z1!y b:r~z2!x", {}, "a | - | a | any"],
    ["hints leave the local set alone", "a:r@me~z2 b:r~z1", LOCAL_OUTSIDE, "b | a | b a | any"],
  ] as const)("%s", (_, endpoints, change, want) => {
    const list = endpoints.split(" ").map(endpoint);
    const choice = chooseEndpoints(list, { ...INFO, ...change }, { nodeName: "me", zone: "z1" });
    const names = (of: readonly EndpointInfo[]): string => of.map((e) => e.text).join(" ") || "-";
    expect(
      `${names(choice.cluster)} | ${names(choice.local)} | ${names(choice.reachable)} | ${choice.any ? "any" : "none"}`,
    ).toBe(want);
  });
});
