/** Making a failing case small by leaving things out: halves first, then quarters, down to single items, while it still fails. */

/** The fewest of `items` for which `fails` still holds; it is asked no more than `budget` times. */
export async function shrinkList<T>(
  items: readonly T[],
  fails: (fewer: readonly T[]) => Promise<boolean>,
  budget: { left: number },
): Promise<readonly T[]> {
  let kept = items;
  for (let size = Math.ceil(kept.length / 2); size >= 1 && budget.left > 0; ) {
    let shrunk = false;
    for (let from = 0; from < kept.length && budget.left > 0; ) {
      const fewer = [...kept.slice(0, from), ...kept.slice(from + size)];
      budget.left--;
      if (await fails(fewer)) {
        kept = fewer;
        shrunk = true;
      } else {
        from += size;
      }
    }
    if (size === 1 && !shrunk) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
  return kept;
}
