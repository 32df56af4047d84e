/**
 * Generated names, as Kubernetes makes them from its alphabet without vowels and look-alikes, but from a salt and a key
 * instead of chance: the same object gets the same name in each run of a seed, whatever else the cluster holds.
 */
import { hashText } from "../../dataplane/sim/random.ts";

const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

/** `length` characters (at most six) that depend on salt and key. */
export function nameSuffix(salt: number, key: string, length: number = 5): string {
  let n = hashText(`${salt} ${key}`);
  let out = "";
  for (let i = 0; i < length; i++) {
    out += ALPHABET[n % 27];
    n = Math.floor(n / 27);
  }
  return out;
}

/** The hash of a pod template: the decimal digits of a 32-bit hash, spelled in the alphabet (at most ten characters). */
export function templateHash(template: unknown): string {
  return [...String(hashText(JSON.stringify(sorted(template))))]
    .map((digit) => ALPHABET[digit.charCodeAt(0) % 27])
    .join("");
}

/** Names of generated objects: the base is cut so that the whole fits a DNS label. */
export function generatedName(base: string, suffix: string): string {
  return `${base.slice(0, 63 - 1 - suffix.length).replace(/-+$/, "")}-${suffix}`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, sorted(v)]));
}
