/**
 * Lists without the room that `push` leaves behind their last element: a ruleset keeps several lists a rule, nearly all of
 * one or two elements, and room for sixteen more in each would be most of it.
 */
const NONE: readonly never[] = [];

/** The same elements, to be kept and not to be changed. */
export function exact<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list.slice();
}
