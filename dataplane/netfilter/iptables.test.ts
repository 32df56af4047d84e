import { describe, expect, it } from "vitest";
import { applyOps } from "../netns/rtnl-apply.ts";
import { ensureNetfilter, netfilterOf, saveRules } from "./restore-op.ts";
import { RulesError } from "./rules-error.ts";
import { Bench } from "./testing.ts";

function table(name: string, ...lines: string[]): string {
  return `*${name}\n${lines.join("\n")}\nCOMMIT\n`;
}

/** The rules of a namespace as saved, or what refused the text. */
function result(...texts: string[]): { saved: string[]; error: string } {
  const bench = new Bench();
  let error = "";
  for (const text of texts) {
    try {
      bench.restore(text);
    } catch (cause) {
      expect(cause).toMatchObject({ name: "NetlinkError", code: "EINVAL" });
      error = (cause as Error).message;
    }
  }
  const saved = saveRules(bench.ns).split("\n");
  return { saved: saved.filter((l) => l.startsWith("-A")), error };
}

describe("rules as text", () => {
  it.each([
    [
      "filter",
      "-A INPUT -d 1.2.3.4 -m tcp -p tcp --dport http ! -s 10.0.0.0/8 -i eth0",
      "-A INPUT ! -s 10.0.0.0/8 -d 1.2.3.4/32 -i eth0 -p tcp -m tcp --dport 80",
    ],
    [
      "filter",
      "--append INPUT --protocol udp --destination-port=53 --jump DROP",
      "-A INPUT -p udp -m udp --dport 53 -j DROP",
    ],
    [
      "filter",
      "-A INPUT -m statistic --mode random --probability 0.3333333333",
      "-A INPUT -m statistic --mode random --probability 0.33333333349",
    ],
    [
      "filter",
      "-A INPUT -m statistic --mode random --probability 0.1",
      "-A INPUT -m statistic --mode random --probability 0.10000000009",
    ],
    ["filter", "-A INPUT -s 10.1.2.3/255.255.0.255", "-A INPUT -s 10.1.0.3/255.255.0.255"],
    ["filter", "-A INPUT -s 0.0.0.0/0 -p all", "-A INPUT"],
    [
      "filter",
      '-A INPUT -m comment --comment "it\'s \\"q\\" \\\\ b"',
      '-A INPUT -m comment --comment "it\\\'s \\"q\\" \\\\ b"',
    ],
    ["filter", "-A INPUT -j ACCEPT -m mark --mark 1", "-A INPUT -m mark --mark 0x1 -j ACCEPT"],
    ["filter", "[7:8] -A INPUT -j ACCEPT", "-A INPUT -j ACCEPT"],
    ["filter", "-A INPUT -m limit --limit 5/minute", "-A INPUT -m limit --limit 5/min"],
    ["filter", "-A INPUT -m limit --limit 3/hour", "-A INPUT -m limit --limit 3/hour"],
    [
      "filter",
      "-A INPUT -m limit --limit 100/s --limit-burst 200",
      "-A INPUT -m limit --limit 100/sec --limit-burst 200",
    ],
    ["nat", "-A PREROUTING -p tcp -j DNAT --to-destination :80", "-A PREROUTING -p tcp -j DNAT --to-destination :80"],
    ["mangle", "-A INPUT -j MARK --and-mark 0xff", "-A INPUT -j MARK --set-xmark 0x0/0xffffff00"],
  ])("in %s reads %s", (name, line, printed) => {
    expect(result(table(name, line))).toEqual({ saved: [printed], error: "" });
  });

  it("reads one rule for each pair of addresses", () => {
    expect(result(table("filter", "-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4")).saved).toEqual([
      "-A INPUT -s 1.1.1.1/32 -d 3.3.3.3/32",
      "-A INPUT -s 1.1.1.1/32 -d 4.4.4.4/32",
      "-A INPUT -s 2.2.2.2/32 -d 3.3.3.3/32",
      "-A INPUT -s 2.2.2.2/32 -d 4.4.4.4/32",
    ]);
  });

  it.each([
    ["filter", "-A INPUT -m nope", 'rules:2:13: match "nope" is not known'],
    ["filter", "-A INPUT -j NOPE", "rules:2:13: chain or target NOPE does not exist"],
    ["filter", "-A NOPE -j DROP", "rules:2:4: chain NOPE does not exist in table filter"],
    ["filter", "-A INPUT -p tcp --nope 3", "rules:2:17: unknown option --nope"],
    ["filter", "-A INPUT --dport 80", "rules:2:10: unknown option --dport"],
    ["filter", "-A INPUT -p tcp -m udp --dport 9", "rules:2:10: udp: needs -p udp"],
    ["filter", "-A INPUT -p tcp --dport 99999", 'rules:2:25: tcp: option --dport: "99999" is not a port'],
    ["filter", "-A INPUT -p tcp --dport 5 --dport 6", "rules:2:17: tcp: option --dport is given twice"],
    ["filter", "-A INPUT -s 1.2.3", 'rules:2:13: option -s: "1.2.3" is not an IPv4 address or network'],
    ["filter", "-A INPUT -s 1.1.1.1 -s 1.1.1.1", "rules:2:10: option -s is given twice"],
    ["filter", "-A INPUT -j ACCEPT -j DROP", "rules:2:10: option -j is given twice"],
    ["filter", "-A INPUT -m comment --comment 'a b'", 'rules:2:34: "b\'" is not an option'],
    ["filter", '-A INPUT -m comment --comment "a b', "rules:2: a quote is not closed"],
    ["filter", "-A INPUT -m set --match-set gone src", "rules:2:29: set: set gone does not exist"],
    [
      "filter",
      "-A INPUT -m statistic --mode random --probability 2",
      'rules:2:51: statistic: option --probability: "2" is not a number from 0 to 1',
    ],
    ["filter", "-A INPUT -o eth0", "rules:2:10: option -o: packets in INPUT have no such interface"],
    ["filter", "-A INPUT -j FORWARD", "rules:2:13: chain FORWARD cannot be jumped to"],
    ["filter", "-A FORWARD -j DNAT --to-destination 1.1.1.1", "rules:2: DNAT: stands in table nat only, not in filter"],
    [
      "nat",
      "-A PREROUTING -j DNAT --to-destination 1.1.1.1:80",
      "rules:2: DNAT: needs -p tcp, udp, sctp or dccp for ports",
    ],
    ["nat", "-A PREROUTING -j DNAT", "rules:2: DNAT: option --to-destination is required"],
    ["nat", "-A POSTROUTING -j DNAT --to-destination 1.1.1.1", "DNAT: cannot be reached from hook POSTROUTING"],
    ["filter", "-A INPUT -j REJECT --reject-with tcp-reset", "rules:2: REJECT: needs -p tcp for tcp-reset"],
    ["nope", "-A INPUT", 'rules:1: table "nope" is not known'],
    ["filter", "-N AAAAAAAAAABBBBBBBBBBCCCCCCCCCD", "must have 1 to 28 characters"],
    ["filter", "-Q INPUT", 'rules:2:1: "-Q" is not a command'],
    ["filter", ":INPUT QUEUE [0:0]", 'rules:2:8: policy "QUEUE" is neither ACCEPT nor DROP'],
    ["filter", ":U DROP [0:0]", 'rules:2:4: chain U cannot have policy "DROP"'],
    ["filter", "-I INPUT 2 -j DROP", "rules:2:4: chain INPUT: no place 2 among 0 rules"],
    ["filter", "-D INPUT -j DROP", "rules:2:4: chain INPUT has no rule -j DROP"],
    ["filter", "-X U", "rules:2:4: chain U does not exist"],
  ])("in %s refuses %s", (name, line, message) => {
    const { saved, error } = result(table(name, line));
    expect(error).toContain(message);
    expect(saved).toEqual([]);
  });

  it("names source, line and module in the cause", () => {
    const bench = new Bench();
    const bad = table("filter", "-A INPUT -j ACCEPT", "-A INPUT -p tcp --dport x");
    try {
      bench.restore(bad);
      expect.unreachable();
    } catch (error) {
      let cause: unknown = error;
      while (cause instanceof Error && !(cause instanceof RulesError)) cause = cause.cause;
      expect(cause).toMatchObject({ source: "rules", line: 3, module: "tcp" });
    }
  });
});

