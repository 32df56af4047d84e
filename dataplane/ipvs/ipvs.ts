/**
 * ipvs of a namespace (ip_vs_core.c, ip_vs_xmit.c): a packet to a virtual service gets a destination from the service's
 * scheduler, and a connection that remembers it; the packets after it follow, and the replies get the service's address.
 *
 * With net.ipv4.vs.conntrack=1 the packet's conntrack entry learns the real server as its reply's source, and is entered
 * only when the packet leaves, so that POSTROUTING may masquerade it. Forwarding: masquerading (-m), direct routing (-g) and
 * tunnels of IP in IP (-i), each within one family. Left out: FTP, synchronisation, one-packet scheduling. In LOCAL_OUT the kernel
 * takes a packet before the filter table sees it; here the filter table sees it both before and after.
 */
import type { Dst } from "../fib/route.ts";
import { outDev } from "../ip/output.ts";
import { sourceForEither } from "../ip6/either.ts";
import { type Conn, IPS_CONFIRMED, IPS_SRC_NAT_DONE } from "../netfilter/conn.ts";
import type { Conntrack } from "../netfilter/conntrack.ts";
import { IP_CT_UNTRACKED } from "../netfilter/conntrack-entry.ts";
import { HOOK_NAMES, NF_DROP, NF_INET_FORWARD, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT } from "../netfilter/hooks.ts";
import { MANIP_DST, MANIP_SRC, mangle } from "../netfilter/nat-mangle.ts";
import { netfilter6Of, netfilterOf } from "../netfilter/restore-op.ts";
import type { NetNs } from "../netns/netns.ts";
import { drop } from "../skb/drop.ts";
import type { Skb } from "../skb/skb.ts";
import type { TracedRule } from "../skb/trace.ts";
import { u8, u16 } from "../wire/bytes.ts";
import { DropReason } from "../wire/drop-reason.ts";
import * as icmpv4 from "../wire/icmpv4.ts";
import * as icmpv6 from "../wire/icmpv6.ts";
import { headerLenOf, writeHeader } from "../wire/ip-header.ts";
import { formatIp, formatIpPort, key6, octets6 } from "../wire/ip-key.ts";
import * as ipv4 from "../wire/ipv4.ts";
import { ipv4Of } from "../wire/ipv4-addr.ts";
import * as ipv6 from "../wire/ipv6.ts";
import { network6 } from "../wire/prefix.ts";
import * as tcp from "../wire/tcp.ts";
import { ConnTable, type IpvsConn, serverPortOf } from "./conn.ts";
import { IPVS_DELIVER, IPVS_NONE, IPVS_TAKEN, type Ipvs, type IpvsFlow } from "./hooks.ts";
import {
  dstOf,
  isSix,
  lessHops,
  pass,
  ported,
  portsAt,
  protoOf,
  quotedAt,
  sendOn,
  srcOf,
  tooBig,
  unreachable,
} from "./packet.ts";
import type { Destination, VirtualService } from "./service.ts";
import { ServiceTable } from "./service-table.ts";
import { FIN_WAIT, IN, IN_ONLY, IpvsTimeouts, nextState, OUT, TIME_WAIT } from "./state.ts";

/** IPv6 in IP (RFC 2473). */
const PROTO_IPV6 = 41;

export class IpvsEngine implements Ipvs {
  readonly ns: NetNs;
  readonly services: ServiceTable = new ServiceTable();
  readonly conns: ConnTable;
  readonly timeouts: IpvsTimeouts = new IpvsTimeouts();
  /** The new connection that a destination is being chosen for. */
  readonly #flow = { src: 0, dst: 0, srcPort: 0, now: 0 };
  #generation = -1;
  #conntrack = false;
  #expireNoDest = false;
  #expireQuiescent = false;
  #reuseMode = 1;

  constructor(ns: NetNs) {
    this.ns = ns;
    this.conns = new ConnTable(ns.world.loop);
  }

