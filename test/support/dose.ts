/** How many random cases a differential test tries, and which. */

export type Dose = {
  readonly cases: number;
  /** For fast-check: empty where every run is to be another. */
  readonly seed: { readonly seed?: number };
};

/** The seed of the small dose: what it says of a change is about the change, not about luck. */
const SMALL_DOSE_SEED = 20_261_127;

/** From variables that say how many, and which; a dose that was asked for without a seed is another each time. */
export function doseOf(casesName: string, seedName: string, small: number): Dose {
  const { [casesName]: cases, [seedName]: seed } = process.env;
  if (seed !== undefined) return { cases: Number(cases ?? small), seed: { seed: Number(seed) } };
  return cases === undefined ? { cases: small, seed: { seed: SMALL_DOSE_SEED } } : { cases: Number(cases), seed: {} };
}
