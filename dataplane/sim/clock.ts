/** The Clock seam. Virtual time comes from `event-loop.ts`; wall time exists only at the edge, in `cli/`. */

export interface Clock {
  /** Milliseconds since the start of the run; may have a fraction. Never goes back. */
  now(): number;
}