  localIn(ns: NetNs, skb: Skb): number {
    if (!ported(skb)) return this.#errorIn(ns, skb);
    const answer = this.#replyOf(skb);
    if (answer !== null) {
      if (!pass(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)) return IPVS_TAKEN;
      this.#answer(ns, skb, answer, NF_INET_LOCAL_IN);
      return IPVS_DELIVER;
    }
    this.#refresh();
    const known = this.#connOf(skb);
    const service = known === null ? this.#serviceOf(skb) : known.service;
    if (service === null) return IPVS_NONE;
    // The packet goes on from here, so its connection is not entered at the end of INPUT.
    const ct = skb.ct as Conn | null;
    const held = ct !== null && !ct.confirmed ? ct : null;
    const status = held?.status ?? 0;
    if (held !== null) held.status |= IPS_CONFIRMED | IPS_SRC_NAT_DONE;
    const passed = pass(ns, NF_INET_LOCAL_IN, skb, skb.dev, null);
    if (held !== null) held.status = status;
    if (!passed) return IPVS_TAKEN;
    return this.#in(ns, skb, known, service, NF_INET_LOCAL_IN);
  }

  forward(ns: NetNs, skb: Skb): boolean {
    if (!ported(skb)) {
      this.#errorOut(skb);
      return true;
    }
    const conn = this.#replyOf(skb);
    if (conn !== null) this.#answer(ns, skb, conn, NF_INET_FORWARD);
    return true;
  }

  localOut(ns: NetNs, skb: Skb): boolean {
    if (!ported(skb)) {
      this.#errorOut(skb);
      return true;
    }
    const answer = this.#replyOf(skb);
    if (answer !== null) {
      this.#answer(ns, skb, answer, NF_INET_LOCAL_OUT);
      return true;
    }
    this.#refresh();
    const known = this.#connOf(skb);
    const service = known === null ? this.#serviceOf(skb) : known.service;
    if (service === null) return true;
    return this.#in(ns, skb, known, service, NF_INET_LOCAL_OUT) === IPVS_DELIVER;
  }

  /** As a packet to a real server looks from the server: only such a one is found (conn_out_get of xt_ipvs.c). */
  flowOf(skb: Skb): IpvsFlow | null {
    if (!skb.ipvs || !ported(skb)) return null;
    const { buf: b, network: at, transport: th } = skb;
    const six = isSix(skb);
    const [client, server] = [srcOf(b, at, six), dstOf(b, at, six)];
    const c = this.conns.fromServer(protoOf(skb), server, u16(b, th + 2), client, u16(b, th));
    if (c === null) return null;
    const { proto, virtual, virtualPort, destination, control } = c;
    return { proto, virtual, virtualPort, method: destination.method, controlPort: control?.virtualPort ?? -1 };
  }

  /** Counts as of now. */
  settle(): void {
    this.conns.expire();
  }

  #refresh(): void {
    const { sysctls } = this.ns;
    if (sysctls.generation === this.#generation) return;
    this.#generation = sysctls.generation;
    this.#conntrack = sysctls.get("net.ipv4.vs.conntrack") === "1";
    this.#expireNoDest = sysctls.get("net.ipv4.vs.expire_nodest_conn") === "1";
    this.#expireQuiescent = sysctls.get("net.ipv4.vs.expire_quiescent_template") === "1";
    this.#reuseMode = Number(sysctls.get("net.ipv4.vs.conn_reuse_mode") ?? 1);
  }

