/**
 * Choosing frames by a small part of pcap-filter(7): tcp, udp, icmp, icmp6, ip, ip6, arp, `host ADDRESS`, `port NUMBER`,
 * joined by `and`, `or`, `not` (and binds tighter; no parentheses). A tunnelled packet counts with what it carries.
 */
import * as arp from "../../dataplane/wire/arp.ts";
import * as ethernet from "../../dataplane/wire/ethernet.ts";
import { isKey6, parseIp } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { InputError } from "../manifests/input-error.ts";
import { type Tuple, tupleOf } from "./tracer.ts";

export type FrameFilter = (frame: Uint8Array) => boolean;
type Test = (tuples: readonly Tuple[], etherType: number) => boolean;

const PROTOCOLS: Readonly<Record<string, number>> = {
  tcp: ipv4.PROTO_TCP,
  udp: ipv4.PROTO_UDP,
  icmp: ipv4.PROTO_ICMP,
  icmp6: ipv4.PROTO_ICMPV6,
};

/** Throws InputError for an expression that is none. */
export function parseFilter(text: string): FrameFilter {
  const words = text
    .trim()
    .split(/\s+/)
    .filter((w) => w !== "");
  const alternatives = split(words, "or").map((part) => split(part, "and").map((term) => parseTerm(term, text)));
  return (frame) => {
    const etherType = frame.length < ethernet.HEADER_LEN ? 0 : ethernet.etherType(frame, 0);
    const tuples = tuplesOf(frame, etherType);
    return alternatives.some((terms) => terms.every((test) => test(tuples, etherType)));
  };
}

function parseTerm(words: readonly string[], text: string): Test {
  const [first, second, ...rest] = words;
  const bad = (): InputError =>
    new InputError({
      file: "command line",
      line: 0,
      field: "--filter",
      found: JSON.stringify(text),
      expected: "tcp, udp, icmp, icmp6, ip, ip6, arp, host ADDRESS or port NUMBER, joined by and, or, not",
    });
  if (first === "not") {
    const inner = parseTerm(words.slice(1), text);
    return (tuples, etherType) => !inner(tuples, etherType);
  }
  if (rest.length > 0) {
    // "udp port 53" is "udp and port 53".
    const [head, tail] = [parseTerm([first ?? ""], text), parseTerm(words.slice(1), text)];
    return (tuples, etherType) => head(tuples, etherType) && tail(tuples, etherType);
  }
  if (first === "host") {
    const address = parseIp(second ?? "");
    if (address === undefined) throw bad();
    return (tuples) => tuples.some((t) => t.src === address || t.dst === address);
  }
  if (first === "port") {
    const port = Number(second);
    if (!/^[0-9]+$/.test(second ?? "") || port > 65535) throw bad();
    return (tuples) => tuples.some((t) => t.srcPort === port || t.dstPort === port);
  }
  if (second !== undefined) throw bad();
  if (first === "arp") return (_tuples, etherType) => etherType === ethernet.ETH_P_ARP;
  if (first === "ip" || first === "ip6")
    return (tuples) => tuples.some((t) => t.protocol >= 0 && isKey6(t.dst) === (first === "ip6"));
  const protocol = PROTOCOLS[first ?? ""];
  if (protocol === undefined) throw bad();
  return (tuples) => tuples.some((t) => t.protocol === protocol);
}

function split(words: readonly string[], by: string): string[][] {
  const parts: string[][] = [[]];
  for (const word of words) {
    if (word === by) parts.push([]);
    else parts.at(-1)?.push(word);
  }
  return parts;
}

function isIp(etherType: number): boolean {
  return etherType === ethernet.ETH_P_IP || etherType === ethernet.ETH_P_IPV6;
}

/** The packet and those inside it; an ARP packet counts with its two addresses. */
function tuplesOf(frame: Uint8Array, etherType: number): Tuple[] {
  const at = ethernet.HEADER_LEN;
  if (etherType === ethernet.ETH_P_ARP && frame.length >= at + arp.LEN) {
    const ends = { src: arp.spa(frame, at), dst: arp.tpa(frame, at) };
    return [{ protocol: -1, ...ends, srcPort: -1, dstPort: -1, inner: null }];
  }
  const tuples: Tuple[] = [];
  let tuple: Tuple | null = isIp(etherType) ? tupleOf(frame, at, frame.length) : null;
  while (tuple !== null) {
    tuples.push(tuple);
    tuple = tuple.inner;
  }
  return tuples;
}
