/** Chains as packets walk them, while rules change: slots and marks of what is gone lead nowhere. */
import { describe, expect, it } from "vitest";
import { NF_ACCEPT, NF_DROP, NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import { Bench } from "../netfilter/testing.ts";
import { nftOp } from "./nft-op.ts";

const PORTS = [80, 81, 82, 83, 84, 85, 86, 87];
const HEAD = [
  "add table ip t",
  "add chain ip t c { type filter hook prerouting priority 0 ; }",
  "add map ip t m { type inet_service : verdict ; }",
  "add rule ip t c meta l4proto udp th dport vmap @m",
];

class Node {
  readonly #bench = new Bench();

  nft(...lines: readonly string[]): () => void {
    return nftOp(this.#bench.ns, { op: "nft.apply", netns: "host", text: `${lines.join("\n")}\n` });
  }

  /** What becomes of a packet to each port. */
  verdicts(): string {
    const { ns, nf, world } = this.#bench;
    return PORTS.map((dport) => {
      const skb = this.#bench.packet({ proto: "udp", dport });
      const verdict = nf.hook(ns, NF_INET_PRE_ROUTING, skb, ns.dev("eth0") ?? null, null);
      world.pool.free(skb);
      return verdict === NF_ACCEPT ? "a" : verdict === NF_DROP ? "d" : "?";
    }).join("");
  }
}

/** A chain for each port, and its element in the map; ports that `drops` names are dropped. */
function services(drops: string): string[] {
  return PORTS.flatMap((port, i) => [
    `add chain ip t s${port}`,
    `add rule ip t s${port} ${drops[i] === "d" ? "drop" : "accept"}`,
    `add element ip t m { ${port} : goto s${port} }`,
  ]);
}

const gone = (port: number): string[] => [
  `delete element ip t m { ${port} : goto s${port} }`,
  `flush chain ip t s${port}`,
  `delete chain ip t s${port}`,
];

describe("chains that packets have met", () => {
  it("are walked as their rules are now", () => {
    const node = new Node();
    node.nft(...HEAD, ...services("dadadada"));
    expect(node.verdicts()).toBe("dadadada");
    node.nft("flush chain ip t s80", "add rule ip t s80 accept", "add rule ip t s81 drop", "insert rule ip t s83 drop");
    expect(node.verdicts()).toBe("aadddada");
  });

  it("leave their slots to others, to which nothing leads by what was known of them", () => {
    const node = new Node();
    node.nft(...HEAD, ...services("dddddddd"));
    expect(node.verdicts()).toBe("dddddddd");
    node.nft(...gone(80), ...gone(82), ...gone(84));
    node.nft("add chain ip t other", "add rule ip t other accept", "add element ip t m { 82 : accept }");
    expect(node.verdicts()).toBe("adadaddd");
    node.nft("add element ip t m { 84 : goto other }", "add element ip t m { 80 : jump s81 }");
    expect(node.verdicts()).toBe("ddadaddd");
  });

  it("come back where a change is undone", () => {
    const node = new Node();
    node.nft(...HEAD, ...services("dadadada"));
    expect(node.verdicts()).toBe("dadadada");
    const undo = node.nft(
      ...PORTS.flatMap(gone),
      "add chain ip t x",
      "add rule ip t x accept",
      "add element ip t m { 80 : goto x }",
    );
    expect(node.verdicts()).toBe("aaaaaaaa");
    undo();
    expect(node.verdicts()).toBe("dadadada");
  });

  it("are others in a table that was made anew under its name", () => {
    const node = new Node();
    node.nft(...HEAD, ...services("dadadada"));
    expect(node.verdicts()).toBe("dadadada");
    const undo = node.nft("delete table ip t", ...HEAD, ...services("addddddd"));
    expect(node.verdicts()).toBe("addddddd");
    undo();
    expect(node.verdicts()).toBe("dadadada");
  });

  it("choose among the verdicts of a small map in a rule by their keys", () => {
    const node = new Node();
    node.nft(
      ...HEAD.slice(0, 2),
      "add chain ip t yes",
      "add chain ip t no",
      "add rule ip t yes accept",
      "add rule ip t no drop",
      "add rule ip t c meta l4proto udp th dport vmap { 81 : goto no , 83 : goto yes , 84 : jump no , 85 : drop , 86 : accept }",
      "add rule ip t c meta l4proto udp th dport 87 drop",
    );
    expect(node.verdicts()).toBe("adaaddad");
  });
});
