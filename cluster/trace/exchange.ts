/** One whole exchange, recorded: an HTTP request, a datagram and its answer, or an echo. */
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import { formatIp, isKey6 } from "../../dataplane/wire/ip-key.ts";
import { formatFrame } from "../../dataplane/wire/print.ts";
import type { Family } from "../api/ip.ts";
import { fetchHttp } from "../apps/http-client.ts";
import { InputError } from "../manifests/input-error.ts";
import { type FrameFilter, parseFilter } from "./frame-filter.ts";
import { type Protocol, probe } from "./probe.ts";
import { pcapngOf, type RecordedFrame, Recorder } from "./recorder.ts";
import type { Asked, Place, Tracing } from "./tracing.ts";

export type ExchangeOptions = {
  readonly namespace?: string;
  readonly protocol?: Protocol;
  /** Which address of an end that has one of each; the primary one unless given. */
  readonly family?: Family;
  /** "NODE/DEVICE" or "pod/NAME/DEVICE"; everywhere if empty. */
  readonly at?: readonly string[];
  readonly filter?: string;
};

export type Exchange = {
  /** The exchange came to its end: answered. */
  readonly completed: boolean;
  readonly frames: readonly RecordedFrame[];
  pcapng(): Uint8Array;
  /** A line a frame: time, place, direction, packet. */
  text(): string;
};

export function exchange(tracing: Tracing, from: string, to: string, options: ExchangeOptions): Exchange {
  const namespace = options.namespace ?? "default";
  const place = tracing.place(from, namespace);
  const filter: FrameFilter = options.filter === undefined ? () => true : parseFilter(options.filter);
  const wanted = devicesAt(tracing, options.at ?? [], namespace);
  const recorder = new Recorder().attach(tracing.namespaces(), wanted);
  try {
    const completed = run(tracing, place, to, { ...options, namespace });
    const frames = recorder.frames.filter((f) => filter(f.bytes));
    const placeOf = (f: RecordedFrame): string => tracing.naming.placeOf(f.ns);
    return {
      completed,
      frames,
      pcapng: () => pcapngOf(frames, (ns) => tracing.naming.placeOf(ns)),
      text: () => frames.map((f) => formatLine(f, placeOf(f))).join(""),
    };
  } finally {
    recorder.detach();
  }
}

function run(tracing: Tracing, place: Place, to: string, asked: Asked): boolean {
  const target = tracing.destination(to, place, asked);
  if ("code" in target) return false;
  const stop = tracing.listenOutside(target);
  try {
    if (target.protocol !== "tcp") return probe(place.ns, target.protocol, target.address, target.port).answered;
    // Whatever answers over TCP is asked as HTTP; a server that speaks something else has been reached all the same.
    const text = formatIp(target.address);
    const host = isKey6(target.address) ? `[${text}]` : text;
    const got = fetchHttp(place.ns, target.address, target.port, host);
    return got.ok || got.connected;
  } finally {
    stop();
  }
}

function devicesAt(tracing: Tracing, at: readonly string[], namespace: string): (dev: NetDev) => boolean {
  if (at.length === 0) return () => true;
  const devs = new Set<NetDev>();
  for (const text of at) {
    const cut = text.lastIndexOf("/");
    const owner = text.slice(0, Math.max(0, cut));
    const name = text.slice(cut + 1);
    const { ns } = tracing.place(owner.includes("/") || owner === "external" ? owner : `node/${owner}`, namespace);
    const dev = ns.dev(name);
    if (dev === undefined) {
      const expected = `one of its devices: ${[...ns.devsByName.keys()].join(", ")}`;
      throw new InputError({ file: "command line", line: 0, field: "--at", found: text, expected });
    }
    devs.add(dev);
  }
  return (dev) => devs.has(dev);
}

function formatLine(f: RecordedFrame, place: string): string {
  const where = place === "host" ? f.ns.node : place.replace(/^pod /, "");
  const arrow = f.direction === "in" ? "In " : "Out";
  return `${f.time.toFixed(3).padStart(9)} ${where} ${f.dev} ${arrow} ${formatFrame(f.bytes, 0, f.bytes.length)}\n`;
}
