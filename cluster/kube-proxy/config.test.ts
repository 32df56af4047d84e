import { describe, expect, it } from "vitest";
import { DEFAULT_PROXY_CONFIG, parseDuration, parseProxyConfig } from "./config.ts";

const HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
const KUBEADM = `${HEAD}bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: 12h0m0s
  udpStreamTimeout: 0s
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, scheduler: "", strictARP: false, tcpTimeout: 15m}
mode: ""
nftables: {masqueradeAll: true, masqueradeBit: 3}
nodePortAddresses: null
`;

describe("a KubeProxyConfiguration", () => {
  it("takes defaults for what is absent, null or empty", () => {
    expect(parseProxyConfig(HEAD, "c.yaml")).toEqual(DEFAULT_PROXY_CONFIG);
    expect(parseProxyConfig(KUBEADM, "c.yaml")).toEqual({
      ...DEFAULT_PROXY_CONFIG,
      clusterCIDR: "10.244.0.0/16",
      ipvs: { ...DEFAULT_PROXY_CONFIG.ipvs, tcpTimeout: 900 },
      conntrack: { ...DEFAULT_PROXY_CONFIG.conntrack, tcpEstablishedTimeout: 43200 },
    });
  });

  it("takes masquerade settings from the section of its mode", () => {
    expect(parseProxyConfig(KUBEADM.replace('mode: ""', "mode: nftables"), "c")).toMatchObject({
      mode: "nftables",
      masqueradeAll: true,
      masqueradeBit: 3,
    });
  });

  it.each([
    [
      "an unknown mode",
      "mode: ebpf\n",
      'c.yaml:3: mode: found "ebpf", expected one of iptables, ipvs, nftables, userspace, or nothing',
    ],
    [
      "an unknown field",
      "iptables:\n  masqueradeall: true\n",
      "c.yaml:4: iptables.masqueradeall: found an unknown field, expected masqueradeAll perhaps",
    ],
    [
      "an unknown scheduler",
      "ipvs: {scheduler: best}\n",
      'c.yaml:3: ipvs.scheduler: found "best", expected one of rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos, or nothing',
    ],
    [
      "two CIDRs of one family",
      "clusterCIDR: 10.244.0.0/16,10.0.0.0/8\n",
      'c.yaml:3: clusterCIDR: found "10.244.0.0/16,10.0.0.0/8", expected one CIDR, or one of each family with a comma',
    ],
    [
      "a bad CIDR",
      "clusterCIDR: 10.0.0.0\n",
      'c.yaml:3: clusterCIDR: found "10.0.0.0", expected a CIDR such as 10.244.0.0/16',
    ],
    [
      "a bit out of range",
      "iptables: {masqueradeBit: 32}\n",
      "c.yaml:3: iptables.masqueradeBit: found 32, expected an integer from 0 to 31",
    ],
    [
      "a bad duration",
      "iptables: {syncPeriod: soon}\n",
      'c.yaml:3: iptables.syncPeriod: found "soon", expected a duration such as 30s or 1h0m0s',
    ],
    [
      "primary beside others",
      "nodePortAddresses: [primary, 10.0.0.0/8]\n",
      'c.yaml:3: nodePortAddresses[0]: found "primary", expected a CIDR, or "primary" alone',
    ],
    [
      "a missing bridge name",
      "detectLocalMode: BridgeInterface\n",
      "c.yaml:1: detectLocal.bridgeInterface: found nothing, expected the name of a bridge, detectLocalMode is BridgeInterface",
    ],
  ])("is refused with %s", (_, text, message) => {
    expect(() => parseProxyConfig(HEAD + text, "c.yaml")).toThrow(message);
  });

  it("is refused where it is something else", () => {
    expect(() => parseProxyConfig("", "c.yaml")).toThrow(
      "c.yaml: document: found nothing, expected one KubeProxyConfiguration",
    );
    expect(() => parseProxyConfig("apiVersion: v1\nkind: Pod\n", "c.yaml")).toThrow('c.yaml:1: apiVersion: found "v1"');
  });
});

it.each([
  ["1h0m0s", 3600],
  ["500ms", 0.5],
  ["0", 0],
  ["1.5h", 5400],
  ["5", undefined],
  ["-1s", undefined],
  ["", undefined],
])("reads the duration %s", (text, want) => {
  expect(parseDuration(text)).toBe(want);
});
