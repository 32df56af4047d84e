/** The Lock seam: `file-lock.ts` needs no native code, the executable brings flock(2). */

export interface Lock {
  /** Whether holding it leaves the directory that it protects untouched, time stamps included. */
  readonly quiet: boolean;
  /** Runs the work while no other process does. Not reentrant. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

export function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === code;
}
