/**
 * Lists without the room that `push` leaves behind their last element: a ruleset keeps several lists a rule, nearly all of
 * one or two elements, and room for sixteen more in each would be most of it.
 */
const NONE: readonly never[] = [];
/** Lists of so few are made anew for each element more; most stay that short. */
const FEW = 4;

/** The same elements, to be kept and not to be changed. */
export function exact<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list.slice();
}

/** The list with one element more at its end: the same list, or, of a short one, another. */
export function append<T>(list: T[], item: T): T[] {
  if (list.length < FEW) return list.toSpliced(list.length, 0, item);
  list.push(item);
  return list;
}
