/** `-m mac` (xt_mac.c): the source of the frame that a packet came in. */
import { PACKET_HOST } from "../../skb/skb.ts";
import { u48 } from "../../wire/bytes.ts";
import { formatMac, parseMac } from "../../wire/mac-addr.ts";
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type MacMatch = { readonly kind: "mac"; readonly mac: number; readonly not: boolean };

/** Octets of the destination, which stands first in the frame. */
const SRC = 6;

export const macMatch: MatchModule<MacMatch> = {
  name: "mac",
  options: { "--mac-source": { args: 1, not: true } },
  parse(o) {
    const text = o.need("--mac-source");
    const mac = parseMac(text);
    if (mac === undefined) return o.fail(`option --mac-source: "${text}" is not a MAC address`);
    return { kind: "mac", mac, not: o.not("--mac-source") };
  },
  print: (m) => opt(m.not, "--mac-source", formatMac(m.mac)),
  test(m, p) {
    if (p.input === null || p.input.linkHeaderLen === 0 || p.skb.pktType < PACKET_HOST) return false;
    return (u48(p.b, p.skb.mac + SRC) === m.mac) !== m.not;
  },
};