describe("iptables-restore", () => {
  it("applies a text whole or not at all, over tables too", () => {
    const bench = new Bench();
    bench.restore(table("filter", "-A INPUT -p tcp"));
    const before = saveRules(bench.ns);
    const text = table("filter", "-A INPUT -p udp", ":U - [0:0]") + table("nat", ":W - [0:0]", "-A W -j NOPE");
    expect(() => bench.restore(text)).toThrow("rules:7:9: chain or target NOPE does not exist");
    expect(saveRules(bench.ns)).toBe(before);
  });

  it("needs a COMMIT", () => {
    expect(() => new Bench().restore("*filter\n-A INPUT -j DROP\n")).toThrow("table filter has no COMMIT");
  });

  it("inserts, replaces and deletes by place", () => {
    const { saved } = result(
      table("filter", ":U - [0:0]", "-A U -p tcp", "-A U -p udp"),
      table("filter", "-I U -p icmp", "-I U 2 -p gre", "-R U 3 -p esp", "-D U 4"),
    );
    expect(saved).toEqual(["-A U -p icmp", "-A U -p gre", "-A U -p esp"]);
  });

  it("deletes the first rule that says the same, however it is written", () => {
    const { saved } = result(
      table("filter", "-A INPUT -p tcp -m tcp --dport 80 -j DROP", "-A INPUT -p tcp --dport 81 -j DROP"),
      table("filter", "-D INPUT -m tcp --dport 0x50 --protocol tcp -j DROP"),
    );
    expect(saved).toEqual(["-A INPUT -p tcp -m tcp --dport 81 -j DROP"]);
  });

  it("empties a chain that a :CHAIN line names, and leaves the others and the kernel's own", () => {
    const { saved } = result(
      table("filter", ":U - [0:0]", ":V - [0:0]", "-A INPUT -j U", "-A U -p tcp", "-A V -p tcp"),
      table("filter", ":INPUT ACCEPT [0:0]", ":U - [0:0]", "-A U -p udp"),
    );
    expect(saved).toEqual(["-A INPUT -j U", "-A U -p udp", "-A V -p tcp"]);
  });

  it("will not delete a chain that is in use or not empty", () => {
    const chain = table("filter", ":U - [0:0]", "-A INPUT -j U");
    expect(result(chain, table("filter", "-X U")).error).toContain("chain U is in use (1 references)");
    expect(result(table("filter", ":U - [0:0]", "-A U -j DROP"), table("filter", "-X U")).error).toContain("not empty");
    expect(result(chain, table("filter", "-D INPUT -j U", "-X U"))).toEqual({ saved: [], error: "" });
  });

  it("renames a chain with the jumps to it", () => {
    expect(result(table("filter", ":U - [0:0]", "-A INPUT -g U"), table("filter", "-E U V")).saved).toEqual([
      "-A INPUT -g V",
    ]);
  });

  it("takes chains that lead on and on, and finds what cannot stand at the end of them", () => {
    const n = 20_000;
    const chains = Array.from({ length: n }, (_, i) => `:C${i} - [0:0]`);
    const jumps = Array.from({ length: n - 1 }, (_, i) => `-A C${i} -j C${i + 1}`);
    const ending = (target: string): string =>
      table("nat", ...chains, "-A POSTROUTING -j C0", ...jumps, `-A C${n - 1} -j ${target}`);
    expect(result(ending("MASQUERADE")).error).toBe("");
    expect(result(ending("DNAT --to-destination 10.0.0.1")).error).toContain("cannot be reached from hook C19999");
  });

  it("refuses chains that lead in a circle", () => {
    const circle = table("filter", ":U - [0:0]", ":V - [0:0]", "-A U -j V", "-A V -j U");
    expect(result(circle).error).toContain("leads back to itself");
    const later = result(table("filter", ":U - [0:0]", ":V - [0:0]", "-A U -j V"), table("filter", "-A V -j U"));
    expect(later.error).toContain("chain V leads back to itself by U");
  });

  it("refuses a target that a later jump would put where it cannot work", () => {
    const first = table("nat", ":U - [0:0]", "-A U -j DNAT --to-destination 1.1.1.1");
    expect(result(first, table("nat", "-A POSTROUTING -j U")).error).toContain("DNAT: cannot be reached from hook");
    expect(result(first, table("nat", "-A PREROUTING -j U")).error).toBe("");
  });

  it("undoes a text when a later operation of the list fails", () => {
    const bench = new Bench();
    bench.restore(table("filter", ":U - [0:0]", "-A INPUT -j U", "-A U -p tcp"));
    const before = saveRules(bench.ns);
    const text = table("filter", "-F", "-X U", "-P INPUT DROP", "-N W") + table("raw", "-A OUTPUT -j NOTRACK");
    const ops = [
      { op: "iptables.restore", netns: "host", family: "ipv4", text, noflush: true },
      { op: "link.del", netns: "host", name: "gone" },
    ] as const;
    expect(() => applyOps(bench.host, ops)).toThrow(expect.objectContaining({ code: "ENODEV" }));
    expect(saveRules(bench.ns)).toBe(before);
    bench.restore(table("filter", "-D INPUT 1", "-F U", "-X U"));
  });

  it("leaves no netfilter behind where no table is left", () => {
    const bench = new Bench();
    bench.restore(table("filter", "-A INPUT -j DROP"));
    expect(bench.ns.nf).not.toBeNull();
    bench.restore("*filter\nCOMMIT\n", false);
    expect(bench.ns.nf).toBeNull();
    expect(netfilterOf(bench.ns)).toBeNull();
  });

  it("accepts a rule about a set that is there", () => {
    const bench = new Bench();
    ensureNetfilter(bench.ns).state.sets.create("S", "hash:ip");
    bench.restore(table("filter", "-A INPUT -m set ! --match-set S src -j DROP"));
    expect(saveRules(bench.ns)).toContain("-A INPUT -m set ! --match-set S src -j DROP");
  });

  it("stores the same rules of two namespaces once", () => {
    const bench = new Bench();
    const other = bench.host.netns(bench.host.addNetns("other"));
    const text = table("filter", ":U - [0:0]", "-A U -p tcp --dport 80 -j DROP");
    for (const netns of ["host", "/var/run/netns/other"]) {
      applyOps(bench.host, [{ op: "iptables.restore", netns, family: "ipv4", text, noflush: true }]);
    }
    const chain = bench.nf.tables.get("filter")?.chains.get("U")?.chain;
    expect(chain).toBeDefined();
    expect(netfilterOf(other)?.tables.get("filter")?.chains.get("U")?.chain).toBe(chain);
  });

  it("keeps the counters of rules that stay", () => {
    const bench = new Bench();
    bench.restore(table("filter", ":U - [0:0]", "-A FORWARD -p udp", "-A FORWARD -p tcp"));
    const skb = bench.packet({ payload: 10 });
    bench.hook(2, skb, "eth0", "eth1");
    bench.restore(table("filter", "-A FORWARD -p gre", "-A U -p udp"));
    expect(saveRules(bench.ns, true)).toContain(
      "[1:38] -A FORWARD -p udp\n[0:0] -A FORWARD -p tcp\n[0:0] -A FORWARD -p gre",
    );
    bench.restore(table("filter", "-Z"));
    expect(saveRules(bench.ns, true)).toContain("[0:0] -A FORWARD -p udp");
    bench.world.pool.free(skb);
  });
});