  #connOf(skb: Skb): IpvsConn | null {
    const { buf: b, network: at, transport: th } = skb;
    const six = isSix(skb);
    const [client, virtual] = [srcOf(b, at, six), dstOf(b, at, six)];
    return this.conns.fromClient(protoOf(skb), client, u16(b, th), virtual, u16(b, th + 2), false);
  }

  #replyOf(skb: Skb): IpvsConn | null {
    if (this.conns.count === 0) return null;
    const { buf: b, network: at, transport: th } = skb;
    const six = isSix(skb);
    const [server, client] = [srcOf(b, at, six), dstOf(b, at, six)];
    const c = this.conns.fromServer(protoOf(skb), server, u16(b, th), client, u16(b, th + 2));
    return c?.destination.method === "masq" ? c : null;
  }

  /** The service that a packet without a connection may begin one with: TCP begins with a SYN. */
  #serviceOf(skb: Skb): VirtualService | null {
    const { buf: b, network: at, transport: th } = skb;
    const proto = protoOf(skb);
    const six = isSix(skb);
    const service = this.services.lookup(proto, dstOf(b, at, six), u16(b, th + 2), skb.mark, six);
    if (service === null || proto !== ipv4.PROTO_TCP) return service;
    const flags = skb.end - th < tcp.HEADER_LEN ? 0 : u8(b, th + tcp.FLAGS);
    return (flags & (tcp.SYN | tcp.ACK | tcp.RST)) === tcp.SYN ? service : null;
  }

  /** Answers IPVS_TAKEN for a packet that is gone, IPVS_DELIVER for one that goes on as it is now. */
  #in(ns: NetNs, skb: Skb, known: IpvsConn | null, service: VirtualService, hook: number): number {
    let conn = known;
    if (conn !== null && this.#beginsAnew(skb, conn)) {
      this.conns.remove(conn);
      conn = null;
    }
    if (conn !== null && !conn.destination.available) {
      if (this.#expireNoDest) this.conns.remove(conn);
      if (!this.#expireNoDest || this.#isOld(skb)) {
        drop(ns, skb, DropReason.NETFILTER_DROP, "ipvs: the connection's destination was deleted");
        return IPVS_TAKEN;
      }
      conn = null;
    }
    const fresh = conn === null;
    const probes = this.conns.probes + this.services.probes;
    conn ??= this.#schedule(skb, service);
    if (conn === null) {
      unreachable(ns, skb);
      drop(
        ns,
        skb,
        DropReason.NETFILTER_DROP,
        skb.trace && `ipvs ${service.scheduler.name}: no destination for ${nameOf(service)}`,
      );
      return IPVS_TAKEN;
    }
    this.#step(skb, conn, conn.destination.method === "masq" ? IN : IN_ONLY);
    if (skb.trace !== null) this.#report(ns, skb, conn, hook, fresh, this.conns.probes + this.services.probes - probes);
    return this.#send(ns, skb, conn, hook);
  }

  /** Whether conntrack would go on sending the packet where the connection led (ip_vs_conn_uses_old_conntrack). */
  #isOld(skb: Skb): boolean {
    return this.#conntrack && (skb.ct as Conn | null)?.confirmed === true;
  }

  /** A SYN on a connection that is over, or whose destination is to get no more (ip_vs_in, conn_reuse_mode). */
  #beginsAnew(skb: Skb, conn: IpvsConn): boolean {
    if (conn.proto !== ipv4.PROTO_TCP || this.#reuseMode === 0) return false;
    const flags = u8(skb.buf, skb.transport + tcp.FLAGS);
    if ((flags & (tcp.SYN | tcp.ACK | tcp.RST)) !== tcp.SYN) return false;
    if (this.#expireNoDest && conn.destination.weight === 0) return true;
    return conn.state === TIME_WAIT || ((this.#reuseMode & 2) !== 0 && conn.state === FIN_WAIT);
  }

  #schedule(skb: Skb, service: VirtualService): IpvsConn | null {
    const { buf: b, network: at, transport: th } = skb;
    const now = this.ns.world.loop.time;
    const six = isSix(skb);
    const proto = protoOf(skb);
    const client = srcOf(b, at, six);
    const clientPort = u16(b, th);
    const virtual = dstOf(b, at, six);
    const virtualPort = u16(b, th + 2);
    const flow = this.#flow;
    flow.src = client;
    flow.dst = virtual;
    flow.srcPort = clientPort;
    flow.now = now;
    let control: IpvsConn | null = null;
    let destination: Destination | null;
    if (service.timeout === 0) destination = service.scheduler.choose(service, flow);
    else {
      const network = six ? networkKey(client, service.prefixLen) : client & service.netmask;
      const address = service.fwmark === 0 ? virtual : service.fwmark;
      const port = service.fwmark === 0 ? service.port : 0;
      control = this.conns.fromClient(proto, network, 0, address, port, true);
      if (control !== null && !this.#serves(control)) {
        this.conns.remove(control);
        control = null;
      }
      destination = control?.destination ?? service.scheduler.choose(service, flow);
      if (control === null && destination !== null) {
        control = this.conns.make(service, destination);
        control.proto = proto;
        control.client = network;
        control.clientPort = 0;
        control.virtual = address;
        control.virtualPort = port;
        control.template = true;
        this.conns.extend(control, service.timeout * 1000);
        this.conns.add(control);
      }
      if (control !== null) this.conns.extend(control, service.timeout * 1000);
    }
    if (destination === null) return null;
    const conn = this.conns.make(service, destination);
    conn.proto = proto;
    conn.client = client;
    conn.clientPort = clientPort;
    conn.virtual = virtual;
    conn.virtualPort = virtualPort;
    conn.control = control;
    this.conns.extend(conn, this.timeouts.of(proto, 0));
    this.conns.add(conn);
    return conn;
  }

  /** Whether a template still leads somewhere (ip_vs_check_template). */
  #serves(template: IpvsConn): boolean {
    const d = template.destination;
    return d.available && !(this.#expireQuiescent && d.weight === 0);
  }

  #step(skb: Skb, conn: IpvsConn, way: number): void {
    if (conn.proto === ipv4.PROTO_TCP && skb.end - skb.transport >= tcp.HEADER_LEN) {
      const next = nextState(conn.state, u8(skb.buf, skb.transport + tcp.FLAGS), way);
      if (next !== conn.state) this.conns.become(conn, next);
    }
    this.conns.extend(conn, this.timeouts.of(conn.proto, conn.state));
  }

  #send(ns: NetNs, skb: Skb, conn: IpvsConn, hook: number): number {
    const d = conn.destination;
    const port = serverPortOf(conn);
    this.#learn(skb, conn, port);
    const to = ipv4Of(d.address);
    const dst = ns.fib.dst(to);
    if (d.method === "masq") mangle(skb, skb.network, skb.end, MANIP_DST, d.address, port);
    skb.dst = dst;
    skb.ipvs = true;
    if (dst.type === "local") return this.#keep(ns, skb, hook);
    if (hook === NF_INET_LOCAL_IN) {
      if (!lessHops(ns, skb)) {
        drop(ns, skb, DropReason.IP_INHDR, "time to live exceeded");
        return IPVS_TAKEN;
      }
    }
    if (d.method === "tunnel" && !this.#encapsulate(ns, skb, dst)) return IPVS_TAKEN;
    if (skb.trace !== null) skb.trace.report(ns, skb, { step: "route", text: routeText(skb) });
    if (!pass(ns, NF_INET_LOCAL_OUT, skb, null, outDev(ns, dst))) return IPVS_TAKEN;
    sendOn(ns, skb);
    return IPVS_TAKEN;
  }

  /** An IP header around the packet (ip_vs_tunnel_xmit and its twin of IPv6). Its connection ends here. False: the packet is gone. */
  #encapsulate(ns: NetNs, skb: Skb, dst: Dst): boolean {
    const b = skb.buf;
    const inner = skb.network;
    const len = skb.end - inner;
    const six = isSix(skb);
    const head = headerLenOf(dst.address);
    const df = six ? 0 : ipv4.flagsFrag(b, inner) & ipv4.FLAG_DF;
    const mtu = six ? Math.max(dst.mtu - head, ipv6.MIN_MTU) : dst.mtu - head;
    if ((six || df !== 0) && len > mtu) {
      tooBig(ns, skb, mtu);
      drop(ns, skb, DropReason.PKT_TOO_BIG, skb.trace && `${len} octets do not fit the tunnel's ${mtu}`);
      return false;
    }
    const conntrack = this.#conntrack ? conntrackOf(ns) : null;
    if (conntrack !== null && conntrack.confirm(skb) === NF_DROP) {
      drop(ns, skb, DropReason.NETFILTER_DROP);
      return false;
    }
    const at = inner - head;
    const from = ipv4Of(sourceForEither(dst));
    const to = ipv4Of(dst.address);
    const tos = six ? ipv6.trafficClass(b, inner) : ipv4.tos(b, inner);
    const ttl = six ? ipv6.hopLimit(b, inner) : ipv4.ttl(b, inner);
    const proto = six ? PROTO_IPV6 : ipv4.PROTO_IPIP;
    writeHeader(b, at, len + head, proto, ttl, from, to, tos, six ? 0 : ns.takeIpId(), df !== 0);
    skb.data = at;
    skb.network = at;
    skb.transport = inner;
    skb.ct = null;
    skb.ctInfo = 0;
    if (skb.trace !== null) skb.trace.report(ns, skb, { step: "encap", dev: "", text: `IP in IP, +${head} octets` });
    return true;
  }

  /** The real server is this host: the packet goes on to its socket, and its connection is entered. */
  #keep(ns: NetNs, skb: Skb, hook: number): number {
    const ct = skb.ct as Conn | null;
    if (hook !== NF_INET_LOCAL_IN || ct === null || ct.confirmed) return IPVS_DELIVER;
    ct.status |= IPS_SRC_NAT_DONE;
    if (conntrackOf(ns)?.confirm(skb) !== NF_DROP) return IPVS_DELIVER;
    drop(ns, skb, DropReason.NETFILTER_DROP);
    return IPVS_TAKEN;
  }

  /** ip_vs_update_conntrack, or ip_vs_notrack. */
  #learn(skb: Skb, conn: IpvsConn, port: number): void {
    const ct = skb.ct as Conn | null;
    if (!this.#conntrack) {
      skb.ct = null;
      skb.ctInfo = IP_CT_UNTRACKED;
      return;
    }
    if (ct === null || ct.confirmed || conn.destination.method !== "masq") return;
    ct.reply.src = conn.destination.address;
    ct.reply.ports = (port << 16) | (ct.reply.ports & 0xffff);
  }

  #answer(ns: NetNs, skb: Skb, conn: IpvsConn, hook: number): void {
    this.#refresh();
    this.#step(skb, conn, OUT);
    if (skb.trace !== null) this.#reportReply(ns, skb, conn, hook);
    mangle(skb, skb.network, skb.end, MANIP_SRC, conn.virtual, conn.virtualPort);
    skb.ipvs = true;
  }

  /** An ICMP error to this host about what a real server was sent, for a client on this host. */
  #errorIn(ns: NetNs, skb: Skb): number {
    if (this.#quoted(skb) === null) return IPVS_NONE;
    if (!pass(ns, NF_INET_LOCAL_IN, skb, skb.dev, null)) return IPVS_TAKEN;
    this.#errorOut(skb);
    return IPVS_DELIVER;
  }

  /** The connection that an ICMP error from a real server quotes. */
  #quoted(skb: Skb): IpvsConn | null {
    const { buf: b, end } = skb;
    const inner = quotedAt(skb);
    if (inner < 0) return null;
    const six = isSix(skb);
    const ports = portsAt(b, inner, end, six);
    const proto = six ? ipv6.transportProtocol(b, inner, end) : ipv4.protocol(b, inner);
    const [server, client] = [dstOf(b, inner, six), srcOf(b, inner, six)];
    const c = this.conns.fromServer(proto, server, u16(b, ports + 2), client, u16(b, ports));
    return c?.destination.method === "masq" ? c : null;
  }

  /** ip_vs_nat_icmp: the quoted packet went to the service, and the service says so. */
  #errorOut(skb: Skb): void {
    const c = this.#quoted(skb);
    if (c === null) return;
    const { network, transport, end } = skb;
    mangle(skb, transport + icmpv4.HEADER_LEN, end, MANIP_DST, c.virtual, c.virtualPort);
    if (!isSix(skb)) icmpv4.fillChecksum(skb.buf, transport, end - transport);
    mangle(skb, network, end, MANIP_SRC, c.virtual, 0);
    // The addresses are in the sum of ICMPv6.
    if (isSix(skb)) {
      icmpv6.setChecksum(skb.buf, transport, 0);
      icmpv6.fillChecksum(skb.buf, transport, end - transport, network);
    }
  }

  #report(ns: NetNs, skb: Skb, conn: IpvsConn, hook: number, fresh: boolean, probes: number): void {
    const { service, destination: d } = conn;
    const which = `destination ${service.destinations.indexOf(d) + 1} of ${service.destinations.length}`;
    const to = formatIpPort(d.address, serverPortOf(conn));
    const why = !fresh
      ? "known connection"
      : conn.control !== null && conn.control.controlled > 1
        ? "persistent"
        : "new";
    const from = formatIpPort(conn.virtual, conn.virtualPort);
    // A report takes a rule as effective by its target; this is what the choice amounts to.
    const action = d.method === "masq" ? `-j DNAT --to-destination ${to}` : "-j ACCEPT";
    const text = `ipvs ${service.scheduler.name}: ${which} (${why}) ${action}`;
    const rule = { table: "ipvs", chain: nameOf(service), number: 1, text };
    this.#hookStep(ns, skb, hook, rule, probes, d.method === "masq" ? `${from} → ${to}` : "");
  }

  #reportReply(ns: NetNs, skb: Skb, conn: IpvsConn, hook: number): void {
    const from = formatIpPort(conn.destination.address, serverPortOf(conn));
    const to = formatIpPort(conn.virtual, conn.virtualPort);
    this.#hookStep(ns, skb, hook, null, 1, `${from} → ${to}`);
  }

  #hookStep(ns: NetNs, skb: Skb, hook: number, rule: TracedRule | null, probes: number, nat: string): void {
    const dev = skb.dev?.name ?? "";
    skb.trace?.report(ns, skb, {
      step: "hook",
      hook: HOOK_NAMES[hook] ?? "",
      dev,
      rules: rule === null ? [] : [rule],
      verdict: "ACCEPT",
      examined: probes,
      linear: probes,
      ctState: rule === null ? "ESTABLISHED" : "",
      nat,
    });
  }
}

/** Both families share one. */
function conntrackOf(ns: NetNs): Conntrack | null {
  return (netfilterOf(ns) ?? netfilter6Of(ns))?.conntrack ?? null;
}

/** The client's network that persistence counts as one. */
function networkKey(client: number, len: number): number {
  return key6(network6({ addr: octets6(client), len }));
}

function routeText(skb: Skb): string {
  const dst = skb.dst;
  return dst?.route == null ? "no route" : `${formatIp(dst.address)} dev ${dst.dev?.name ?? "lo"}`;
}

/** As ipvsadm lists it: "TCP 10.96.0.1:443", "FWM 5". */
export function nameOf(s: VirtualService): string {
  if (s.fwmark !== 0) return `FWM ${s.fwmark}${s.six ? " IPv6" : ""}`;
  const proto = s.proto === ipv4.PROTO_TCP ? "TCP" : s.proto === ipv4.PROTO_UDP ? "UDP" : "SCTP";
  return `${proto} ${formatIpPort(s.address, s.port)}`;
}
