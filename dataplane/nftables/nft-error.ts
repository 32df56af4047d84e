/** What is wrong with a ruleset's text: where, and what was expected. */
export class NftError extends Error {
  override readonly name: string = "NftError";
  readonly source: string;
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
  readonly reason: string;
  /** An errno name where the ruleset refuses what the text says well ("ENOENT", "EEXIST", "EBUSY"); else EINVAL. */
  readonly code: string;

  constructor(source: string, line: number, column: number, reason: string, code = "EINVAL") {
    super(`${source}:${line}:${column}: ${reason}`);
    this.source = source;
    this.line = line;
    this.column = column;
    this.reason = reason;
    this.code = code;
  }
}

/** The code of an NftError about a statement or expression that nft may well know, and is not known here. */
export const UNKNOWN = "EOPNOTSUPP";

/** Thrown by the ruleset, which knows no places in a text; the parser makes an NftError of it. */
export class RulesetError extends Error {
  override readonly name: string = "RulesetError";
  readonly code: string;
  constructor(code: string, reason: string) {
    super(reason);
    this.code = code;
  }
}
