import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { Host } from "../host/host.ts";
import { World } from "../host/world.ts";
import { applyOps } from "../netns/rtnl-apply.ts";
import { parseIp } from "../wire/ip-key.ts";
import { IpSets } from "./ipset.ts";
import { formatSets, restoreSets, saveSets } from "./ipset-text.ts";

const TEXT = `create IPS hash:ip family inet hashsize 1024 maxelem 65536
add IPS 10.0.0.1
create NETS hash:net family inet hashsize 1024 maxelem 65536
add NETS 10.1.0.0/16
add NETS 10.2.3.4
create SVC hash:ip,port family inet hashsize 1024 maxelem 65536 comment
add SVC 10.96.0.1,tcp:443 comment "the api"
create NETPORT hash:net,port family inet hashsize 1024 maxelem 65536
add NETPORT 10.3.0.0/24,udp:53
create LOOP hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add LOOP 10.0.0.1,sctp:80,10.0.0.1
create RANGES hash:ip,port,net family inet hashsize 1024 maxelem 65536
add RANGES 10.0.0.9,tcp:80,203.0.113.0/24
create PORTS bitmap:port range 0-65535
add PORTS 30000
create BOTH list:set size 8
add BOTH IPS
add BOTH NETS
`;

/** The same of IPv6. */
const TEXT6 = `create IPS hash:ip family inet6 hashsize 1024 maxelem 65536
add IPS fd00::1
create NETS hash:net family inet6 hashsize 1024 maxelem 65536
add NETS 2000::/3
add NETS fd00:1::/32
add NETS fd00:2::3:4
create SVC hash:ip,port family inet6 hashsize 1024 maxelem 65536 timeout 600 comment
add SVC fd00:96::1,tcp:443 timeout 0 comment "the api"
create NETPORT hash:net,port family inet6 hashsize 1024 maxelem 65536
add NETPORT fd00:3::/61,udp:53
create LOOP hash:ip,port,ip family inet6 hashsize 1024 maxelem 65536
add LOOP fd00::1,sctp:80,fd00::1
create RANGES hash:ip,port,net family inet6 hashsize 1024 maxelem 65536
add RANGES fd00::9,tcp:80,2001:db8::/33
`;

function restore(text: string, now = 0, sets: IpSets = new IpSets()): IpSets {
  restoreSets(sets, text, "sets", now);
  return sets;
}

function ip(text: string): number {
  return parseIp(text) ?? 0;
}

