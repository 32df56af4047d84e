/**
 * VXLAN devices, RFC 7348 (drivers/net/vxlan): Ethernet in UDP. The database of the device says which VTEP a MAC is behind;
 * entries are configured, or learned from what arrives while learning is on. Devices of one namespace and UDP port share a
 * socket and are told apart by VNI.
 *
 *   ┌ IPv4 20 or IPv6 40 ┬ UDP 8 ┬ VXLAN 8 ┬ inner Ethernet 14 ┬ inner IP … ┐   50 or 70 octets more than the inner packet
 *
 * Outer header: source port from the inner flow's hash, TTL 64 or as configured, don't-fragment off, TOS 0 but for ECN, which
 * is copied out and, where the underlay was congested, in again (RFC 6040). Over IPv6 there is always a checksum, no flow
 * label, and no fragment: what is too long is answered and dropped.
 * Left out: multicast groups, metadata mode, GPE, ARP suppression, an inner route that learns its MTU from the outer one's.
 */
import { Fdb, FdbEntry } from "../bridge/fdb.ts";
import type { Driver, NetDev } from "../dev/netdev.ts";
import type { Dst } from "../fib/route.ts";
import { localOut } from "../ip/output.ts";
import { localOut6 } from "../ip6/output.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import { flowHash, flowPort } from "../skb/flow-hash.ts";
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, PACKET_HOST, type Skb } from "../skb/skb.ts";
import { UdpSocket } from "../sock/udp.ts";
import { i32, u16 } from "../wire/bytes.ts";
import { finish, fold, sum } from "../wire/checksum.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as ethernet from "../wire/ethernet.ts";
import { headerLenOf, pseudo, srcAt, writeHeader } from "../wire/ip-header.ts";
import { formatIp, type IpKey, isKey6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { formatMac } from "../wire/mac-addr.ts";
import * as udp from "../wire/udp.ts";
import * as vxlan from "../wire/vxlan.ts";

/** Octets in front of the inner Ethernet header, by the family of the underlay. */
export function overheadOf(underlay: IpKey): number {
  return headerLenOf(underlay) + udp.HEADER_LEN + vxlan.HEADER_LEN;
}

/** The two low bits of the TOS octet (RFC 3168). */
const ECN_MASK = 3;
const ECN_ECT1 = 1;
const ECN_ECT0 = 2;
const ECN_CE = 3;

/** A remote VTEP, with the route to it. */
export type Remote = { readonly address: IpKey; dst: Dst | null };

export type VxlanConfig = {
  readonly vni: number;
  /** Says of which family the underlay is. */
  readonly local: IpKey;
  readonly port: number;
  readonly learning: boolean;
  /** 0 takes the host's default. */
  readonly ttl: number;
  /** The device that it is bound to, for its MTU. */
  readonly underlay: NetDev | null;
  /** Over IPv4. */
  readonly udpCsum: boolean;
};

/** The devices that share a UDP port of a namespace; those of one family are told apart by VNI. */
export class VxlanPort {
  readonly #devices: Map<number, Vxlan> = new Map();
  readonly #devices6: Map<number, Vxlan> = new Map();
  readonly #socket: UdpSocket;
  readonly #ns: NetNs;

  private constructor(ns: NetNs, socket: UdpSocket) {
    this.#ns = ns;
    this.#socket = socket;
  }

  /** Adds a device; answers false if the port or the VNI is taken. */
  static join(ns: NetNs, device: Vxlan): boolean {
    const number = device.config.port;
    let port = ns.vxlanPorts.get(number);
    if (port === undefined) {
      const socket = UdpSocket.tunnel(ns, number, receive);
      if (socket === null) return false;
      port = new VxlanPort(ns, socket);
      ns.vxlanPorts.set(number, port);
    }
    const devices = port.devices(device.six);
    if (devices.has(device.config.vni)) return false;
    devices.set(device.config.vni, device);
    return true;
  }

  /** Those with an underlay of this family. */
  devices(six: boolean): Map<number, Vxlan> {
    return six ? this.#devices6 : this.#devices;
  }

  leave(device: Vxlan): void {
    this.devices(device.six).delete(device.config.vni);
    if (this.#devices.size + this.#devices6.size > 0) return;
    this.#socket.close();
    this.#ns.vxlanPorts.delete(device.config.port);
  }
}

export class Vxlan implements Driver {
  readonly kind: string = "vxlan";
  readonly linkHeaderLen: number = ethernet.HEADER_LEN;
  readonly config: VxlanConfig;
  readonly fdb: Fdb<Remote> = new Fdb();
  /** Whether the underlay is IPv6. */
  readonly six: boolean;
  dev: NetDev | null = null;
  readonly #key: number;
  /** As a signed integer: an address above 2^31 would be boxed on its way into a call. */
  readonly #local: IpKey;

  constructor(ns: NetNs, config: VxlanConfig) {
    this.config = config;
    this.six = isKey6(config.local);
    this.#key = ns.random.u32() | 0;
    this.#local = (config.local | 0) as IpKey;
  }

  /** Points a MAC at a VTEP. */
  setRemote(macHi: number, macLo: number, address: IpKey, permanent: boolean, now: number): void {
    this.fdb.set(new FdbEntry<Remote>(macHi, macLo, { address, dst: null }, permanent, now));
  }

  xmit(dev: NetDev, skb: Skb): void {
    const ns = dev.ns;
    const b = skb.buf;
    const inner = skb.data;
    const entry = this.fdb.get(u16(b, inner), i32(b, inner + 2)) ?? this.fdb.get(0, 0);
    if (entry === null) {
      drop(
        ns,
        skb,
        DropReason.VXLAN_NO_REMOTE,
        skb.trace && `no VTEP for ${formatMac(ethernet.dst(b, inner))} on ${dev.name}`,
      );
      return;
    }
    const remote = entry.target;
    let dst = remote.dst;
    if (dst === null || !ns.fib.valid(dst)) {
      dst = ns.fib.dst(remote.address);
      remote.dst = dst;
    }
    if (dst.type === "none") {
      drop(ns, skb, DropReason.IP_OUTNOROUTES, skb.trace && `no route to VTEP ${formatIp(remote.address)}`);
      return;
    }
    if (dst.dev === dev) {
      drop(
        ns,
        skb,
        DropReason.NOT_SPECIFIED,
        skb.trace && `the route to VTEP ${formatIp(remote.address)} leads into ${dev.name}`,
      );
      return;
    }
    const port = flowPort(flowHash(skb, this.#key), ns.sysctls.localPortMin, ns.sysctls.localPortMax);
    const local = this.#local;
    const overhead = overheadOf(local);
    const at = inner - overhead;
    const th = at + headerLenOf(local);
    vxlan.write(b, th + udp.HEADER_LEN, this.config.vni);
    const len = skb.end - th;
    udp.write(b, th, port, this.config.port, len);
    const { sysctls } = ns;
    const ttl = this.config.ttl || (this.six ? sysctls.hopLimit6 : sysctls.defaultTtl);
    const to = (remote.address | 0) as IpKey;
    const id = this.six ? 0 : ns.takeIpId();
    writeHeader(b, at, skb.end - at, ipv4.PROTO_UDP, ttl, local, to, outerEcn(skb, inner), id, false);
    skb.innerChecked = skb.csum !== CHECKSUM_NONE;
    if (this.six || this.config.udpCsum) outerChecksum(skb, th, pseudo(local, to, ipv4.PROTO_UDP, len));
    skb.data = at;
    skb.network = at;
    skb.transport = th;
    skb.pktType = PACKET_HOST;
    skb.protocol = this.six ? ethernet.ETH_P_IPV6 : ethernet.ETH_P_IP;
    skb.dev = null;
    skb.ct = null;
    skb.ctInfo = 0;
    skb.physIn = null;
    skb.physOut = null;
    skb.sabotage = false;
    skb.mayCut = false;
    skb.dst = dst;
    if (skb.trace !== null) {
      const text = `VXLAN vni ${this.config.vni}, +${overhead + ethernet.HEADER_LEN} octets, inner MTU ${dev.mtu}`;
      skb.trace.report(ns, skb, { step: "encap", dev: dev.name, text });
    }
    if (this.six) localOut6(ns, skb);
    else localOut(ns, skb);
  }

  describe(): string {
    return `vxlan vni ${this.config.vni}`;
  }

  /** The interface is back after all: a removal was undone. */
  restored(dev: NetDev): void {
    VxlanPort.join(dev.ns, this);
  }

  removed(dev: NetDev): void {
    dev.ns.vxlanPorts.get(this.config.port)?.leave(this);
  }

  /** Takes a decapsulated frame, its Ethernet header at `skb.data`. */
  arrive(skb: Skb, from: IpKey): void {
    const dev = this.dev as NetDev;
    if (this.config.learning) this.#learn(skb, from);
    dev.ns.world.loop.post(dev, skb);
  }

  #learn(skb: Skb, from: IpKey): void {
    const macHi = u16(skb.buf, skb.data + 6);
    const macLo = i32(skb.buf, skb.data + 8);
    const known = this.fdb.get(macHi, macLo);
    const now = (this.dev as NetDev).ns.world.loop.time;
    const address = (from >>> 0) as IpKey;
    if (known === null || (!known.permanent && known.target.address !== address)) {
      this.setRemote(macHi, macLo, address, false, now);
    } else {
      known.updated = now;
    }
  }
}

/**
 * The outer checksum while the inner one is still partial needs no look at the payload (lco_csum): from where the inner sum
 * starts, all octets will add up to the complement of the pseudo-header that stands in the inner field.
 */
function outerChecksum(skb: Skb, th: number, pseudo: number): void {
  const b = skb.buf;
  if (skb.csum !== CHECKSUM_PARTIAL) {
    udp.setChecksum(b, th, fold(pseudo));
    skb.csum = CHECKSUM_PARTIAL;
    skb.csumStart = th;
    skb.csumOffset = udp.CHECKSUM;
    return;
  }
  const settled = ~u16(b, skb.csumStart + skb.csumOffset) & 0xffff;
  const value = finish(sum(b, th, skb.csumStart - th, pseudo + settled));
  udp.setChecksum(b, th, value === 0 ? 0xffff : value);
}

/** The ECN bits for the outer header: the inner ones, but "congested" goes out as "capable". */
function outerEcn(skb: Skb, inner: number): number {
  const tos = innerTos(skb, inner);
  const ecn = tos & ECN_MASK;
  return tos < 0 ? 0 : ecn === ECN_CE ? ECN_ECT0 : ecn;
}

/** TOS or traffic class of the packet in a frame; -1 where it is none of IP. */
function innerTos(skb: Skb, inner: number): number {
  const at = inner + ethernet.HEADER_LEN;
  const left = skb.end - at;
  switch (ethernet.etherType(skb.buf, inner)) {
    case ethernet.ETH_P_IP:
      return left < ipv4.HEADER_LEN ? -1 : ipv4.tos(skb.buf, at);
    case ethernet.ETH_P_IPV6:
      return left < ipv6.HEADER_LEN ? -1 : ipv6.trafficClass(skb.buf, at);
    default:
      return -1;
  }
}

/** Passes an outer mark on to the inner packet; false where that does not do ECN and there is congestion: it is dropped. */
function copyMark(skb: Skb, inner: number, outer: number): boolean {
  const tos = innerTos(skb, inner);
  if (tos < 0) return true;
  if ((tos & ECN_MASK) === 0) return outer !== ECN_CE;
  if (outer === ECN_ECT1 && (tos & ECN_MASK) !== ECN_ECT0) return true;
  const at = inner + ethernet.HEADER_LEN;
  const marked = (tos & ~ECN_MASK) | outer;
  if (ethernet.etherType(skb.buf, inner) === ethernet.ETH_P_IPV6) {
    ipv6.setTrafficClass(skb.buf, at, marked);
    return true;
  }
  ipv4.setTos(skb.buf, at, marked);
  ipv4.fillChecksum(skb.buf, at);
  return true;
}

/** vxlan_rcv: a datagram for a port that devices share. */
function receive(ns: NetNs, skb: Skb): void {
  const b = skb.buf;
  const at = skb.transport + udp.HEADER_LEN;
  const bad = vxlan.check(b, at, skb.end);
  if (bad !== 0) {
    drop(ns, skb, bad);
    return;
  }
  const vni = vxlan.vni(b, at);
  const six = skb.protocol === ethernet.ETH_P_IPV6;
  const device = ns.vxlanPorts.get(udp.dstPort(b, skb.transport))?.devices(six).get(vni);
  if (device === undefined) {
    drop(ns, skb, DropReason.VXLAN_VNI_NOT_FOUND, skb.trace && `no device for VNI ${vni}`);
    return;
  }
  const dev = device.dev as NetDev;
  const inner = at + vxlan.HEADER_LEN;
  if (skb.end - inner < ethernet.HEADER_LEN) {
    drop(ns, skb, DropReason.HDR_TRUNC);
    return;
  }
  if (u16(b, inner + 6) === dev.macHi && i32(b, inner + 8) === dev.macLo) {
    drop(ns, skb, DropReason.LOCAL_MAC);
    return;
  }
  const from = six ? srcAt(b, skb.network) : (ipv4.srcKey(b, skb.network) as IpKey);
  if (skb.trace !== null) {
    skb.trace.report(ns, skb, { step: "decap", dev: dev.name, text: `VXLAN vni ${vni} from ${formatIp(from)}` });
  }
  // The outer sum says that nothing happened to the inner octets on the way, not that they were right before.
  if (skb.csum !== CHECKSUM_PARTIAL || skb.csumStart < inner) {
    skb.csum = skb.innerChecked ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
  }
  skb.innerChecked = false;
  const ecn = (six ? ipv6.trafficClass(b, skb.network) : ipv4.tos(b, skb.network)) & ECN_MASK;
  if ((ecn & ECN_ECT1) !== 0 && !copyMark(skb, inner, ecn)) {
    drop(ns, skb, DropReason.NOT_SPECIFIED, "congestion on the underlay, and the inner packet does not do ECN");
    return;
  }
  skb.data = inner;
  skb.mac = inner;
  skb.ct = null;
  skb.ctInfo = 0;
  skb.dst = null;
  skb.fragMaxSize = 0;
  skb.hash = 0;
  device.arrive(skb, from);
}
