/** The rules of a ruleset that match nothing because they are not known: where they stand, and why. */
import type { NftError } from "./nft-error.ts";
import type { Ruleset } from "./ruleset.ts";

export function unknownOf(rules: Ruleset): NftError[] {
  return [...rules.tables.values()].flatMap((table) =>
    [...table.chains.values()].flatMap(({ rules }) =>
      rules.flatMap(({ stmts }) => stmts.flatMap((s) => (s.kind === "never" && s.unknown !== null ? [s.unknown] : []))),
    ),
  );
}
