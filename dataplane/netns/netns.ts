/**
 * A network namespace: a record of tables. What happens to packets is in functions that take it; what configures it is
 * `rtnl-apply.ts`.
 */
import type { NetDev } from "../dev/netdev.ts";
import { Fib } from "../fib/fib.ts";
import type { World } from "../host/world.ts";
import { InetPeers } from "../ip/inet-peer.ts";
import { Reassembler } from "../ip/reassembly.ts";
import { Reassembler6 } from "../ip6/reassembly.ts";
import type { Ipvs } from "../ipvs/hooks.ts";
import type { BridgeFilter, Netfilter } from "../netfilter/hooks.ts";
import type { Random } from "../sim/random.ts";
import type { Skb } from "../skb/skb.ts";
import { PortTable } from "../sock/port-table.ts";
import { SctpTable } from "../sock/sctp-table.ts";
import type { TcpListener } from "../sock/tcp.ts";
import { TcpTable } from "../sock/tcp-table.ts";
import type { UdpSocket } from "../sock/udp.ts";
import type { VxlanPort } from "../tunnel/vxlan.ts";
import { Sysctls } from "./sysctl.ts";

/** Takes ownership of the packet. */
export type PacketHandler = (ns: NetNs, skb: Skb) => void;

/** The protocols of the stack, bound when a namespace is made: the lower layers call up through these. */
export type Handlers = {
  readonly ipv4: PacketHandler;
  readonly ipv6: PacketHandler;
  readonly arp: PacketHandler;
  /** By IP protocol number, for packets that are for this host; null answers "protocol unreachable". */
  readonly protocols: readonly (PacketHandler | null)[];
  /** The same for IPv6, by next header. */
  readonly protocols6: readonly (PacketHandler | null)[];
  /** A packet whose neighbour did not answer. */
  readonly linkFailure: PacketHandler;
  /** Answers a REJECT verdict as `skb.rejectWith` says; the packet stays the caller's. */
  readonly reject: PacketHandler;
  /** Sends an ICMP error about a packet, which stays the caller's (icmp_send). `info` is the second word. */
  readonly icmpError: (ns: NetNs, skb: Skb, type: number, code: number, info: number) => void;
  /** The same for an IPv6 packet (icmpv6_send). */
  readonly icmp6Error: (ns: NetNs, skb: Skb, type: number, code: number, info: number) => void;
};

export class NetNs {
  readonly world: World;
  readonly name: string;
  /** The node that the namespace is on. */
  readonly node: string;
  readonly random: Random;
  readonly handlers: Handlers;
  readonly devs: Map<number, NetDev> = new Map();
  readonly devsByName: Map<string, NetDev> = new Map();
  readonly fib: Fib = new Fib();
  readonly sysctls: Sysctls;
  nf: Netfilter | null = null;
  /** Netfilter of IPv6. */
  nf6: Netfilter | null = null;
  ipvs: Ipvs | null = null;
  /** Asked about frames on the namespace's bridges. */
  bridgeFilter: BridgeFilter | null = null;
  readonly udp: PortTable<UdpSocket>;
  readonly tcpListeners: PortTable<TcpListener>;
  readonly tcpSockets: TcpTable = new TcpTable();
  readonly sctp: SctpTable;
  /** VXLAN devices by the UDP port that they share. */
  readonly vxlanPorts: Map<number, VxlanPort> = new Map();
  /** Called for each echo reply, by identifier. */
  readonly pingSockets: Map<number, PingReceiver> = new Map();
  readonly pingSockets6: Map<number, PingReceiver> = new Map();
  readonly reassembler: Reassembler = new Reassembler(this);
  readonly reassembler6: Reassembler6 = new Reassembler6(this);
  /** How often ICMP errors may go to whom. */
  readonly peers: InetPeers = new InetPeers();
  /** An ICMP message is on its way out. */
  icmpSending = false;
  /** The same of ICMPv6. */
  icmp6Sending = false;
  /** Packets dropped, by reason. */
  readonly drops: number[] = [];
  /** Next IPv4 identification; starts at random as the kernel's do. */
  nextIpId: number;
  #nextIfindex = 1;

  constructor(world: World, name: string, node: string, handlers: Handlers) {
    this.world = world;
    this.name = name;
    this.node = node;
    this.handlers = handlers;
    this.random = world.random.fork(`netns ${node}/${name}`);
    this.sysctls = new Sysctls();
    this.nextIpId = this.random.int(0x10000);
    this.udp = new PortTable(this.random);
    this.tcpListeners = new PortTable(this.random);
    this.sctp = new SctpTable(this.random);
  }

  /** Takes the next free ifindex, or `wanted` where it is free. */
  takeIfindex(wanted = 0): number {
    if (wanted !== 0 && !this.devs.has(wanted)) {
      this.#nextIfindex = Math.max(this.#nextIfindex, wanted + 1);
      return wanted;
    }
    while (this.devs.has(this.#nextIfindex)) this.#nextIfindex++;
    return this.#nextIfindex++;
  }

  /** The next IPv4 identification of this namespace. */
  takeIpId(): number {
    const id = this.nextIpId;
    this.nextIpId = (id + 1) & 0xffff;
    return id;
  }

  dev(name: string): NetDev | undefined {
    return this.devsByName.get(name);
  }
}

/** Who waits for echo replies and for errors about echo requests. */
export interface PingReceiver {
  reply(skb: Skb): void;
  error(type: number, code: number, from: number, info: number): void;
}
