/**
 * Datagrams put on a pod's interface as they are, as pktgen or a packet socket would: from any source port, without a
 * socket for each. The transport checksum is partial, as it is in what a socket sends.
 */
import { CHECKSUM_PARTIAL } from "../dataplane/skb/skb.ts";
import { copy } from "../dataplane/wire/bytes.ts";
import { fold, pseudo4 } from "../dataplane/wire/checksum.ts";
import * as ethernet from "../dataplane/wire/ethernet.ts";
import * as ipv4 from "../dataplane/wire/ipv4.ts";
import type { Ipv4Addr } from "../dataplane/wire/ipv4-addr.ts";
import * as udp from "../dataplane/wire/udp.ts";
import type { Layout } from "./layouts/layout.ts";

const HEAD = ethernet.HEADER_LEN + ipv4.HEADER_LEN + udp.HEADER_LEN;

export class PacketSource {
  readonly #layout: Layout;
  /** The headers with everything that stays, then the payload. */
  readonly #frame: Uint8Array;

  constructor(layout: Layout, payload: Uint8Array) {
    const { gateway, link } = layout;
    this.#layout = layout;
    const b = new Uint8Array(HEAD + payload.length);
    ethernet.write(b, 0, gateway, link.mac, ethernet.ETH_P_IP);
    b.set(payload, HEAD);
    this.#frame = b;
  }

  send(srcPort: number, to: Ipv4Addr, toPort: number): void {
    const { world, link, clientAddress } = this.#layout;
    const frame = this.#frame;
    const len = frame.length;
    const skb = world.pool.alloc(len);
    const b = skb.buf;
    const at = skb.data;
    copy(b, at, frame, 0, len);
    const network = at + ethernet.HEADER_LEN;
    const transport = network + ipv4.HEADER_LEN;
    const length = len - ethernet.HEADER_LEN - ipv4.HEADER_LEN;
    const [src, dst] = [(clientAddress | 0) as Ipv4Addr, (to | 0) as Ipv4Addr];
    ipv4.write(b, network, len - ethernet.HEADER_LEN, 0, ipv4.FLAG_DF, 64, ipv4.PROTO_UDP, src, dst, 0);
    udp.write(b, transport, srcPort, toPort, length);
    udp.setChecksum(b, transport, fold(pseudo4(src, dst, ipv4.PROTO_UDP, length)));
    skb.mac = at;
    skb.network = network;
    skb.transport = transport;
    skb.end = at + len;
    skb.protocol = ethernet.ETH_P_IP;
    skb.csum = CHECKSUM_PARTIAL;
    skb.csumStart = transport;
    skb.csumOffset = udp.CHECKSUM;
    link.transmit(skb);
  }
}
