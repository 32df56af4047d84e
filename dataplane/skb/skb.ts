/**
 * The packet in flight, after the kernel's sk_buff: one buffer with headroom, offsets into it, and what the stack knows
 * about it. Tunnels push their headers into the headroom, so nothing is copied on the way.
 *
 *   0            data          network        transport                    end            buf.length
 *   ├─ headroom ──┼── Ethernet ──┼──── IP ──────┼── UDP, TCP … payload ──────┼── tailroom ──┤
 *
 * `mac`, `network` and `transport` are absolute offsets and stay valid while headers are pushed or pulled around them.
 */
import type { NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import type { CtEntry } from "../netfilter/conntrack-entry.ts";
import type { PacketTrace } from "./trace.ts";

/** Who the frame was for, as Ethernet sees it (if_packet.h). */
export const PACKET_HOST = 0;
export const PACKET_BROADCAST = 1;
export const PACKET_MULTICAST = 2;
export const PACKET_OTHERHOST = 3;

/** State of the transport checksum (skbuff.h): not checked, known good, or still to be filled in from `csumStart`. */
export const CHECKSUM_NONE = 0;
export const CHECKSUM_UNNECESSARY = 1;
export const CHECKSUM_PARTIAL = 2;

/** Octets kept free in front of a packet that a socket builds: Ethernet, then IPv6 + UDP + VXLAN + Ethernet twice over. */
export const HEADROOM = 160;
const SMALL = 2048;

export class Skb {
  buf: Uint8Array;
  data = 0;
  end = 0;
  mac = 0;
  network = 0;
  transport = 0;
  /** EtherType of what starts at `data` (or at `network`). */
  protocol = 0;
  pktType: number = PACKET_HOST;
  mark = 0;
  csum: number = CHECKSUM_NONE;
  /** Offsets of the first summed octet, and of the checksum field from there; used while `csum` is PARTIAL. */
  csumStart = 0;
  csumOffset = 0;
  /** Of a packet in a tunnel's: the inner checksum was known good, or left to the device, when it was put in. */
  innerChecked = false;
  /** Flow hash for the source port of tunnels; 0 is not yet computed. */
  hash = 0;
  /** The device that the packet came in by; null for one made here. */
  dev: NetDev | null = null;
  /** The bridge port's device, while br_netfilter shows a bridged packet to the IP hooks, and after. */
  physIn: NetDev | null = null;
  physOut: NetDev | null = null;
  /** The port's device of a bridged packet whose destination was rewritten, while its neighbour is asked for. */
  bridgedDnat: NetDev | null = null;
  /** The MAC that such a packet came from, octets 0-1 and 2-5: a neighbour's header takes its place. */
  senderHi = 0;
  senderLo = 0;
  /** Of a datagram put together here, to be forwarded in fragments again: octets of the longest one. 0 for others. */
  fragMaxSize = 0;
  /** IPv6, of a packet that was made or put together here: it may be cut where it does not fit (ignore_df). */
  mayCut = false;
  dst: Dst | null = null;
  ct: CtEntry | null = null;
  /** IP_CT_*: established, related or new, and in which direction. */
  ctInfo = 0;
  /** The zone to track it in, and for which directions (`netfilter/conn.ts`); 0 for the common one. */
  ctZone = 0;
  /** ipvs has sent it on, or answered with it (ipvs_property). */
  ipvs = false;
  /** Set while the packet has been through PREROUTING on a bridge, so that IP input does not run it twice. */
  sabotage = false;
  /** The tag that a VLAN-filtering bridge took off, or the port's VLAN where there was none; 0 outside of it. */
  vlanTci = 0;
  /** On its way through another device by a filter of the one that it came in by. */
  redirected = false;
  /** icmp type and code to answer a REJECT verdict with; see netfilter/hooks.ts. */
  rejectWith = 0;
  trace: PacketTrace | null = null;
  /** Link in the pool's free list. */
  next: Skb | null = null;

  constructor(size: number) {
    this.buf = new Uint8Array(size);
  }

  /** Octets from `data` to `end`. */
  get len(): number {
    return this.end - this.data;
  }
}

/** A free list of packets with 2 KiB buffers. A larger packet gets a buffer of its own, which is not kept. */
export class SkbPool {
  #free: Skb | null = null;
  /** Packets made so far; a steady state makes none. */
  made = 0;
  /** Packets handed out and not given back, and how often there was none. */
  live = 0;
  pauses = 0;

  /** An empty packet with `HEADROOM` octets of headroom and room for `size` octets after it. */
  alloc(size: number): Skb {
    this.live++;
    let skb = this.#free;
    if (size > SMALL - HEADROOM) {
      skb = new Skb(size + HEADROOM);
      this.made++;
    } else if (skb === null) {
      skb = new Skb(SMALL);
      this.made++;
    } else {
      this.#free = skb.next;
      skb.next = null;
    }
    skb.data = HEADROOM;
    skb.end = HEADROOM;
    return skb;
  }

  /** Gives a packet back. It must not be used after. */
  free(skb: Skb): void {
    if (--this.live === 0) this.pauses++;
    reset(skb);
    if (skb.buf.length !== SMALL) return;
    skb.next = this.#free;
    this.#free = skb;
  }

  /** A copy with its own octets; conntrack, mark, route and trace go along, as skb_copy does. */
  copy(from: Skb): Skb {
    const skb = this.alloc(from.end - HEADROOM);
    skb.buf.set(from.buf.subarray(from.data, from.end), from.data);
    skb.data = from.data;
    skb.end = from.end;
    skb.mac = from.mac;
    skb.network = from.network;
    skb.transport = from.transport;
    skb.protocol = from.protocol;
    skb.pktType = from.pktType;
    skb.mark = from.mark;
    skb.csum = from.csum;
    skb.csumStart = from.csumStart;
    skb.csumOffset = from.csumOffset;
    skb.innerChecked = from.innerChecked;
    skb.hash = from.hash;
    skb.dev = from.dev;
    skb.physIn = from.physIn;
    skb.physOut = from.physOut;
    skb.fragMaxSize = from.fragMaxSize;
    skb.dst = from.dst;
    skb.ct = from.ct;
    skb.ctInfo = from.ctInfo;
    skb.sabotage = from.sabotage;
    skb.vlanTci = from.vlanTci;
    skb.trace = from.trace;
    return skb;
  }
}

function reset(skb: Skb): void {
  skb.protocol = 0;
  skb.pktType = PACKET_HOST;
  skb.mark = 0;
  skb.csum = CHECKSUM_NONE;
  skb.innerChecked = false;
  skb.hash = 0;
  skb.dev = null;
  skb.physIn = null;
  skb.physOut = null;
  skb.bridgedDnat = null;
  skb.fragMaxSize = 0;
  skb.mayCut = false;
  skb.dst = null;
  skb.ct = null;
  skb.ctInfo = 0;
  skb.ctZone = 0;
  skb.ipvs = false;
  skb.sabotage = false;
  skb.vlanTci = 0;
  skb.redirected = false;
  skb.rejectWith = 0;
  skb.trace = null;
}

/** What a packet forgets when it enters another namespace by a veth (skb_scrub_packet): all but its octets and trace. */
export function scrub(skb: Skb): void {
  skb.mark = 0;
  skb.fragMaxSize = 0;
  skb.mayCut = false;
  skb.dst = null;
  skb.ct = null;
  skb.ctInfo = 0;
  skb.ctZone = 0;
  skb.ipvs = false;
  skb.physIn = null;
  skb.physOut = null;
  skb.sabotage = false;
}
