/** What matches and targets read and write of the IP header, of either family. */
import * as ipv4 from "../wire/ipv4.ts";
import * as ipv6 from "../wire/ipv6.ts";
import type { NfPacket } from "./packet.ts";

export function isSix(p: NfPacket): boolean {
  return ipv4.version(p.b, p.network) === 6;
}

/** Type of service, or traffic class. */
export function tosOf(p: NfPacket): number {
  return isSix(p) ? ipv6.trafficClass(p.b, p.network) : ipv4.tos(p.b, p.network);
}

export function setTosOf(p: NfPacket, tos: number): void {
  if (isSix(p)) ipv6.setTrafficClass(p.b, p.network, tos);
  else {
    ipv4.setTos(p.b, p.network, tos);
    ipv4.fillChecksum(p.b, p.network);
  }
}

/** Time to live, or hop limit. */
export function ttlOf(p: NfPacket): number {
  return isSix(p) ? ipv6.hopLimit(p.b, p.network) : ipv4.ttl(p.b, p.network);
}

export function setTtlOf(p: NfPacket, ttl: number): void {
  if (isSix(p)) ipv6.setHopLimit(p.b, p.network, ttl);
  else {
    ipv4.setTtl(p.b, p.network, ttl);
    ipv4.fillChecksum(p.b, p.network);
  }
}
