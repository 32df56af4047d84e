/**
 * Names of nftables mode: a kind, eight characters of a hash of the rest, and the rest, which says what it is for. The
 * hash keeps names apart that would be cut at the same place (pkg/proxy/nftables/proxier.go, hashAndTruncate).
 */
import type { EndpointInfo } from "../endpoints-tracker.ts";
import { shortHash } from "../names.ts";
import type { ServicePortInfo } from "../service-tracker.ts";

/** The kernel's NFT_NAME_MAXLEN is 256 with a closing zero; the longest kind has 16 characters. */
const LONGEST = 240;

export type PortNames = {
  /** All endpoints. */
  readonly service: string;
  /** Endpoints of this node. */
  readonly local: string;
  /** Entry from outside. */
  readonly external: string;
  readonly firewall: string;
};

export function portNames(info: ServicePortInfo): PortNames {
  const base = named(pathOf(info));
  return {
    service: `service-${base}`,
    local: `local-${base}`,
    external: `external-${base}`,
    firewall: `firewall-${base}`,
  };
}

export function endpointNames(
  info: ServicePortInfo,
  e: EndpointInfo,
): { readonly chain: string; readonly affinity: string } {
  const base = named(`${pathOf(info)}__${e.ip.replaceAll(":", ".")}/${e.port}`);
  return { chain: `endpoint-${base}`, affinity: `affinity-${base}` };
}

function pathOf({ id, protocol }: ServicePortInfo): string {
  return `${id.namespace}/${id.name}/${protocol.toLowerCase()}/${id.port}`;
}

function named(text: string): string {
  const whole = `${shortHash(text, 8)}-${text}`;
  return whole.length > LONGEST ? `${whole.slice(0, LONGEST - 3)}...` : whole;
}
