/** Verdicts and jumps: what the walk itself does. */

/** ACCEPT and DROP end the table; RETURN goes back to the calling chain, or to the policy. */
export type VerdictTarget = { readonly kind: "ACCEPT" | "DROP" | "RETURN" };
/** `-j CHAIN`, or with `goto` `-g CHAIN`: then a RETURN there goes back to where this chain was called from. */
export type JumpTarget = { readonly kind: "jump"; readonly chain: string; readonly goto: boolean };

export const ACCEPT: VerdictTarget = { kind: "ACCEPT" };
export const DROP: VerdictTarget = { kind: "DROP" };
export const RETURN: VerdictTarget = { kind: "RETURN" };

/** What `-j NAME` is where NAME is no target with options: a verdict, or a jump to the chain. */
export function verdictOf(name: string): VerdictTarget | JumpTarget {
  if (name === "ACCEPT") return ACCEPT;
  if (name === "DROP") return DROP;
  return name === "RETURN" ? RETURN : { kind: "jump", chain: name, goto: false };
}
