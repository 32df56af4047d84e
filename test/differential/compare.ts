/** Compares what two labs saw, interface by interface, and writes down both sides where they differ. */
import { formatFrame } from "../../dataplane/wire/print.ts";
import type { Frame, Frames } from "./lab.ts";
import { difference, Excuses } from "./same-frame.ts";

/** `counts` says which frames are compared. Nothing where the labs agree; else for each interface that differs, its frames with what is wrong about each. */
export function compare(linux: Frames, emulator: Frames, counts: (frame: Frame) => boolean = () => true): string {
  const excuses = new Excuses();
  const reports: string[] = [];
  for (const port of [...new Set([...linux.keys(), ...emulator.keys()])].sort()) {
    const of = (frames: Frames, name: string): Frame[] => (frames.get(name) ?? []).filter(counts);
    const lines: string[] = [];
    let wrong = false;
    const [theirs, ours] = [of(linux, port), of(emulator, port)];
    for (let i = 0; i < Math.max(theirs.length, ours.length); i++) {
      const [k, o] = [theirs[i], ours[i]];
      const why = both(k, o, excuses);
      if (why === null) lines.push(`   = ${show(o)}`);
      else {
        wrong = true;
        lines.push(`   ! ${why}`, `     Linux    ${show(k)}`, `     emulator ${show(o)}`);
      }
    }
    if (wrong) reports.push(`${port}\n${lines.join("\n")}`);
  }
  return reports.join("\n");
}

function both(k: Frame | undefined, o: Frame | undefined, excuses: Excuses): string | null {
  if (k === undefined) return "not sent by Linux";
  if (o === undefined) return "not sent by the emulator";
  if (k.direction !== o.direction) return `direction: ${k.direction} in Linux, ${o.direction} here`;
  return difference(k.bytes.slice(), o.bytes, excuses);
}

function show(frame: Frame | undefined): string {
  return frame === undefined ? "–" : `${frame.direction.padEnd(3)} ${formatFrame(frame.bytes, 0, frame.bytes.length)}`;
}
