/** `jhash` and `symhash` (net/netfilter/nft_hash.c). */
import type { NfPacket } from "../netfilter/packet.ts";
import { u32 } from "../wire/bytes.ts";
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import { jhash as hashOf } from "../wire/jhash.ts";
import type { DataType } from "./datatype.ts";
import type { Expr } from "./model.ts";
import { typesOf } from "./parse-expr.ts";

const octets: Uint8Array = new Uint8Array(256);

/** Types that the kernel keeps in the machine's order, which is taken to be little-endian. */
function hostOrder(t: DataType): boolean {
  return t.name === "mark" || t.name === "ifname" || t.name === "iface_index" || t.name === "ct_state";
}

/** Writes the registers as the kernel has them in memory: each field begins at a multiple of four octets. */
function lay(types: readonly DataType[], regs: Int32Array, at: number): number {
  let out = 0;
  let from = at;
  for (const t of types) {
    const size = t.bits > 8 ? (t.bits > 16 ? Math.ceil(t.bits / 8) : 2) : 1;
    octets.fill(0, out, out + ((size + 3) & ~3));
    let left = size;
    for (let w = 0; w < t.words; w++) {
      const own = left - (t.words - 1 - w) * 4;
      const word = regs[from + w] as number;
      for (let i = 0; i < own; i++) {
        const shift = hostOrder(t) ? 8 * i : 8 * (own - 1 - i);
        octets[out + size - left + i] = word >>> shift;
      }
      left -= own;
    }
    from += t.words;
    out += types.length > 1 ? (size + 3) & ~3 : size;
  }
  return out;
}

/** A share of [0, mod) for a 32-bit number (reciprocal_scale). */
function scale(h: number, mod: number): number {
  return Math.floor(((h >>> 0) * mod) / 0x1_0000_0000);
}

export function jhash(e: Extract<Expr, { kind: "jhash" }>, regs: Int32Array, at: number): number {
  const length = lay(typesOf(e.of), regs, at);
  return scale(hashOf(octets, length, e.seed ?? 0), e.mod) + e.offset;
}

/** The same for both directions of a flow. The kernel's own differs with each boot. */
export function symmetricHash(p: NfPacket, mod: number): number {
  let h = (p.src + p.dst) ^ Math.imul(p.src ^ p.dst, 0x9e3779b1) ^ p.proto;
  const ported = p.proto === PROTO_TCP || p.proto === PROTO_UDP || p.proto === PROTO_SCTP;
  if (ported && p.fragment === 0 && p.end - p.transport >= 4) {
    const ports = u32(p.b, p.transport);
    h ^= Math.imul((ports >>> 16) + (ports & 0xffff), 0x85ebca6b);
  }
  h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
  return scale(h ^ (h >>> 13), mod);
}
