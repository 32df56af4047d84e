/** Names of interfaces as numbers, so that they stand in integer registers and keys of sets. Numbers are never given back. */
import { ownText } from "../netfilter/own-text.ts";

const ids = new Map<string, number>();
const names: string[] = [];

export function ifnameId(name: string): number {
  const known = ids.get(name);
  if (known !== undefined) return known;
  const own = ownText(name);
  ids.set(own, names.length);
  return names.push(own) - 1;
}

export function ifnameText(id: number): string {
  return names[id] ?? "";
}
