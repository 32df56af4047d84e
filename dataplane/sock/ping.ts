/** Echo requests, RFC 792, with an identifier a socket, as ping(8) sends them. */
import { localOut, sourceFor } from "../ip/output.ts";
import type { NetNs, PingReceiver } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as ipv4 from "../wire/ipv4.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";

export type PingOptions = { readonly ttl?: number; readonly dontFragment?: boolean; readonly tos?: number };

/** What came back. `bytes` are lent for the time of the call. */
export interface PingListener {
  reply(seq: number, from: Ipv4Addr, ttl: number, bytes: Uint8Array, off: number, len: number): void;
  error(type: number, code: number, from: Ipv4Addr, info: number): void;
}

/** Gives a socket an identifier that no other has, and answers it. */
export function register(ns: NetNs, sockets: Map<number, PingReceiver>, socket: PingReceiver): number {
  let id = 1 + ns.random.int(0xffff);
  while (sockets.has(id)) id = (id + 1) & 0xffff;
  sockets.set(id, socket);
  return id;
}

export class PingSocket implements PingReceiver {
  readonly #ns: NetNs;
  readonly #id: number;
  readonly #listener: PingListener;

  constructor(ns: NetNs, listener: PingListener) {
    this.#ns = ns;
    this.#listener = listener;
    this.#id = register(ns, ns.pingSockets, this);
  }

  close(): void {
    this.#ns.pingSockets.delete(this.#id);
  }

  /** Answers false where there is no route. */
  send(to: Ipv4Addr, seq: number, data: Uint8Array, options: PingOptions = {}): boolean {
    const ns = this.#ns;
    const dst = ns.fib.dst(to);
    const src = sourceFor(dst);
    if (src === 0) return false;
    const len = icmpv4.HEADER_LEN + data.length;
    const skb = ns.world.pool.alloc(ipv4.HEADER_LEN + len);
    const b = skb.buf;
    skb.network = skb.data;
    skb.transport = skb.data + ipv4.HEADER_LEN;
    skb.end = skb.transport + len;
    icmpv4.write(b, skb.transport, icmpv4.ECHO_REQUEST, 0, this.#id * 0x10000 + seq);
    copy(b, skb.transport + icmpv4.HEADER_LEN, data, 0, data.length);
    icmpv4.fillChecksum(b, skb.transport, len);
    const total = ipv4.HEADER_LEN + len;
    const df = (options.dontFragment ?? total <= dst.mtu) ? ipv4.FLAG_DF : 0;
    const ttl = options.ttl ?? ns.sysctls.defaultTtl;
    ipv4.write(b, skb.network, total, ns.takeIpId(), df, ttl, ipv4.PROTO_ICMP, src, to, options.tos ?? 0);
    skb.dst = dst;
    skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
    skb.trace?.report(ns, skb, { step: "socket", text: "echo request" });
    localOut(ns, skb);
    return true;
  }

  reply(skb: Skb): void {
    const b = skb.buf;
    const off = skb.transport + icmpv4.HEADER_LEN;
    const from = ipv4.src(b, skb.network);
    const ttl = ipv4.ttl(b, skb.network);
    this.#listener.reply(icmpv4.seq(b, skb.transport), from, ttl, b, off, skb.end - off);
  }

  error(type: number, code: number, from: number, info: number): void {
    this.#listener.error(type, code, from as Ipv4Addr, info);
  }
}
