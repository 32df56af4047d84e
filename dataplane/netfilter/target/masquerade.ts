/** MASQUERADE (nf_nat_masquerade.c): the address of the interface that the packet leaves by. */
import { sameFamilyHop } from "../../fib/route.ts";
import { addressFor, addressFor6 } from "../../netns/select-address.ts";
import { type IpKey, isKey6 } from "../../wire/ip-key.ts";
import { NF_ACCEPT, NF_DROP, NF_INET_POST_ROUTING } from "../hooks.ts";
import type { NatRange } from "../nat.ts";
import { MANIP_SRC } from "../nat-mangle.ts";
import { CONTINUE, type TargetModule } from "./module.ts";
import { parsePorts, printFlags, printPorts } from "./nat-range.ts";

/** The range's addresses are chosen for each connection. */
export type MasqueradeTarget = { readonly kind: "MASQUERADE"; readonly range: NatRange };

export const masqueradeTarget: TargetModule<MasqueradeTarget> = {
  name: "MASQUERADE",
  options: { "--to-ports": { args: 1 }, "--random": { args: 0 }, "--random-fully": { args: 0 } },
  tracks: true,
  tables: ["nat"],
  hooks: 1 << NF_INET_POST_ROUTING,
  parse(o) {
    const text = o.text("--to-ports");
    const ports = text === undefined ? null : parsePorts(o, "--to-ports", text);
    const flags = { random: o.has("--random"), fully: o.has("--random-fully"), persistent: false };
    return { kind: "MASQUERADE", range: { addrs: null, ports, ...flags } };
  },
  print: (t) => `${t.range.ports === null ? "" : ` --to-ports ${printPorts(t.range.ports)}`}${printFlags(t.range)}`,
  run(t, p) {
    const conn = p.conn;
    const out = p.output;
    if (conn === null || out === null) return CONTINUE;
    // DHCP and the like speak from no address yet.
    if (p.src === 0) return NF_ACCEPT;
    const address = isKey6(p.src)
      ? addressFor6(out, p.dst as IpKey)
      : addressFor(out, p.skb.dst === null ? 0 : sameFamilyHop(p.skb.dst));
    if (address === 0) return NF_DROP;
    conn.masqIfindex = out.ifindex;
    p.nat.setup(conn, { ...t.range, addrs: { min: address | 0, max: address | 0 } }, MANIP_SRC);
    return NF_ACCEPT;
  },
};
