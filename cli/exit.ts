/** How a run ends: 0 all as expected, 1 a packet or an expectation was not, 2 bad usage or bad input. */
export const OK = 0;
export const UNEXPECTED = 1;
export const BAD_INPUT = 2;

/** Ends the run with exit code 2 and this one line. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}
