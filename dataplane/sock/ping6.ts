/** Echo requests over IPv6 (RFC 4443 section 4.1), with an identifier a socket, as ping(8) sends them. */

import { localOut6, sourceFor6 } from "../ip6/output.ts";
import type { NetNs, PingReceiver } from "../netns/netns.ts";
import type { Skb } from "../skb/skb.ts";
import { copy } from "../wire/bytes.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { type IpKey, key6At, octets6 } from "../wire/ip-key.ts";
import { PROTO_ICMPV6 } from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { type PingListener, register } from "./ping.ts";

export class Ping6Socket implements PingReceiver {
  readonly #ns: NetNs;
  readonly #id: number;
  readonly #listener: PingListener;

  constructor(ns: NetNs, listener: PingListener) {
    this.#ns = ns;
    this.#listener = listener;
    this.#id = register(ns, ns.pingSockets6, this);
  }

  close(): void {
    this.#ns.pingSockets6.delete(this.#id);
  }

  /** Answers false where there is no route. */
  send(to: IpKey, seq: number, data: Uint8Array, options: { readonly ttl?: number } = {}): boolean {
    const ns = this.#ns;
    const dst = ns.fib.dst(to);
    const src = sourceFor6(dst);
    if (src === 0) return false;
    const len = icmpv6.HEADER_LEN + data.length;
    const skb = ns.world.pool.alloc(ipv6.HEADER_LEN + len);
    const b = skb.buf;
    skb.network = skb.data;
    skb.transport = skb.data + ipv6.HEADER_LEN;
    skb.end = skb.transport + len;
    icmpv6.write(b, skb.transport, icmpv6.ECHO_REQUEST, 0, this.#id * 0x10000 + seq);
    copy(b, skb.transport + icmpv6.HEADER_LEN, data, 0, data.length);
    const hops = options.ttl ?? ns.sysctls.hopLimit6;
    ipv6.write(b, skb.network, len, PROTO_ICMPV6, hops, octets6(src), octets6(to), 0, 0);
    icmpv6.fillChecksum(b, skb.transport, len, skb.network);
    skb.dst = dst;
    skb.mayCut = true;
    skb.trace = ns.world.observer?.attach(ns, skb) ?? null;
    skb.trace?.report(ns, skb, { step: "socket", text: "echo request" });
    localOut6(ns, skb);
    return true;
  }

  reply(skb: Skb): void {
    const { buf: b, network: at, transport: th } = skb;
    const off = th + icmpv6.HEADER_LEN;
    const from = key6At(b, at + ipv6.SRC);
    this.#listener.reply(icmpv6.seq(b, th), from, ipv6.hopLimit(b, at), b, off, skb.end - off);
  }

  error(type: number, code: number, from: number, info: number): void {
    this.#listener.error(type, code, from as IpKey, info);
  }
}
