/** Echo requests of either family (RFC 792, RFC 4443 section 4.1), with an identifier a socket, as ping(8) sends them. */
import type { Dst } from "../fib/route.ts";
import { defaultTtl, localOutEither, sourceForEither } from "../ip6/either.ts";
import type { NetNs, PingReceiver } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { headerLenOf, srcAt, writeHeader } from "../wire/ip-header.ts";
import { type IpKey, isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";

/** `dontFragment` and `tos` are IPv4's. */
export type PingOptions = { readonly ttl?: number; readonly dontFragment?: boolean; readonly tos?: number };

/** What came back. `bytes` are lent for the time of the call. Errors are in the numbers of the family's own ICMP. */
export interface PingListener {
  reply(seq: number, from: IpKey, ttl: number, bytes: Uint8Array, off: number, len: number): void;
  error(type: number, code: number, from: IpKey, info: number): void;
}

/** Type, code, checksum, identifier and sequence number: the same in both families. */
const HEADER_LEN = icmpv4.HEADER_LEN;

export class PingSocket implements PingReceiver {
  readonly #ns: NetNs;
  readonly #six: boolean;
  readonly #id: number;
  readonly #listener: PingListener;

  /** `address` is one that it will send to: sockets are of one family. */
  constructor(ns: NetNs, address: IpKey, listener: PingListener) {
    this.#ns = ns;
    this.#six = isKey6(address);
    this.#listener = listener;
    const sockets = this.#sockets;
    let id = 1 + ns.random.int(0xffff);
    while (sockets.has(id)) id = (id + 1) & 0xffff;
    sockets.set(id, this);
    this.#id = id;
  }

  get #sockets(): Map<number, PingReceiver> {
    return this.#six ? this.#ns.pingSockets6 : this.#ns.pingSockets;
  }

  close(): void {
    this.#sockets.delete(this.#id);
  }

  /** Answers false where there is no route. */
  send(to: IpKey, seq: number, data: Uint8Array, options: PingOptions = {}): boolean {
    const ns = this.#ns;
    const dst = ns.fib.dst(to);
    const src = sourceForEither(dst);
    if (src === 0) return false;
    const header = headerLenOf(to);
    const total = header + HEADER_LEN + data.length;
    const skb = ns.world.pool.alloc(total);
    skb.network = skb.data;
    skb.transport = skb.data + header;
    skb.end = skb.data + total;
    copy(skb.buf, skb.transport + HEADER_LEN, data, 0, data.length);
    this.#fill(skb, dst, src as IpKey, seq, options);
    skb.dst = dst;
    skb.mayCut = this.#six;
    skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
    skb.trace?.report(ns, skb, { step: "socket", text: "echo request" });
    localOutEither(ns, skb);
    return true;
  }

  /** Both headers, around the data. */
  #fill(skb: Skb, dst: Dst, src: IpKey, seq: number, options: PingOptions): void {
    const ns = this.#ns;
    const { buf: b, network: at, transport: th } = skb;
    const total = skb.end - at;
    const ttl = options.ttl ?? defaultTtl(ns, dst.address);
    const rest = this.#id * 0x10000 + seq;
    if (this.#six) {
      writeHeader(b, at, total, ipv4.PROTO_ICMPV6, ttl, src, dst.address, 0, 0, false);
      icmpv6.write(b, th, icmpv6.ECHO_REQUEST, 0, rest);
      icmpv6.fillChecksum(b, th, skb.end - th, at);
      return;
    }
    const df = options.dontFragment ?? total <= dst.mtu;
    writeHeader(b, at, total, ipv4.PROTO_ICMP, ttl, src, dst.address, options.tos ?? 0, ns.takeIpId(), df);
    icmpv4.write(b, th, icmpv4.ECHO_REQUEST, 0, rest);
    icmpv4.fillChecksum(b, th, skb.end - th);
  }

  reply(skb: Skb): void {
    const { buf: b, network: at, transport: th } = skb;
    const off = th + HEADER_LEN;
    const ttl = this.#six ? ipv6.hopLimit(b, at) : ipv4.ttl(b, at);
    this.#listener.reply(icmpv4.seq(b, th), srcAt(b, at), ttl, b, off, skb.end - off);
  }

  error(type: number, code: number, from: number, info: number): void {
    this.#listener.error(type, code, from as IpKey, info);
  }
}
