/** A rule compiled: numbers that `run.ts` walks, and the objects that they name. */
export type Program = {
  readonly code: Int32Array;
  readonly objects: readonly unknown[];
};
