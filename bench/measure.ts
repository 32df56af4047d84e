/**
 * Measuring in CPU time of this process: a warm-up, several samples, their median. Elapsed time on a shared machine says
 * more about the neighbours than about the code.
 */
import { Session } from "node:inspector";

/** CPU seconds, user and system, that `work` took. */
export function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

type ProfileNode = {
  readonly callFrame: { readonly url: string };
  readonly selfSize: number;
  readonly children: readonly ProfileNode[];
};

/** How often V8's allocation profiler takes a sample, in octets. */
const INTERVAL = 512;

/**
 * Octets that `work` allocated on the heap, collected or not, as V8's sampling profiler estimates them. It slows the work
 * down, so nothing is timed meanwhile.
 */
export function allocatedOctets(work: () => void): number {
  const session = new Session();
  session.connect();
  try {
    const options = {
      samplingInterval: INTERVAL,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    };
    let total = 0;
    session.post("HeapProfiler.startSampling", options);
    work();
    session.post("HeapProfiler.stopSampling", (error, answer) => {
      if (error !== null) throw error;
      total = sizeOf(answer.profile.head);
    });
    return total;
  } finally {
    session.disconnect();
  }
}

/** What the inspector allocates to be asked is not the work's. */
function sizeOf({ callFrame, selfSize, children }: ProfileNode): number {
  const own = callFrame.url.startsWith("node:") ? 0 : selfSize;
  return children.reduce((sum, child) => sum + sizeOf(child), own);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  const upper = sorted[mid] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[mid - 1] ?? Number.NaN) + upper) / 2;
}

/** One result: a JSON line, and a row of the table. */
export type Metric = {
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly [detail: string]: string | number | boolean;
};
