/** Records the frames of a trace at every interface, each with what had happened to its packet by then, as pcapng. */
import { frameBytes } from "../../dataplane/dev/capture.ts";
import type { NetDev } from "../../dataplane/dev/netdev.ts";
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { Skb } from "../../dataplane/skb/skb.ts";
import type { Tap } from "../../dataplane/skb/trace.ts";
import { LINKTYPE_ETHERNET } from "../../dataplane/wire/capture-file.ts";
import { PcapngWriter } from "../../dataplane/wire/pcapng.ts";
import type { ToldHop } from "./hops.ts";
import type { Hop } from "./result.ts";
import { Track } from "./tracer.ts";

export type RecordedFrame = {
  readonly time: number;
  readonly ns: NetNs;
  readonly dev: string;
  readonly direction: "in" | "out";
  readonly bytes: Uint8Array;
  /** The traced packet that the frame carries, and how many of its events were past; null for others. */
  readonly track: Track | null;
  readonly events: number;
};

export class Recorder implements Tap {
  readonly frames: RecordedFrame[] = [];
  readonly #devs: NetDev[] = [];

  attach(namespaces: Iterable<NetNs>, wanted: (dev: NetDev) => boolean = () => true): this {
    for (const ns of namespaces) {
      for (const dev of ns.devs.values()) {
        if (!wanted(dev)) continue;
        dev.taps = [...(dev.taps ?? []), this];
        this.#devs.push(dev);
      }
    }
    return this;
  }

  detach(): void {
    for (const dev of this.#devs.splice(0)) {
      const rest = (dev.taps ?? []).filter((t) => t !== this);
      dev.taps = rest.length === 0 ? null : rest;
    }
  }

  frame(dev: NetDev, skb: Skb, start: number, direction: "in" | "out"): void {
    const track = skb.trace instanceof Track ? skb.trace : null;
    const events = track?.events.length ?? 0;
    const time = dev.ns.world.loop.time;
    this.frames.push({ time, ns: dev.ns, dev: dev.name, direction, bytes: frameBytes(skb, start), track, events });
  }
}

/** What each traced packet's hops were made of, to find the hops behind a frame. */
export type Commented = { readonly track: Track; readonly hops: readonly ToldHop[] };

/** One interface for each that saw a frame, named "node/namespace/device". */
export function pcapngOf(
  frames: readonly RecordedFrame[],
  placeOf: (ns: NetNs) => string,
  told: readonly Commented[] = [],
): Uint8Array {
  const writer = new PcapngWriter();
  const ids = new Map<string, number>();
  const said = new Map<Track, number>();
  for (const f of frames) {
    const place = placeOf(f.ns);
    const name = place === "host" ? `${f.ns.node}/${f.dev}` : `${f.ns.node}/${place.replace(/^pod /, "")}/${f.dev}`;
    let id = ids.get(name);
    if (id === undefined) {
      id = writer.addInterface(name, `${f.dev} of ${place} on ${f.ns.node}`, LINKTYPE_ETHERNET);
      ids.set(name, id);
    }
    const comment = commentOf(f, told, said);
    writer.packet(id, f.time, f.bytes, 0, f.bytes.length, comment, f.direction);
  }
  return writer.bytes();
}

/** The hops since the packet's last frame. */
function commentOf(f: RecordedFrame, told: readonly Commented[], said: Map<Track, number>): string | undefined {
  if (f.track === null) return undefined;
  const hops = told.find((t) => t.track === f.track)?.hops ?? [];
  const from = said.get(f.track) ?? 0;
  said.set(f.track, f.events);
  const lines = hops.filter((h) => h.event >= from && h.event < f.events).map(formatHop);
  return lines.length === 0 ? undefined : lines.join("\n");
}

function formatHop(hop: Hop): string {
  const rule = hop.rule;
  const what =
    rule === undefined
      ? `${hop.device} ${hop.action}`.trim()
      : `${rule.table} ${rule.chain} ${rule.number} ${rule.text}`;
  return `${hop.n} ${hop.node} ${hop.netns} ${hop.step}: ${what}`;
}
