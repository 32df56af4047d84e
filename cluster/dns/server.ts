/**
 * DNS messages (RFC 1035, RFC 2308 for negative answers, RFC 6891 for EDNS): a question's octets to an answer's.
 *
 * Names outside the cluster: there is no Internet here. A `upstream` function may answer for it; without one the answer
 * is REFUSED, which is what CoreDNS says of a zone that it neither serves nor forwards (and not NXDOMAIN, which would
 * claim to know). Answers over UDP that the client cannot take are cut, with TC set.
 */
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  type Packet,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import type { DnsRecord, KubernetesZone, Lookup } from "./zone.ts";

export type DnsOptions = {
  /** Seconds; 30, as kubeadm's Corefile says. */
  readonly ttl?: number;
  /** Answers for names outside the cluster: addresses, or null if there is no such name. */
  readonly upstream?: (name: string, type: string) => readonly string[] | null;
};

/** Rcodes (RFC 1035, 4.1.1). */
const NOERROR = 0;
const FORMERR = 1;
const NXDOMAIN = 3;
const NOTIMP = 4;
const REFUSED = 5;

const SOA_SERIAL = 1;
const UDP_LIMIT = 512;
const EDNS_SIZE = 1232;

export class DnsServer {
  readonly #zone: KubernetesZone;
  readonly #options: DnsOptions;

  constructor(zone: KubernetesZone, options: DnsOptions = {}) {
    this.#zone = zone;
    this.#options = options;
  }

  /** The answer to a query; null for what is no query, to be dropped. */
  answer(query: Uint8Array, transport: "udp" | "tcp" = "udp"): Uint8Array | null {
    if (query.length < 12 || ((query[2] ?? 0) & 0x80) !== 0) return null;
    const id = ((query[0] ?? 0) << 8) | (query[1] ?? 0);
    const desired = ((query[2] ?? 0) & 1) !== 0 ? RECURSION_DESIRED : 0;
    if ((((query[2] ?? 0) >> 3) & 15) !== 0) return this.#encode({ id, type: "response", flags: desired | NOTIMP });
    let packet: Packet;
    try {
      packet = decode(Buffer.from(query.buffer, query.byteOffset, query.byteLength));
    } catch {
      return this.#encode({ id, type: "response", flags: desired | FORMERR });
    }
    const question = packet.questions?.[0];
    if (question === undefined || packet.questions?.length !== 1)
      return this.#encode({ id, type: "response", flags: desired | FORMERR });
    const opt = packet.additionals?.find((a) => a.type === "OPT");
    const { rcode, authoritative, answers, authorities, additionals } = this.#resolve(question.name, question.type);
    const edns: Answer[] = opt === undefined ? [] : [ednsRecord()];
    const head = { id, type: "response" as const, questions: [question] };
    const flags = desired | rcode | (authoritative ? AUTHORITATIVE_ANSWER : 0);
    const limit =
      transport === "tcp"
        ? 65535
        : Math.max(
            UDP_LIMIT,
            Math.min((opt as { udpPayloadSize?: number } | undefined)?.udpPayloadSize ?? 0, EDNS_SIZE),
          );
    const whole = this.#encode({ ...head, flags, answers, authorities, additionals: [...additionals, ...edns] });
    if (whole.length <= limit) return whole;
    const bare = this.#encode({ ...head, flags, answers, authorities, additionals: edns });
    if (bare.length <= limit) return bare;
    return this.#encode({ ...head, flags: flags | TRUNCATED_RESPONSE, additionals: edns });
  }

  #encode(packet: Packet): Uint8Array {
    const buffer = encode(packet);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  #resolve(name: string, type: string): Resolution {
    const { zone } = this.#zone;
    if (type === "SOA" && name.toLowerCase() === zone) return { ...EMPTY, authoritative: true, answers: [this.#soa()] };
    const found: Lookup = this.#zone.lookup(name, type);
    switch (found.kind) {
      case "answer":
        return {
          ...EMPTY,
          authoritative: true,
          answers: found.records.map((r) => this.#record(r)),
          additionals: found.extra.map((r) => this.#record(r)),
        };
      case "nodata":
        return { ...EMPTY, authoritative: true, authorities: [this.#soa()] };
      case "nxdomain":
        return { ...EMPTY, rcode: NXDOMAIN, authoritative: true, authorities: [this.#soa()] };
      case "outside":
        return this.#outside(name, type);
    }
  }

  #outside(name: string, type: string): Resolution {
    const { upstream } = this.#options;
    if (upstream === undefined) return { ...EMPTY, rcode: REFUSED };
    const ips = upstream(name, type);
    if (ips === null) return { ...EMPTY, rcode: NXDOMAIN };
    const wanted = ips.filter((ip) => (type === "AAAA") === ip.includes(":") && (type === "A" || type === "AAAA"));
    return { ...EMPTY, answers: wanted.map((data) => this.#record({ type: type as "A" | "AAAA", name, data })) };
  }

  get #ttl(): number {
    return this.#options.ttl ?? 30;
  }

  #record(record: DnsRecord): Answer {
    return { ...record, ttl: this.#ttl, class: "IN" } as Answer;
  }

  #soa(): Answer {
    const { zone } = this.#zone;
    return {
      type: "SOA",
      name: zone,
      ttl: this.#ttl,
      class: "IN",
      data: {
        mname: `ns.dns.${zone}`,
        rname: `hostmaster.${zone}`,
        serial: SOA_SERIAL,
        refresh: 7200,
        retry: 1800,
        expire: 86400,
        minimum: this.#ttl,
      },
    };
  }
}

type Resolution = {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly answers: Answer[];
  readonly authorities: Answer[];
  readonly additionals: Answer[];
};
const EMPTY: Resolution = { rcode: NOERROR, authoritative: false, answers: [], authorities: [], additionals: [] };

function ednsRecord(): Answer {
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize: EDNS_SIZE,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  } as Answer;
}
