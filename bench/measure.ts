/**
 * Measuring in CPU time of this process: a warm-up, several samples, their median. Elapsed time on a shared machine says
 * more about the neighbours than about the code.
 */

export type Sample = {
  readonly cpuSeconds: number;
  /** Growth of the V8 heap while the sample ran, in octets, after a collection where the runtime allows one. */
  readonly heapGrowth: number;
};

declare const gc: undefined | (() => void);

/** Runs `work` once and says what it took. */
export function sample(work: () => void): Sample {
  gc?.();
  const heap = process.memoryUsage().heapUsed;
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  const heapGrowth = process.memoryUsage().heapUsed - heap;
  return { cpuSeconds: (user + system) / 1e6, heapGrowth };
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
