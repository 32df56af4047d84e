/** Sends one real packet from a namespace and watches it: a TCP connection attempt, a datagram, or an echo request. */
import { encode } from "dns-packet";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { PingSocket } from "../../dataplane/sock/ping.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { SctpAssociation } from "../../dataplane/sock/sctp.ts";
import { TcpSocket } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import * as icmpv6 from "../../dataplane/wire/icmpv6.ts";
import { type IpKey, isKey6 } from "../../dataplane/wire/ip-key.ts";
import * as ipv4 from "../../dataplane/wire/ipv4.ts";
import { utf8 } from "../apps/http-client.ts";
import { Recorder } from "./recorder.ts";
import { type Relays, Tracer, type Track } from "./tracer.ts";

export type Protocol = "tcp" | "udp" | "icmp" | "sctp";

export type ProbeOptions = {
  /** Octets of payload (udp and icmp). */
  readonly size?: number;
  readonly ttl?: number;
  readonly dontFragment?: boolean;
  /** Record at these namespaces. */
  readonly record?: Iterable<NetNs>;
  readonly relays?: Relays;
};

export type Observed = {
  readonly forward: Track | null;
  readonly reply: Track | null;
  /** The exchange began and came to its end: connected, answered. */
  readonly answered: boolean;
  /** Errno name where the socket could not even send, or was told no. */
  readonly error: string | null;
  readonly recorder: Recorder | null;
  /** A relay took it, and had nowhere to send it on to. */
  readonly heldByRelay?: boolean;
};

/** Milliseconds of virtual time: enough for three unanswered ARP requests. */
const PATIENCE = 4_000;
/** How long a datagram waits for an answer that may never be meant. */
const UDP_PATIENCE = 1_000;

const NUMBERS: Readonly<Record<Protocol, number>> = {
  tcp: ipv4.PROTO_TCP,
  udp: ipv4.PROTO_UDP,
  icmp: ipv4.PROTO_ICMP,
  sctp: ipv4.PROTO_SCTP,
};

export function probe(ns: NetNs, protocol: Protocol, to: IpKey, port: number, options: ProbeOptions = {}): Observed {
  const world = ns.world;
  const number = protocol === "icmp" && isKey6(to) ? ipv4.PROTO_ICMPV6 : NUMBERS[protocol];
  const asked = { ns, protocol: number, address: to, port: protocol === "icmp" ? 0 : port };
  const tracer = new Tracer(asked, options.relays ?? (() => false));
  const recorder = options.record === undefined ? null : new Recorder().attach(options.record);
  world.observer = tracer;
  try {
    const outcome = send(ns, protocol, to, port, options);
    const { forward, reply, heldByRelay } = tracer;
    return { forward, reply, ...outcome, recorder, heldByRelay };
  } finally {
    world.observer = null;
    recorder?.detach();
  }
}

type Outcome = { readonly answered: boolean; readonly error: string | null };

function send(ns: NetNs, protocol: Protocol, to: IpKey, port: number, options: ProbeOptions): Outcome {
  switch (protocol) {
    case "tcp":
      return connect(ns, to, port);
    case "udp":
      return datagram(ns, to, port, options);
    case "icmp":
      return echo(ns, to, options);
    case "sctp":
      return associate(ns, to, port);
  }
}

function connect(ns: NetNs, to: IpKey, port: number): Outcome {
  let connected = false;
  let error: string | null = null;
  const socket = TcpSocket.connect(ns, to, port, {
    connected: () => {
      connected = true;
    },
    data: () => {},
    failed: (_s, why) => {
      error = why;
    },
  });
  if (typeof socket === "string") return { answered: false, error: socket };
  const { loop } = ns.world;
  loop.run({ done: () => connected || error !== null, deadline: loop.time + PATIENCE });
  if (connected) {
    socket.close();
    loop.run({ done: () => socket.state === "TIME_WAIT" || socket.state === "CLOSED", deadline: loop.time + PATIENCE });
    loop.runNow();
  } else {
    socket.abort();
    settle(ns);
  }
  return { answered: connected, error };
}

function associate(ns: NetNs, to: IpKey, port: number): Outcome {
  let connected = false;
  let error: string | null = null;
  const association = SctpAssociation.connect(ns, to, port, {
    connected: () => {
      connected = true;
    },
    failed: (_a, why) => {
      error = why;
    },
    softError: (_a, why) => {
      error = why;
    },
  });
  if (typeof association === "string") return { answered: false, error: association };
  const { loop } = ns.world;
  loop.run({ done: () => connected || error !== null, deadline: loop.time + PATIENCE });
  if (connected) {
    association.close();
    loop.run({ done: () => association.state === "CLOSED", deadline: loop.time + PATIENCE });
    loop.runNow();
  } else {
    association.abort();
    settle(ns);
  }
  return { answered: connected, error };
}

function datagram(ns: NetNs, to: IpKey, port: number, options: ProbeOptions): Outcome {
  let answered = false;
  let error: string | null = null;
  const socket = UdpSocket.bind(ns, ANY, 0, {
    datagram: () => {
      answered = true;
    },
    error: (_s, _type, code) => {
      error = code === 3 ? "ECONNREFUSED" : "EHOSTUNREACH";
    },
  });
  if (socket === null) return { answered: false, error: "EADDRINUSE" };
  const data = payload(port, options.size);
  const sent = socket.send(to, port, data, 0, data.length);
  const { loop } = ns.world;
  if (sent) loop.run({ done: () => answered || error !== null, deadline: loop.time + UDP_PATIENCE });
  settle(ns);
  socket.close();
  return { answered, error: sent ? error : "ENETUNREACH" };
}

function echo(ns: NetNs, to: IpKey, options: ProbeOptions): Outcome {
  let answered = false;
  let error: string | null = null;
  const socket = new PingSocket(ns, to, {
    reply: () => {
      answered = true;
    },
    error: (type, code) => {
      const tooBig = isKey6(to) ? type === icmpv6.PKT_TOOBIG : type === 3 && code === 4;
      error = tooBig ? "EMSGSIZE" : "EHOSTUNREACH";
    },
  });
  const { ttl, dontFragment } = options;
  const data = new Uint8Array(options.size ?? 56).map((_, i) => i);
  const sent = socket.send(to, 1, data, {
    ...(ttl === undefined ? {} : { ttl }),
    ...(dontFragment === undefined ? {} : { dontFragment }),
  });
  const { loop } = ns.world;
  if (sent) loop.run({ done: () => answered || error !== null, deadline: loop.time + PATIENCE });
  settle(ns);
  socket.close();
  return { answered, error: sent ? error : "ENETUNREACH" };
}

/** What is still queued for this instant. */
function settle(ns: NetNs): void {
  ns.world.loop.runNow();
}

/** A DNS server is asked something that it can answer. */
function payload(port: number, size: number | undefined): Uint8Array {
  if (size !== undefined) return new Uint8Array(size).map((_, i) => 0x61 + (i % 26));
  // What agnhost answers with its name; an echo server sends it back.
  if (port !== 53) return utf8("hostname");
  const name = "kubernetes.default.svc.cluster.local";
  return encode({ type: "query", id: 1, flags: 0x100, questions: [{ type: "A", name }] });
}
