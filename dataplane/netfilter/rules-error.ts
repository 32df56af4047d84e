/** What is wrong with a ruleset's text: which module found it, where, and what it expected. */
export class RulesError extends Error {
  override readonly name: string = "RulesError";
  readonly source: string;
  /** Counts from 1; 0 where no single line is to blame. */
  readonly line: number;
  /** The match or target that found it ("tcp", "DNAT"); "" for iptables itself. */
  readonly module: string;
  readonly reason: string;

  /** `text` is what stands on the line, where that is known: the error then tells the column, too. */
  constructor(source: string, line: number, module: string, reason: string, text = "") {
    super(`${source}:${line}${columnOf(text, reason)}: ${module === "" ? "" : `${module}: `}${reason}`);
    this.source = source;
    this.line = line;
    this.module = module;
    this.reason = reason;
  }
}

/** Words that a reason may name: what it quotes, an option, or the name of something. */
const NAMED = /"([^"]+)"|(?:^|\s)(-{1,2}[A-Za-z][^\s:]*)|(?:chain|target|set|match|service|scheduler) ([^\s:"]+)/g;

/** ":19", counted from 1, of the first word of a line that the reason names as it stands there; the longest is meant. */
export function columnOf(line: string, reason: string): string {
  const named = [...reason.matchAll(NAMED)].map((m) => m[1] ?? m[2] ?? m[3] ?? "");
  const quoted = named.filter((word) => reason.includes(`"${word}"`));
  for (const word of [...quoted, ...named]) {
    const at = placeOf(line, word);
    if (at >= 0) return `:${at + 1}`;
  }
  return "";
}

/** Where a word stands whole: between blanks, quotes, or the signs that join values. */
function placeOf(line: string, word: string): number {
  for (let at = line.indexOf(word); at >= 0; at = line.indexOf(word, at + 1)) {
    const [before, after] = [line[at - 1] ?? " ", line[at + word.length] ?? " "];
    if (/[\s"',:/=[(]/.test(before) && /[\s"',:/=\])]/.test(after)) return at;
  }
  return -1;
}
