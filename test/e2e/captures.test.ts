/** Captures as Wireshark reads them: nothing malformed, every checksum right, the tunnelled packet dissected. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { missing } from "../support/needs.ts";
import { podwire } from "../support/podwire.ts";

const reason = missing("tshark");
let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "podwire-captures-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function tshark(file: string, ...args: readonly string[]): string[] {
  const checks = ["ip", "udp", "tcp"].flatMap((p) => ["-o", `${p}.check_checksum:TRUE`]);
  const all = ["-r", file, ...checks, "-d", "udp.port==8472,vxlan", ...args];
  const { status, stdout, stderr } = spawnSync("tshark", all, { encoding: "utf8" });
  if (status !== 0) throw new Error(`tshark: ${stderr}`);
  return stdout
    .trimEnd()
    .split("\n")
    .filter((line) => line !== "");
}

const BAD =
  "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0";
const DUAL = [
  ...["--cluster-cidr", "fd00:10:244::/56,10.244.0.0/16"],
  ...["--service-cidr", "fd00:10:96::/112,10.96.0.0/12"],
];

describe("captures in tshark", () => {
  beforeEach((ctx) => {
    if (reason !== null) ctx.skip(reason);
  });

  it.each([
    ["an HTTP request through a ClusterIP", ["svc/backend:80"]],
    ["an HTTP request to a name, DNS over UDP", ["backend:80"]],
    ["an echo", ["pod/cart-0", "--protocol", "icmp"]],
    ["a refused connection", ["pod/cart-0:81"]],
  ])("%s: every frame at every interface is sound", (name, args) => {
    const file = join(dir, `${name.replaceAll(/\W/g, "-")}.pcapng`);
    const [to = "", ...options] = args;
    podwire(["capture", "deploy/frontend", to, ...options, "-f", "examples/shop", "-w", file]);
    expect(tshark(file).length).toBeGreaterThan(4);
    expect(tshark(file, "-Y", BAD)).toEqual([]);
  });

  it.each([
    ["an HTTP request through a ClusterIP", ["svc/backend:80"], "ipv6 && tcp.port == 8080"],
    ["an HTTP request to a name, DNS over UDP", ["backend:80"], "ipv6 && dns.aaaa"],
    ["an echo", ["pod/cart-0", "--protocol", "icmp"], "icmpv6.type == 129"],
    ["a refused connection", ["pod/cart-0:81"], "ipv6 && tcp.flags.reset == 1"],
    ["an HTTP request to an IPv4 address", ["pod/cart-0:80", "-4"], "ip && !ipv6 && tcp.port == 80"],
  ])("dual stack, %s: every frame at every interface is sound", (name, args, filter) => {
    const file = join(dir, `dual-${name.replaceAll(/\W/g, "-")}.pcapng`);
    const [to = "", ...options] = args;
    podwire(["capture", "deploy/frontend", to, ...options, ...DUAL, "-f", "examples/shop", "-w", file]);
    expect(tshark(file, "-Y", filter).length).toBeGreaterThan(2);
    expect(tshark(file, "-Y", BAD)).toEqual([]);
  });

  it("shows IPv6 packets inside tunnels over IPv6, each family by its own device", () => {
    const file = join(dir, "dual-places.pcapng");
    podwire(["trace", "deploy/frontend", "svc/backend:80", ...DUAL, "-f", "examples/shop", "--pcap", file]);
    const fields = [
      "-T",
      "fields",
      "-e",
      "frame.interface_name",
      "-e",
      "ipv6.dst",
      "-e",
      "vxlan.vni",
      "-e",
      "tcp.dstport",
    ];
    const syn = "vxlan && tcp.flags.syn == 1 && tcp.flags.ack == 0";
    const inner = tshark(file, "-Y", syn, ...fields);
    expect(inner.length).toBeGreaterThan(0);
    for (const line of inner) expect(line).toMatch(/^node-\d\/eth0\tfd00:192:168::\d+,fd00:10:244:\w+::\w+\t1\t8080$/);
    const places = new Set(tshark(file, "-Y", "ipv6", "-T", "fields", "-e", "frame.interface_name"));
    expect(places).toContain("node-1/flannel-v6.1");
    expect(places).not.toContain("node-1/flannel.1");
  });

  it("shows the pod's veth, the bridge, flannel.1 and the underlay by name, and the packet inside the tunnel", () => {
    const file = join(dir, "places.pcapng");
    podwire(["trace", "deploy/frontend", "svc/backend:80", "-f", "examples/shop", "--pcap", file]);
    const places = new Set(tshark(file, "-T", "fields", "-e", "frame.interface_name"));
    for (const place of ["node-1/cni0", "node-1/flannel.1", "node-1/eth0", "node-3/eth0", "node-3/flannel.1"]) {
      expect(places).toContain(place);
    }
    expect([...places].some((p) => /^node-1\/veth/.test(p))).toBe(true);
    const inner = tshark(
      file,
      "-Y",
      "vxlan && tcp.flags.syn == 1 && tcp.flags.ack == 0",
      "-T",
      "fields",
      "-e",
      "ip.dst",
      "-e",
      "vxlan.vni",
      "-e",
      "tcp.dstport",
    );
    expect(inner.length).toBeGreaterThan(0);
    for (const line of inner) expect(line).toMatch(/^192\.168\.0\.\d+,10\.244\.\d+\.\d+\t1\t8080$/);
    const comments = tshark(file, "-Y", "frame.comment", "-T", "fields", "-e", "frame.comment");
    expect(comments.some((c) => c.includes("KUBE-SEP-") && c.includes("DNAT"))).toBe(true);
  });
});
