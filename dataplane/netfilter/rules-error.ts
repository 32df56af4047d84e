/** What is wrong with a ruleset's text: which module found it, where, and what it expected. */
export class RulesError extends Error {
  override readonly name: string = "RulesError";
  readonly source: string;
  /** Counts from 1; 0 where no single line is to blame. */
  readonly line: number;
  /** The match or target that found it ("tcp", "DNAT"); "" for iptables itself. */
  readonly module: string;
  readonly reason: string;

  constructor(source: string, line: number, module: string, reason: string) {
    super(`${source}:${line}: ${module === "" ? "" : `${module}: `}${reason}`);
    this.source = source;
    this.line = line;
    this.module = module;
    this.reason = reason;
  }
}
