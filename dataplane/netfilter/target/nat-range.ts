/** `--to-destination`, `--to-source` and `--to-ports`: addresses and ports to choose from. */

import { compareIp, formatIp, isKey6, parseIp } from "../../wire/ip-key.ts";
import { PROTO_SCTP, PROTO_TCP, PROTO_UDP } from "../../wire/ipv4.ts";
import type { NatRange } from "../nat.ts";
import type { Options } from "../options.ts";

const PORTED = [PROTO_TCP, PROTO_UDP, PROTO_SCTP, 33, 136];

/**
 * "IP", "IP-IP", each with ":PORT" or ":PORT-PORT" behind, or ports alone; for DNAT "/BASE" may follow a port range. Where
 * there are ports, addresses of IPv6 stand in brackets.
 */
export function parseTo(o: Options, name: string, based: boolean): Pick<NatRange, "addrs" | "ports"> {
  const text = o.need(name);
  const at = o.six ? portsOf6(text) : text.indexOf(":");
  const addrText = (at < 0 ? text : text.slice(0, at)).replaceAll(/[[\]]/g, "");
  const ports = at < 0 ? null : parsePorts(o, name, text.slice(at + 1), based);
  if (addrText === "") return { addrs: null, ports };
  const dash = addrText.indexOf("-");
  const min = addressOf(dash < 0 ? addrText : addrText.slice(0, dash), o.six);
  const max = dash < 0 ? min : addressOf(addrText.slice(dash + 1), o.six);
  if (min === undefined || max === undefined || compareIp(min, max) > 0)
    o.fail(`option ${name}: "${text}" is not an address or a range`);
  return { addrs: { min: (min ?? 0) | 0, max: (max ?? 0) | 0 }, ports };
}

/** Where the ports begin: at a colon behind a bracket, or alone. */
function portsOf6(text: string): number {
  return text.startsWith(":") && !text.startsWith("::")
    ? 0
    : text.startsWith("[")
      ? text.indexOf(":", text.lastIndexOf("]"))
      : -1;
}

function addressOf(text: string, six: boolean): number | undefined {
  const a = parseIp(text);
  return a !== undefined && isKey6(a) === six ? a : undefined;
}

/** "PORT" or "FROM-TO". */
export function parsePorts(o: Options, name: string, text: string, based = false): NatRange["ports"] {
  o.needProto(PORTED, "-p tcp, udp, sctp or dccp for ports");
  const slash = text.indexOf("/");
  if (slash >= 0 && !based) o.fail(`option ${name}: "${text}" has a base port`);
  const range = slash < 0 ? text : text.slice(0, slash);
  const dash = range.indexOf("-");
  const min = o.port(name, dash < 0 ? range : range.slice(0, dash));
  const max = dash < 0 ? min : o.port(name, range.slice(dash + 1));
  if (min === 0 || max < min) o.fail(`option ${name}: "${text}" is not a port or a range`);
  return slash < 0 ? { min, max } : { min, max, base: o.port(name, range === text ? "" : text.slice(slash + 1)) };
}

export function printPorts(ports: NatRange["ports"]): string {
  if (ports === null) return "";
  const base = ports.base === undefined ? "" : `/${ports.base}`;
  return `${ports.min === ports.max ? ports.min : `${ports.min}-${ports.max}`}${base}`;
}

export function printTo(r: NatRange): string {
  const a = r.addrs;
  const brackets = a !== null && isKey6(a.min) && r.ports !== null;
  const ends = a === null ? "" : a.min === a.max ? formatIp(a.min) : `${formatIp(a.min)}-${formatIp(a.max)}`;
  const addrs = brackets ? `[${ends}]` : ends;
  return r.ports === null ? addrs : `${addrs}:${printPorts(r.ports)}`;
}

export function printFlags(r: NatRange): string {
  return `${r.random ? " --random" : ""}${r.fully ? " --random-fully" : ""}${r.persistent ? " --persistent" : ""}`;
}
