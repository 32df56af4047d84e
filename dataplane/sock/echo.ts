/** An echo socket for an address of either family. */
import type { NetNs } from "../netns/netns.ts";
import { type IpKey, isKey6 } from "../wire/ip-key.ts";
import { type PingListener, type PingOptions, PingSocket } from "./ping.ts";
import { Ping6Socket } from "./ping6.ts";

export type EchoSocket = {
  /** Answers false where there is no route. */
  send(to: IpKey, seq: number, data: Uint8Array, options?: PingOptions): boolean;
  close(): void;
};

/** Errors that the listener hears are in the numbers of the family's own ICMP. */
export function openEcho(ns: NetNs, address: IpKey, listener: PingListener): EchoSocket {
  return isKey6(address) ? new Ping6Socket(ns, listener) : new PingSocket(ns, listener);
}