describe("ipset text", () => {
  it.each([TEXT, TEXT6])("goes in and comes out the same, for every type", (text) => {
    expect(formatSets(restore(text).all(), 0)).toBe(text);
  });

  it.for([TEXT, TEXT6])("is read as the real ipset reads it", (text, context) => {
    // In a namespace that is gone with the process: what the real ipset saves after it has restored our text.
    const inNetns = (script: string, input: string): { status: number | null; stdout: string } =>
      spawnSync("unshare", ["-n", "sh", "-c", script], { input, encoding: "utf8" });
    if (inNetns("ipset list -n", "").status !== 0) {
      return context.skip("needs ipset, a kernel with ip_set and the right to make network namespaces");
    }
    const { status, stdout } = inNetns("ipset restore && ipset save", text);
    expect(status).toBe(0);
    const saved = stdout.replace(/ bucketsize \d+ initval 0x[0-9a-f]+/g, "");
    expect(saved.split("\n").sort()).toEqual(text.split("\n").sort());
  });

  it("finds what each type holds, and nothing beside it", () => {
    const sets = restore(TEXT);
    const has = (name: string, a: string, proto: number, port: number, b = "0.0.0.0"): boolean | undefined =>
      sets.get(name)?.has(ip(a), (proto << 16) | port, ip(b), 0);
    expect(has("IPS", "10.0.0.1", 0, 0)).toBe(true);
    expect(has("IPS", "10.0.0.2", 0, 0)).toBe(false);
    expect(has("NETS", "10.1.255.255", 0, 0)).toBe(true);
    expect(has("NETS", "10.2.3.5", 0, 0)).toBe(false);
    expect(has("SVC", "10.96.0.1", 6, 443)).toBe(true);
    expect(has("SVC", "10.96.0.1", 17, 443)).toBe(false);
    expect(has("NETPORT", "10.3.0.77", 17, 53)).toBe(true);
    expect(has("NETPORT", "10.3.1.77", 17, 53)).toBe(false);
    expect(has("LOOP", "10.0.0.1", 132, 80, "10.0.0.1")).toBe(true);
    expect(has("LOOP", "10.0.0.1", 132, 80, "10.0.0.2")).toBe(false);
    expect(has("RANGES", "10.0.0.9", 6, 80, "203.0.113.200")).toBe(true);
    expect(has("RANGES", "10.0.0.9", 6, 80, "203.0.114.1")).toBe(false);
    expect(has("PORTS", "0.0.0.0", 6, 30000)).toBe(true);
    expect(has("PORTS", "0.0.0.0", 6, 30001)).toBe(false);
  });

  it("finds the same of IPv6, and nothing of the other family", () => {
    const sets = restore(`${TEXT6}create FOUR hash:net\nadd FOUR 0.0.0.0/1\nadd FOUR 128.0.0.0/1\n`);
    const has = (name: string, a: string, proto: number, port: number, b = "::"): boolean | undefined =>
      sets.get(name)?.has(ip(a), (proto << 16) | port, ip(b), 0);
    expect(has("IPS", "fd00::1", 0, 0)).toBe(true);
    expect(has("IPS", "fd00::2", 0, 0)).toBe(false);
    expect(has("IPS", "10.0.0.1", 0, 0)).toBe(false);
    expect(has("FOUR", "fd00::1", 0, 0)).toBe(false);
    expect(has("FOUR", "10.0.0.1", 0, 0)).toBe(true);
    expect(has("NETS", "fd00:1:ffff::1", 0, 0)).toBe(true);
    expect(has("NETS", "fd00:2::3:5", 0, 0)).toBe(false);
    expect(has("NETS", "3fff::1", 0, 0)).toBe(true);
    expect(has("NETS", "4000::1", 0, 0)).toBe(false);
    expect(has("SVC", "fd00:96::1", 6, 443)).toBe(true);
    expect(has("SVC", "fd00:96::1", 17, 443)).toBe(false);
    expect(has("NETPORT", "fd00:3::7:0:0:0:1", 17, 53)).toBe(true);
    expect(has("NETPORT", "fd00:3:0:8::1", 17, 53)).toBe(false);
    expect(has("LOOP", "fd00::1", 132, 80, "fd00::1")).toBe(true);
    expect(has("LOOP", "fd00::1", 132, 80, "fd00::2")).toBe(false);
    expect(has("RANGES", "fd00::9", 6, 80, "2001:db8:7fff::1")).toBe(true);
    expect(has("RANGES", "fd00::9", 6, 80, "2001:db8:8000::1")).toBe(false);
  });

  it("lets entries end when their time is over", () => {
    const sets = restore("create T hash:ip timeout 10\nadd T 10.0.0.1\nadd T 10.0.0.2 timeout 0\n", 1000);
    expect(sets.get("T")?.has(ip("10.0.0.1"), 0, 0, 10_999)).toBe(true);
    expect(sets.get("T")?.has(ip("10.0.0.1"), 0, 0, 11_000)).toBe(false);
    expect(sets.get("T")?.has(ip("10.0.0.2"), 0, 0, 1e12)).toBe(true);
    expect(formatSets(sets.all(), 6000)).toContain("add T 10.0.0.1 timeout 5\nadd T 10.0.0.2 timeout 0\n");
    restore("add T 10.0.0.1\n", 20_000, sets);
    expect(sets.get("T")?.has(ip("10.0.0.1"), 0, 0, 20_001)).toBe(true);
  });

  it("is applied whole or not at all, at the line that is wrong", () => {
    const sets = restore(TEXT);
    const bad = "create X hash:ip\nflush IPS\nadd BOTH SVC\ndel PORTS 30000\ndestroy LOOP\nadd NETS 10.0.0.0/40\n";
    expect(() => restore(bad, 0, sets)).toThrow('sets:6:10: ipset: set NETS: "10.0.0.0/40" is no entry');
    expect(formatSets(sets.all(), 0).split("\n").sort()).toEqual(TEXT.split("\n").sort());
  });

  it.each([
    ["add NO 10.0.0.1", "set NO does not exist"],
    ["create A hash:mac", 'type "hash:mac" is not one of'],
    ["create A hash:ip\ncreate A hash:ip", "set A exists already"],
    ["create A hash:ip\nadd A 10.0.0.1\nadd A 10.0.0.1", "10.0.0.1 is in it already"],
    ["create A hash:ip\ndel A 10.0.0.1", "10.0.0.1 is not in it"],
    ["create A hash:ip maxelem 1\nadd A 10.0.0.1\nadd A 10.0.0.2", "set A is full"],
    ["create A bitmap:port", "option range: found nothing"],
    ["create A bitmap:port range 10-20\nadd A 21", '"21" is no entry'],
    ["create A hash:ip family inet7", '"inet7" is neither inet nor inet6'],
    ["create A hash:ip size 4", "option size does not go with hash:ip"],
    ["create A hash:ip,port\nadd A 10.0.0.1,tcp:70000", "is no entry"],
    ["create A hash:ip\ncreate L list:set\nadd L A\ndestroy A", "set A is in use by a list"],
    ["create A hash:ip\nadd A 10.0.0.1 comment x", "option comment x is not one"],
    ["rename A B", 'command "rename" is not known'],
  ])("refuses %j", (text, message) => {
    expect(() => restore(text)).toThrow(message);
  });

  it("takes what is there already with -exist", () => {
    const text =
      "create A hash:ip -exist\ncreate A hash:ip -exist\nadd A 10.0.0.1 -exist\nadd A 10.0.0.1 -exist\ndel A 10.0.0.2 -exist\n";
    expect(restore(text).get("A")?.entries()).toEqual(["10.0.0.1"]);
  });

  it("costs the same to change a large set and a small one", () => {
    const entries = Array.from({ length: 10_000 }, (_, i) => `add A 10.${i >> 16}.${(i >> 8) & 255}.${i & 255},tcp:80`);
    const sets = restore(`create A hash:ip,port\n${entries.join("\n")}\n`);
    expect(sets.get("A")?.size).toBe(10_000);
    const undo = restoreSets(sets, "add A 10.9.9.9,tcp:80\n", "sets", 0);
    expect(sets.get("A")?.has(ip("10.9.9.9"), (6 << 16) | 80, 0, 0)).toBe(true);
    undo();
    expect(sets.get("A")?.size).toBe(10_000);
  });
});

describe("the operation ipset.restore", () => {
  it("is undone with the operations that follow it", () => {
    const host = new Host(new World(1), "node");
    const netns = "host";
    expect(() =>
      applyOps(host, [
        { op: "ipset.restore", netns, text: TEXT },
        { op: "link.del", netns, name: "none" },
      ]),
    ).toThrow();
    expect(host.root.nf).toBeNull();
    applyOps(host, [{ op: "ipset.restore", netns, text: TEXT }]);
    expect(saveSets(host.root)).toBe(TEXT);
  });

  it("makes sets for rules of the same transaction", () => {
    const host = new Host(new World(1), "node");
    const text = "*filter\n-A INPUT -m set --match-set LOOP dst,dst,src -j ACCEPT\nCOMMIT\n";
    applyOps(host, [
      { op: "ipset.restore", netns: "host", text: TEXT },
      { op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true },
    ]);
    expect(host.root.nf).not.toBeNull();
  });
});
