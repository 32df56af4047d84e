/** What stands behind a Service port in userspace mode: a socket of kube-proxy's own, which passes on what it hears. */
import type { NetNs } from "../../../dataplane/netns/netns.ts";
import { type IpKey, ipKey } from "../../../dataplane/wire/ip-key.ts";
import { RoundRobin } from "./balancer.ts";

export interface Relay {
  /** The port that it listens on, on every address of the node. */
  readonly port: number;
  readonly balancer: RoundRobin;
  close(): void;
}

/** "10.0.0.1:80" or "[fd00::1]:80". */
export function splitEndpoint(text: string): { readonly address: IpKey; readonly port: number } {
  const colon = text.lastIndexOf(":");
  return { address: ipKey(text.slice(0, colon).replace(/^\[(.*)\]$/, "$1")), port: Number(text.slice(colon + 1)) };
}

export function newBalancer(ns: NetNs, name: string): RoundRobin {
  return new RoundRobin(ns.random.fork(`balancer ${name}`));
}
