/** nftables rules as text: reading what `nft -a list table` prints far enough to find one's own rules again by comment. */
import { sha512Hex } from "./sha512.ts";

/** The longest comment of a rule. */
const COMMENT_MAX = 128;
const HASH_LEN = 16;

export type NftRule = {
  readonly chain: string;
  /** As listed, without its comment and handle. */
  readonly text: string;
  readonly comment: string;
  readonly handle: number;
};
export type NftTable = { readonly chains: ReadonlySet<string>; readonly rules: readonly NftRule[] };

export function parseNftTable(listed: string): NftTable {
  const chains = new Set<string>();
  const rules: NftRule[] = [];
  let chain = "";
  for (const line of listed.split("\n")) {
    const [, opened] = /^\tchain (\S+) \{/.exec(line) ?? [];
    if (opened !== undefined) {
      chain = opened;
      chains.add(chain);
    }
    const [, text, , comment, handle] = /^\t\t(.*?)( comment "([^"]*)")? # handle (\d+)$/.exec(line) ?? [];
    if (text === undefined || handle === undefined || chain === "") continue;
    rules.push({ chain, text, comment: comment ?? "", handle: Number(handle) });
  }
  return { chains, rules };
}

/** `comment "…"`; the text has no quotes, as names of networks, containers and interfaces have none. */
export function nftComment(text: string): string {
  return `comment "${text.slice(0, COMMENT_MAX)}"`;
}

export function cutComment(text: string): string {
  return text.slice(0, COMMENT_MAX);
}

export function deleteRules(table: string, rules: readonly NftRule[]): readonly string[] {
  return rules.map(({ chain, handle }) => `delete rule ${table} ${chain} handle ${handle}`);
}

/** One transaction, or undefined if there is nothing to do. */
export function nftText(lines: readonly string[]): string | undefined {
  return lines.length === 0 ? undefined : `${lines.join("\n")}\n`;
}

/** Names as the reference shortens them for comments. */
export function shortHash(text: string): string {
  return sha512Hex(text).slice(0, HASH_LEN);
}
