/**
 * Who holds a lock, so that others can tell whether that process still lives: proc(5), /proc/PID/stat.
 *
 * A pid alone is not enough, since pids are used again: the start time and the boot go with it. Where there is no
 * /proc the pid must do. A holder in another pid namespace cannot be judged and counts as alive.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { pid } from "node:process";

export type Holder = {
  readonly pid: number;
  /** Start time in clock ticks since boot, or "" where unknown. */
  readonly start: string;
  readonly boot: string;
  readonly pidns: string;
};

function textOf(read: () => string): string {
  try {
    return read().trim();
  } catch {
    return "";
  }
}

/** State and start time of a process; undefined if there is none. */
function statOf(id: number): { readonly state: string; readonly start: string } | undefined {
  const text = textOf(() => readFileSync(`/proc/${id}/stat`, "latin1"));
  if (text === "") return undefined;
  // the command name may hold spaces and brackets; fields 3 and 22 count from behind it
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", start: fields[19] ?? "" };
}

export function holderOfThisProcess(): Holder {
  return {
    pid,
    start: statOf(pid)?.start ?? "",
    boot: textOf(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1")),
    pidns: textOf(() => readlinkSync("/proc/self/ns/pid")),
  };
}

function exists(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

export function isAlive(holder: Holder, self: Holder): boolean {
  if (holder.boot !== self.boot) return false;
  if (holder.pidns !== self.pidns) return true;
  if (self.start === "") return exists(holder.pid);
  const stat = statOf(holder.pid);
  return stat !== undefined && stat.state !== "Z" && stat.state !== "X" && stat.start === holder.start;
}
