/** The command line as programs rely on it: exit codes, the JSON contract, one clear line for bad input. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isIPv4, isIPv6 } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { podwire, ROOT } from "../support/podwire.ts";

const SHOP = ["-f", "examples/shop"];
const IPV6 = ["--cluster-cidr", "fd00:10:244::/56", "--service-cidr", "fd00:10:96::/112"];
let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "podwire-cli-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

describe("podwire trace -o json", () => {
  const schema = JSON.parse(readFileSync(`${ROOT}cluster/trace/trace.schema.json`, "utf8"));
  const validate = new Ajv({ strict: false, formats: { ipv4: isIPv4, ipv6: isIPv6 } }).compile(schema);

  it.each([
    ["delivered", ["deploy/frontend", "svc/backend:80"], 0],
    ["delivered by name", ["deploy/frontend", "backend:80"], 0],
    ["rejected", ["deploy/frontend", "pod/cart-0:81"], 1],
    ["a name that does not exist", ["deploy/frontend", "nowhere:80"], 1],
    ["icmp", ["deploy/frontend", "pod/cart-0", "--protocol", "icmp"], 0],
    ["too big with DF", ["deploy/frontend", "pod/cart-0", "--protocol", "icmp", "--size", "2000", "--df"], 1],
    ["TTL 1", ["deploy/frontend", "pod/cart-0", "--protocol", "icmp", "--ttl", "1"], 1],
    ["every outcome", ["deploy/frontend", "svc/backend:80", "--all"], 0],
    ["from outside", ["external", "node/node-2:30080"], 0],
    ["IPv6 through nftables", ["deploy/frontend", "svc/backend:80", ...IPV6, "--proxy-mode", "nftables"], 0],
  ])("validates against the schema: %s", (_name, args, code) => {
    const run = podwire(["trace", ...args, ...SHOP, "-o", "json"]);
    expect(run.stderr).toBe("");
    expect(run.code).toBe(code);
    const valid = validate(JSON.parse(run.stdout));
    expect(validate.errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  it("names each endpoint once with --all", () => {
    const { outcomes } = JSON.parse(
      podwire(["trace", "deploy/frontend", "svc/backend:80", ...SHOP, "--all", "-o", "json"]).stdout,
    );
    const names = outcomes.map((o: { deliveredTo: { name: string } }) => o.deliveredTo.name);
    expect(new Set(names).size).toBe(2);
    expect(names).toHaveLength(2);
  });
});

describe("ends of the wrong family", () => {
  it("an IPv6 address with a port and without brackets is asked what it is", () => {
    const run = podwire(["trace", "deploy/frontend", "fd00::1:53", ...SHOP]);
    expect(run.stderr).toBe(
      "podwire: command line: TO: found fd00::1:53, expected [fd00::1]:53 for a port, or [fd00::1:53] for the address\n",
    );
    expect(run.code).toBe(2);
  });

  it("an IPv6 address is out of reach of a pod without one", () => {
    const run = podwire(["trace", "deploy/frontend", "[fd00::1]:53", ...SHOP]);
    const [title = "", empty, verdict] = run.stdout.split("\n");
    expect(title).toMatch(/^TCP to \[fd00::1\]:53 {3}default\/frontend-\S+ → fd00::1 {3}flannel/);
    expect(empty).toBe("");
    expect(verdict).toMatch(/^✘ dropped, ENETUNREACH: default\/frontend-\S+ has no IPv6 address, only 10\.244\.1\.4$/);
    expect(run.code).toBe(1);
  });

  it.each([
    ["backend", "No address associated with hostname"],
    ["nowhere", "Name or service not known"],
    ["10.0.0.1", "Address family for hostname not supported"],
  ])("ping -6 says of %s what ping says", (host, message) => {
    const run = podwire(["exec", "deploy/frontend", ...SHOP, "--", "ping", "-6", host]);
    expect([run.stderr, run.code]).toEqual([`ping: ${host}: ${message}\n`, 2]);
  });
});

describe("exit codes", () => {
  it.each([
    [0, ["trace", "deploy/frontend", "svc/backend:80", ...SHOP, "--expect", "delivered"]],
    [0, ["trace", "deploy/frontend", "pod/cart-0:81", ...SHOP, "--expect", "rejected"]],
    [1, ["trace", "deploy/frontend", "svc/backend:80", ...SHOP, "--expect", "dropped"]],
    [1, ["trace", "deploy/frontend", "pod/cart-0:81", ...SHOP]],
    [2, ["trace", "deploy/frontend", ...SHOP]],
    [2, ["trace", "deploy/nobody", "svc/backend:80", ...SHOP]],
    [2, ["trace", "deploy/frontend", "svc/nothing:80", ...SHOP]],
    [2, ["trace", "deploy/frontend", "svc/backend:nope", ...SHOP]],
    [2, ["trace", "deploy/frontend", "svc/backend:80"]],
    [2, ["trace", "deploy/frontend", "svc/backend:80", ...SHOP, "--nodes", "0"]],
    [2, ["nonsense"]],
    [0, ["--help"]],
    [0, ["test", "examples/shop.test.yaml", ...SHOP]],
  ])("%i: podwire %j", (code, args) => {
    const run = podwire(args);
    expect(run.code).toBe(code);
    if (code === 2) {
      expect(run.stderr).toMatch(/^podwire: [^\n]+\n$/);
      expect(run.stdout).toBe("");
    }
  });
});

const SERVICE = `apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
    - port: 80
`;

describe("bad input", () => {
  const cases: readonly (readonly [string, string, string])[] = [
    ["a YAML error", "a: [1\nb: 2\n", "a YAML error.yaml:"],
    ["an unknown kind", "apiVersion: v1\nkind: Thing\nmetadata:\n  name: a\n", "kind: found"],
    ["a wrong field type", SERVICE.replace("port: 80", "port: eighty"), ":9: spec.ports[0].port: found"],
    ["a port out of range", SERVICE.replace("port: 80", "port: 80000"), ":9: spec.ports[0].port: found 80000"],
    ["a bad name", SERVICE.replace("name: web", "name: Web_1"), ":4: metadata.name: found"],
    [
      "a ClusterIP that is none",
      SERVICE.replace("spec:\n", "spec:\n  clusterIP: 1.2.3.400\n"),
      "spec.clusterIP: found",
    ],
    ["a ClusterIP outside the CIDR", SERVICE.replace("spec:\n", "spec:\n  clusterIP: 10.200.0.1\n"), "10.200.0.1"],
  ];
  it.each(cases)("%s is one line with its place, and exit code 2", (name, text, message) => {
    const run = podwire(["trace", "node/node-1", "node/node-2", "-f", file(`${name}.yaml`, text)]);
    expect(run.stderr).toContain(message);
    expect(run.stderr).toMatch(/^podwire: [^\n]+\n$/);
    expect(run.stdout).toBe("");
    expect(run.code).toBe(2);
  });

  it("two Services with one ClusterIP: the second one's line", () => {
    const one = SERVICE.replace("spec:\n", "spec:\n  clusterIP: 10.96.0.77\n");
    const path = file("twice.yaml", `${one}---\n${one.replace("name: web", "name: web2")}`);
    const run = podwire(["trace", "node/node-1", "node/node-2", "-f", path]);
    expect(run.stderr).toMatch(/twice\.yaml:\d+: spec\.clusterIPs?(\[0\])?: found .*10\.96\.0\.77/);
    expect(run.code).toBe(2);
  });

  it("a selector that matches nothing is a warning, as Kubernetes accepts it", () => {
    const run = podwire(["trace", "node/node-1", "node/node-2", "-f", file("lonely.yaml", SERVICE)]);
    expect(run.stderr).toMatch(/^warning: .*lonely\.yaml:\d+: spec\.selector: found/m);
    expect(run.code).toBe(0);
  });

  it("a Service without endpoints rejects, and the last line says what to change", () => {
    const run = podwire(["trace", "node/node-1", "svc/web:80", "-q", "-f", file("lonely.yaml", SERVICE)]);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain("✘ rejected");
    expect(run.stdout).toContain("SKB_DROP_REASON_NETFILTER_DROP");
    expect(run.stdout).toContain("to allow it: a ready pod that the selector of Service default/web matches");
  });

  it("a file of tests with an unknown field", () => {
    const path = file("bad.test.yaml", "tests:\n  - from: pod/a\n    to: pod/b\n    colour: red\n");
    const run = podwire(["test", path, ...SHOP]);
    expect(run.stderr).toContain("bad.test.yaml:4: tests[0].colour: found an unknown field");
    expect(run.code).toBe(2);
  });

  it.each([
    [
      "10.1.0.0/16,10.2.0.0/16",
      "command line: --cluster-cidr: found 10.1.0.0/16,10.2.0.0/16, expected one CIDR, or one of each family",
    ],
    ["10.244.0.0/16,fd00::/200", "command line: --cluster-cidr: found fd00::/200, expected a CIDR such as"],
    ["10.96.4.0/24", "serviceCidr: found 10.96.0.0/12, expected a CIDR apart from clusterCidr, 10.96.4.0/24"],
    [
      "10.244.0.0/23",
      "podwire: settings: clusterCidr: found Node node-3: cluster CIDR 10.244.0.0/23: no free /24 for it (2 of 2 in use)",
    ],
  ])("pods in %s", (cidrs, message) => {
    const run = podwire(["trace", "node/node-1", "node/node-2", ...SHOP, "--cluster-cidr", cidrs]);
    expect(run.stderr).toContain(message);
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.code).toBe(2);
  });

  it.each([
    [["--node-cidr-mask-size", "15"], "settings: nodeCidrMaskSize: found /15, expected a size from /16"],
    [["--node-cidr-mask-size", "x"], "--node-cidr-mask-size <length>"],
    [["--node-cidr-mask-size-ipv6", "72"], "settings: nodeCidrMaskSizeIpv6: found /72, expected no size"],
  ])("nodes' shares of them: %j", (args, message) => {
    const run = podwire(["trace", "node/node-1", "node/node-2", ...SHOP, ...args]);
    expect(run.stderr).toContain(message);
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.code).toBe(2);
  });

  it("nodes' shares by the command line or by a settings file", () => {
    const settings = file("masks.yaml", "nodeCidrMaskSizeIpv4: 25\n");
    for (const args of [
      ["--node-cidr-mask-size", "25"],
      ["--config", settings],
    ]) {
      const run = podwire(["trace", "deploy/frontend", "pod/cart-0", ...SHOP, "--protocol", "icmp", ...args]);
      expect(run.stdout).toMatch(/^ICMP 10\.244\.[01]\./);
      expect(run.code).toBe(0);
    }
  });

  it.each([
    [["--service-cidr", "10.96.0.0"], "command line: --service-cidr: found 10.96.0.0, expected a CIDR such as"],
    [["--cluster-cidr", "fd00:1::/56,fd00:2::/56"], "command line: --cluster-cidr: found fd00:1::/56,fd00:2::/56"],
    [["--node-address", "node-1"], "option --node-address: found node-1, expected an IP address"],
    [["--service-cidr", "10.96.0.0/32"], "service CIDR 10.96.0.0/32: too small, /30 at least"],
  ])("of proxy render: %j", (args, message) => {
    const run = podwire(["proxy", "render", ...SHOP, ...args]);
    expect(run.stderr).toContain(message);
    expect(run.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(run.code).toBe(2);
  });

  it.each([
    ["colour: red", "colour: found an unknown setting"],
    ["clusterCidr: 10.0.0.0/8,x", 'clusterCidr: found "10.0.0.0/8,x", expected one CIDR, or one of each family'],
  ])("a settings file that says %s", (line, message) => {
    const settings = file("s.yaml", `nodes: 3\n${line}\n`);
    const run = podwire(["trace", "node/node-1", "node/node-2", ...SHOP, "--config", settings]);
    expect(run.stderr).toContain(`s.yaml:2: ${message}`);
    expect(run.code).toBe(2);
  });
});

describe("files of other tools", () => {
  it("an iptables file with an unknown match: file, line and module", () => {
    const rules = file("rules.v4", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m sorcery --spell 3 -j DROP\nCOMMIT\n");
    const run = podwire(["proxy", "eval", "--rules", rules, "TCP 10.0.0.1:1 > 10.0.0.2:2"]);
    expect(run.stderr).toMatch(/^podwire: .*rules\.v4:3:13: .*sorcery[^\n]*\n$/);
    expect(run.code).toBe(2);
  });

  it("such rules match nothing with --lenient, and are named", () => {
    const text =
      "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m sorcery --spell 3 -j DROP\n-A FORWARD -p udp -j DROP\nCOMMIT\n";
    for (const [name, flows] of [
      ["lenient.v4", ["TCP 10.0.0.1:1 > 10.0.0.2:2", "UDP 10.0.0.1:1 > 10.0.0.2:2"]],
      ["lenient.v6", ["TCP [fd00::1]:1 > [fd00::2]:2", "UDP [fd00::1]:1 > [fd00::2]:2"]],
    ] as const) {
      const rules = file(name, text);
      const run = podwire(["proxy", "eval", "--rules", rules, "--lenient", ...flows]);
      expect(run.stderr).toBe(
        `warning: ${rules}:3: rules: found match "sorcery" is not known, expected a rule that is known; this one matches nothing\n`,
      );
      expect(run.stdout).toMatch(/:2 +none .*\n.*:2 +drop /);
      expect(run.code).toBe(0);
      expect(podwire(["proxy", "eval", "--rules", rules, "--lenient", "-q", ...flows]).stderr).toBe("");
    }
  });

  it.each([
    ["--routes6", "*filter\n:INPUT", /^podwire: .*dump: JSON: found .*, expected what `ip -j` prints$/],
    [
      "--routes6",
      '[{"dst":"fd00::/8","gateway":"10.0.0.1","dev":"eth0"}]',
      /dump: route\.replace: found route fd00::\/8: gateway 10\.0\.0\.1 is of the other family, expected/,
    ],
    [
      "--routes",
      '[{"dst":"fd00::/800","dev":"eth0"}]',
      /dump: route\.replace: found route fd00::\/800 is not an IP prefix/,
    ],
    [
      "--ip6tables-save",
      "*filter\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n",
      /dump:2:13: rules: found option -s: "10\.0\.0\.1" is not an IPv6 address or network, expected what ip6tables-save prints$/,
    ],
    ["--nft", "table ip6 t {", /dump:1:14: rules: found the end of the text, expected a chain or a set$/],
    [
      "--ipset-save",
      "create a bitmap:port\n",
      /dump:1:8: sets: .*option range: found nothing, expected ports such as 0-65535$/,
    ],
    [
      "--ipvsadm",
      "-A -t [fd00::1:80 -s rr\n",
      /dump:1:7: virtual services: found option -t: "\[fd00::1:80" is not an address/,
    ],
  ])("a dump of a node's that is wrong: %s %j", (option, text, message) => {
    const run = podwire(["explain", option, file("dump", text), "TCP [fd00::1]:1 > [fd00::2]:2"]);
    const [line, ...more] = run.stderr.trimEnd().split("\n");
    expect(line).toMatch(message);
    expect(more).toEqual([]);
    expect(run.code).toBe(2);
  });

  it("rules of iptables-save are evaluated as they are", () => {
    const rules = file(
      "dnat.v4",
      "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.9.9.9/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.1.1:8080\nCOMMIT\n",
    );
    const run = podwire(["proxy", "eval", "--rules", rules, "-o", "json", "TCP 10.0.0.1:1 > 10.9.9.9:80"]);
    expect(JSON.parse(run.stdout)).toMatchObject({ verdict: "dnat", endpoints: ["10.1.1.1:8080"] });
  });

  it("those of ip6tables-save too, and flows of one family at a time", () => {
    const rules = file(
      "dnat.v6",
      "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d fd00:9::9/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:1::1]:8080\nCOMMIT\n",
    );
    const flow = "TCP [fd00::1]:1 > [fd00:9::9]:80";
    const run = podwire(["proxy", "eval", "--rules", rules, "-o", "json", flow]);
    expect(JSON.parse(run.stdout)).toMatchObject({ verdict: "dnat", endpoints: ["[fd00:1::1]:8080"] });
    const both = podwire(["proxy", "eval", "--rules", rules, flow, "TCP 10.0.0.1:1 > 10.0.0.2:80"]);
    expect(both.stderr).toContain("flow: family: found TCP 10.0.0.1:1 > 10.0.0.2:80, expected an IPv6 flow");
    expect(both.code).toBe(2);
  });

  it("a capture is read back and filtered, and one cut short is named with its offset", () => {
    const path = join(dir, "whole.pcapng");
    podwire(["capture", "deploy/frontend", "svc/backend:80", ...SHOP, "-w", path]);
    const lines = podwire(["capture", "-r", path, "--filter", "port 8472"]).stdout.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines) expect(line).toContain("VXLAN, vni 1");
    const bytes = readFileSync(path);
    const cut = join(dir, "cut.pcapng");
    writeFileSync(cut, bytes.subarray(0, bytes.length - 7));
    const run = podwire(["capture", "-r", cut]);
    expect(run.stderr).toMatch(/^podwire: .*cut\.pcapng: capture: octet \d+: found .*, expected [^\n]*\n$/);
    expect(run.code).toBe(2);
  });
});

describe("determinism", () => {
  it("gives the same capture in 20 runs, and another for another seed", () => {
    const path = join(dir, "same.pcapng");
    const capture = (seed: number): string => {
      podwire(["trace", "deploy/frontend", "svc/backend:80", ...SHOP, "--seed", String(seed), "--pcap", path]);
      return createHash("sha256").update(readFileSync(path)).digest("hex");
    };
    const sums = new Set(Array.from({ length: 20 }, () => capture(1)));
    expect(sums.size).toBe(1);
    expect(sums.has(capture(2))).toBe(false);
  });
});
