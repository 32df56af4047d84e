/**
 * Tables of family bridge: what their chains at prerouting and forward say to frames. All of prerouting comes before the IP
 * hooks that br_netfilter shows the packet to, whatever its priority.
 */
import type { NetDev } from "../dev/netdev.ts";
import { type BridgeFilter, NF_ACCEPT, NF_INET_PRE_ROUTING } from "../netfilter/hooks.ts";
import { IptablesNetfilter } from "../netfilter/netfilter.ts";
import { NfPacket } from "../netfilter/packet.ts";
import { netfilterOf } from "../netfilter/restore-op.ts";
import type { NetNs } from "../netns/netns.ts";
import { Skb } from "../skb/skb.ts";
import { ETH_P_IP, ETH_P_IPV6 } from "../wire/ethernet.ts";
import { key6At } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import type { Chain } from "./model.ts";
import type { Ruleset } from "./ruleset.ts";
import { NftRunner } from "./run.ts";

class NftBridgeFilter implements BridgeFilter {
  readonly #prerouting: readonly Chain[];
  readonly #forward: readonly Chain[];
  readonly #packet: NfPacket;
  readonly #runner: NftRunner;

  constructor(ns: NetNs, rules: Ruleset, prerouting: readonly Chain[], forward: readonly Chain[]) {
    this.#runner = new NftRunner(rules.code);
    this.#prerouting = prerouting;
    this.#forward = forward;
    const { state, nat } = netfilterOf(ns) ?? new IptablesNetfilter(ns);
    this.#packet = new NfPacket(ns, new Skb(0), state, nat);
  }

  pass(hook: number, skb: Skb, input: NetDev | null, output: NetDev | null): boolean {
    const chains = hook === NF_INET_PRE_ROUTING ? this.#prerouting : this.#forward;
    if (chains.length === 0) return true;
    const p = this.#packet;
    const b = skb.buf;
    const at = skb.network;
    p.skb = skb;
    p.hook = hook;
    p.input = input;
    p.output = output;
    p.l3 = skb.protocol;
    p.examined = 0;
    p.linear = 0;
    if (skb.protocol === ETH_P_IPV6 && ipv6.check(b, at, skb.end) === 0) {
      p.src = key6At(b, at + ipv6.SRC);
      p.dst = key6At(b, at + ipv6.DST);
      p.proto = ipv6.transportProtocol(b, at, skb.end);
      p.fragment = ipv6.fragmentOffset(b, at, skb.end);
      skb.transport = ipv6.transportOffset(b, at, skb.end);
    } else if (skb.protocol === ETH_P_IP && ipv4.check(b, at, skb.end) === 0) {
      p.src = ipv4.srcKey(b, at);
      p.dst = ipv4.dstKey(b, at);
      p.proto = ipv4.protocol(b, at);
      p.fragment = ipv4.fragmentOffset(b, at);
      skb.transport = at + ipv4.headerLen(b, at);
    } else {
      // a packet that is none has no headers to ask
      p.proto = -1;
      if (p.l3 === ETH_P_IP || p.l3 === ETH_P_IPV6) p.l3 = 0;
    }
    for (let i = 0; i < chains.length; i++) if (this.#runner.run(chains[i] as Chain, p) !== NF_ACCEPT) return false;
    return true;
  }
}

/** The filter of a ruleset's bridge tables; null where they have no chains that hang on a hook. */
export function bridgeFilterOf(ns: NetNs, rules: Ruleset): BridgeFilter | null {
  const byHook = new Map<string, Chain[]>([
    ["prerouting", []],
    ["forward", []],
  ]);
  for (const table of rules.tables.values()) {
    if (table.family !== "bridge" || table.dormant) continue;
    for (const chain of table.chains.values()) if (chain.base !== null) byHook.get(chain.base.hook)?.push(chain);
  }
  const [prerouting = [], forward = []] = [...byHook.values()].map((chains) =>
    chains.sort((a, b) => (a.base?.priority ?? 0) - (b.base?.priority ?? 0)),
  );
  return prerouting.length + forward.length === 0 ? null : new NftBridgeFilter(ns, rules, prerouting, forward);
}
