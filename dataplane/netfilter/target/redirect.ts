/**
 * REDIRECT (nf_nat_redirect.c): to this host, by the first address of the interface that the packet came in by. Of IPv6 that
 * is the youngest of those that are as far known as the destination.
 */
import { isKey6, isLinkLocal6, key6 } from "../../wire/ip-key.ts";
import { LOOPBACK6 } from "../../wire/ipv6-addr.ts";
import { NF_ACCEPT, NF_DROP, NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING } from "../hooks.ts";
import type { NatRange } from "../nat.ts";
import { MANIP_DST } from "../nat-mangle.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";
import { parsePorts, printFlags, printPorts } from "./nat-range.ts";

export type RedirectTarget = { readonly kind: "REDIRECT"; readonly range: NatRange };

const LOOPBACK = 0x7f000001;
const LOOPBACK_6: number = key6(LOOPBACK6);

function incoming(p: NfPacket): number {
  if (!isKey6(p.dst)) return p.input?.addrs[0]?.address ?? 0;
  const local = isLinkLocal6(p.dst);
  return p.input?.addrs6.findLast((a) => isLinkLocal6(a.address) === local)?.address ?? 0;
}

export const redirectTarget: TargetModule<RedirectTarget> = {
  name: "REDIRECT",
  options: { "--to-ports": { args: 1 }, "--random": { args: 0 } },
  tracks: true,
  tables: ["nat"],
  hooks: (1 << NF_INET_PRE_ROUTING) | (1 << NF_INET_LOCAL_OUT),
  parse(o) {
    const text = o.text("--to-ports");
    const ports = text === undefined ? null : parsePorts(o, "--to-ports", text);
    return {
      kind: "REDIRECT",
      range: { addrs: null, ports, random: o.has("--random"), fully: false, persistent: false },
    };
  },
  print: (t) => `${t.range.ports === null ? "" : ` --to-ports ${printPorts(t.range.ports)}`}${printFlags(t.range)}`,
  run(t, p) {
    if (p.conn === null) return CONTINUE;
    const address = p.hook !== NF_INET_LOCAL_OUT ? incoming(p) : isKey6(p.dst) ? LOOPBACK_6 : LOOPBACK;
    if (address === 0) return NF_DROP;
    p.nat.setup(p.conn, { ...t.range, addrs: { min: address | 0, max: address | 0 } }, MANIP_DST);
    return NF_ACCEPT;
  },
};
