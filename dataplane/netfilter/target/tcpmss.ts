/** TCPMSS (xt_TCPMSS.c): the maximum segment size in a SYN, set or lowered to what the path takes. */

import { CHECKSUM_PARTIAL } from "../../skb/skb.ts";
import { setU8, setU16 } from "../../wire/bytes.ts";
import { fillAt, update16 } from "../../wire/checksum.ts";
import { dstAt, headerLenOf, pseudo, srcAt } from "../../wire/ip-header.ts";
import { isKey6 } from "../../wire/ip-key.ts";
import * as ipv4 from "../../wire/ipv4.ts";
import { ipv4Of } from "../../wire/ipv4-addr.ts";
import * as ipv6 from "../../wire/ipv6.ts";
import * as tcp from "../../wire/tcp.ts";
import { NF_DROP, NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING } from "../hooks.ts";
import type { NfPacket } from "../packet.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

/** `mss` 0 clamps to the path. */
export type TcpmssTarget = { readonly kind: "TCPMSS"; readonly mss: number };

/** What a SYN without the option stands for (RFC 9293). */
const DEFAULT_MSS = 536;
const DEFAULT_MSS6 = 1220;
const OPTION_LEN = 4;

/** Octets of a segment that fit both ways. */
function clamp(p: NfPacket): number {
  const forward = p.skb.dst?.mtu ?? 0xffff;
  const back = p.input === null ? 0xffff : p.ns.fib.dst(ipv4Of(p.src)).mtu;
  return Math.min(forward, back) - headerLenOf(ipv4Of(p.dst)) - tcp.HEADER_LEN;
}

export const tcpmssTarget: TargetModule<TcpmssTarget> = {
  name: "TCPMSS",
  options: { "--clamp-mss-to-pmtu": { args: 0 }, "--set-mss": { args: 1 } },
  hooks: (1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT) | (1 << NF_INET_POST_ROUTING),
  parse(o) {
    o.needProto([ipv4.PROTO_TCP], "-p tcp");
    const name = o.one(["--clamp-mss-to-pmtu", "--set-mss"]);
    return { kind: "TCPMSS", mss: name === "--set-mss" ? (o.number(name, 1, 0xffff) ?? 0) : 0 };
  },
  print: (t) => (t.mss === 0 ? " --clamp-mss-to-pmtu" : ` --set-mss ${t.mss}`),
  run(t, p) {
    if (p.fragment !== 0) return CONTINUE;
    const { b, transport: th } = p;
    if (tcp.check(b, th, p.end) !== 0) return NF_DROP;
    const mss = t.mss !== 0 ? t.mss : clamp(p);
    if (t.mss === 0 && mss <= 0) return NF_DROP;
    const old = tcp.mss(b, th);
    const option = tcp.findOption(b, th, tcp.OPT_MSS);
    if (option >= 0) {
      if (old <= mss) return CONTINUE;
      const sum = tcp.checksum(b, th);
      const before = wordsAround(b, option + 2);
      setU16(b, option + 2, mss);
      if (p.skb.csum !== CHECKSUM_PARTIAL) tcp.setChecksum(b, th, fix(sum, before, wordsAround(b, option + 2)));
      return CONTINUE;
    }
    // Only a bare SYN can take another option; data would have to move.
    const head = tcp.dataOffset(b, th);
    if (p.end - th !== head || head > tcp.MAX_HEADER_LEN - OPTION_LEN || p.end + OPTION_LEN > b.length) return CONTINUE;
    append(p, th, head, Math.min(mss, isKey6(p.dst) ? DEFAULT_MSS6 : DEFAULT_MSS));
    return CONTINUE;
  },
};

/** The option's value may straddle two words of the checksum. */
function wordsAround(b: Uint8Array, at: number): readonly [number, number] {
  const word = (o: number): number => ((b[o] ?? 0) << 8) | (b[o + 1] ?? 0);
  return [word(at & ~1), word((at & ~1) + 2)];
}

function fix(sum: number, before: readonly [number, number], now: readonly [number, number]): number {
  return update16(update16(sum, before[0], now[0]), before[1], now[1]);
}

function append(p: NfPacket, th: number, head: number, mss: number): void {
  const { b, skb, network } = p;
  setU8(b, th + head, tcp.OPT_MSS);
  setU8(b, th + head + 1, OPTION_LEN);
  setU16(b, th + head + 2, mss);
  tcp.setDataOffset(b, th, head + OPTION_LEN);
  skb.end += OPTION_LEN;
  if (isKey6(p.dst)) ipv6.setPayloadLen(b, network, ipv6.payloadLen(b, network) + OPTION_LEN);
  else {
    ipv4.setTotalLen(b, network, ipv4.totalLen(b, network) + OPTION_LEN);
    ipv4.fillChecksum(b, network);
  }
  if (skb.csum === CHECKSUM_PARTIAL) {
    // The pseudo-header holds the length: its sum grows with it.
    const sum = tcp.checksum(b, th) + OPTION_LEN;
    tcp.setChecksum(b, th, (sum & 0xffff) + (sum >>> 16));
  } else {
    const len = head + OPTION_LEN;
    const sum = pseudo(srcAt(b, network), dstAt(b, network), ipv4.PROTO_TCP, len);
    fillAt(b, th + tcp.CHECKSUM, th, len, sum);
  }
}
