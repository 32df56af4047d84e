/**
 * Names of the chains that belong to one Service port or endpoint: a prefix and the first 16 characters of the base32
 * (RFC 4648) of a SHA-256, so that every node gives the same port the same name and none is over 28 characters.
 */
import { createHash } from "node:crypto";
import type { Protocol } from "../api/pod.ts";

export type ServicePortName = { readonly namespace: string; readonly name: string; readonly port: string };

/** `namespace/name:port`, without the colon where the port has no name. */
export function formatServicePortName(n: ServicePortName): string {
  return n.port === "" ? `${n.namespace}/${n.name}` : `${n.namespace}/${n.name}:${n.port}`;
}

export type ServiceChains = {
  /** All endpoints (traffic policy Cluster). */
  readonly svc: string;
  /** Endpoints of this node (traffic policy Local). */
  readonly svl: string;
  /** Entry from outside: NodePort, external IP, load balancer IP. */
  readonly ext: string;
  /** Source ranges of a load balancer. */
  readonly fw: string;
};

export function serviceChains(portName: string, protocol: Protocol): ServiceChains {
  const hash = shortHash(portName + protocol.toLowerCase());
  return { svc: `KUBE-SVC-${hash}`, svl: `KUBE-SVL-${hash}`, ext: `KUBE-EXT-${hash}`, fw: `KUBE-FW-${hash}` };
}

/** `endpoint` is ip:port, IPv6 in brackets. */
export function endpointChain(portName: string, protocol: Protocol, endpoint: string): string {
  return `KUBE-SEP-${shortHash(portName + protocol.toLowerCase() + endpoint)}`;
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** The first characters of the base32 of a text's SHA-256; sixteen of them are its first ten octets. */
export function shortHash(text: string, length: number = 16): string {
  const hash = createHash("sha256").update(text).digest();
  let out = "";
  for (let i = 0; i < length; i++) {
    const bit = i * 5;
    const pair = ((hash[bit >> 3] ?? 0) << 8) | (hash[(bit >> 3) + 1] ?? 0);
    out += ALPHABET[(pair >> (11 - (bit & 7))) & 31];
  }
  return out;
}
