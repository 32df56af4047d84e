/** NETMAP (xt_NETMAP.c): an address gets another network and keeps the rest; the destination, or behind routing the source. */
import { isKey6, rebase6 } from "../../wire/ip-key.ts";
import { formatAddress, formatNetwork6, type Network6, parseAddress, parseNetwork6 } from "../address.ts";
import { NF_ACCEPT, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING } from "../hooks.ts";
import { manipOf, NO_RANGE } from "../nat.ts";
import { MANIP_SRC } from "../nat-mangle.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type NetmapTarget = {
  readonly kind: "NETMAP";
  /** IPv4; 0 where the network is one of IPv6. */
  readonly addr: number;
  readonly mask: number;
  readonly six: Network6 | null;
};

export const netmapTarget: TargetModule<NetmapTarget> = {
  name: "NETMAP",
  options: { "--to": { args: 1 } },
  tracks: true,
  tables: ["nat"],
  hooks: (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_OUT) | (1 << NF_INET_POST_ROUTING) | (1 << NF_INET_LOCAL_IN),
  parse(o) {
    const text = o.need("--to");
    const six = o.six ? parseNetwork6(text) : undefined;
    const four = o.six ? undefined : parseAddress(text);
    if (six === undefined && four === undefined) o.fail(`option --to: "${text}" is not a network`);
    return { kind: "NETMAP", addr: four?.addr ?? 0, mask: four?.mask ?? 0, six: six ?? null };
  },
  print: (t) => ` --to ${t.six === null ? formatAddress(t.addr, t.mask) : formatNetwork6(t.six)}`,
  run(t, p) {
    const { conn } = p;
    if (conn === null) return CONTINUE;
    const manip = manipOf(p.hook);
    const old = manip === MANIP_SRC ? p.src : p.dst;
    const now = t.six !== null && isKey6(old) ? rebase6(t.six.key, t.six.len, old) : (old & ~t.mask) | t.addr;
    p.nat.setup(conn, { ...NO_RANGE, addrs: { min: now, max: now } }, manip);
    return NF_ACCEPT;
  },
};
