/** Names of interfaces in rules. */

/** Whether an interface has the name; one that ends in + is a prefix. */
export function named(wanted: string, name: string): boolean {
  const last = wanted.length - 1;
  if (wanted.charCodeAt(last) !== 0x2b) return wanted === name;
  if (name.length < last) return false;
  for (let i = 0; i < last; i++) if (wanted.charCodeAt(i) !== name.charCodeAt(i)) return false;
  return true;
}
