/**
 * iptables rules as text: quoting, and reading what iptables-save(8) prints far enough to find one's own rules again.
 * A rule is deleted by the very text that was read, so its spelling is never guessed.
 */
import { sha512Hex } from "./sha512.ts";

/** The longest comment that xt_comment holds, without its final NUL. */
const COMMENT_MAX = 255;
/** The longest chain name, without its final NUL. */
const CHAIN_MAX = 28;

const PLAIN = /^[A-Za-z0-9_./:,@%+=-]+$/;

/** One argument as iptables-save quotes it. */
export function quote(text: string): string {
  return PLAIN.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}

export function comment(text: string): string {
  return `-m comment --comment ${quote(text.slice(0, COMMENT_MAX))}`;
}

/** Splits a line into its arguments, quotes undone. */
export function wordsOf(line: string): readonly string[] {
  const words: string[] = [];
  let word = "";
  let quoted = false;
  let some = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i] ?? "";
    if (c === "\\" && quoted && i + 1 < line.length) {
      word += line[++i] ?? "";
    } else if (c === '"') {
      quoted = !quoted;
      some = true;
    } else if (c === " " && !quoted) {
      if (some || word !== "") words.push(word);
      word = "";
      some = false;
    } else {
      word += c;
    }
  }
  if (some || word !== "") words.push(word);
  return words;
}

export type SavedRule = {
  /** Without the leading "-A CHAIN ". */
  readonly text: string;
  readonly words: readonly string[];
};
export type SavedTable = ReadonlyMap<string, readonly SavedRule[]>;

/** The argument after an option, if the rule has it. */
export function optionOf(rule: SavedRule, name: string): string | undefined {
  const at = rule.words.indexOf(name);
  return at < 0 ? undefined : rule.words[at + 1];
}

/** The chains of one table. Rules are split into words only for chains that `wanted` names, as there may be many. */
export function parseSaved(text: string, table: string, wanted: (chain: string) => boolean): SavedTable {
  const chains = new Map<string, SavedRule[]>();
  const start = text.startsWith(`*${table}\n`) ? 0 : text.indexOf(`\n*${table}\n`) + 1;
  if (start === 0 && !text.startsWith(`*${table}\n`)) return chains;
  const end = text.indexOf("\nCOMMIT", start);
  for (const line of text.slice(start, end < 0 ? undefined : end).split("\n")) {
    if (line.startsWith(":")) {
      const chain = line.slice(1, line.indexOf(" "));
      if (wanted(chain)) chains.set(chain, []);
    } else if (line.startsWith("-A ")) {
      const space = line.indexOf(" ", 3);
      const chain = line.slice(3, space < 0 ? undefined : space);
      const rules = chains.get(chain);
      if (rules === undefined) continue;
      const rest = space < 0 ? "" : line.slice(space + 1);
      rules.push({ text: rest, words: wordsOf(rest) });
    }
  }
  return chains;
}

/** A chain name of the reference plugins: the prefix, then as much of the SHA-512 of network and container as fits. */
export function chainName(prefix: string, network: string, containerId: string): string {
  return `${prefix}${sha512Hex(network + containerId)}`.slice(0, CHAIN_MAX);
}

/** `name: "N" id: "ID"`, by which a rule is known as ours. */
export function ownerComment(network: string, containerId: string): string {
  return `name: "${network}" id: "${containerId}"`;
}

const OWNER_TEXT = /name: "([^"]*)" id: "([^"]*)"/;

export function ownerOf(rule: SavedRule): { readonly network: string; readonly containerId: string } | undefined {
  const [, network, containerId] = OWNER_TEXT.exec(optionOf(rule, "--comment") ?? "") ?? [];
  return network === undefined || containerId === undefined ? undefined : { network, containerId };
}

/** One nat transaction, or undefined if there is nothing to do. */
export function natText(lines: readonly string[]): string | undefined {
  return lines.length === 0 ? undefined : `*nat\n${lines.join("\n")}\nCOMMIT\n`;
}
