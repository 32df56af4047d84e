/**
 * What travels over the socket of a node: JSON, one message a line, UTF-8.
 *
 *     → {"id":1,"method":"apply","params":[[{"op":"link.set",…}]]}
 *     ← {"id":1,"result":null}     or     {"id":1,"error":{"code":"EEXIST","message":"…","failed":{…}}}
 *
 * Answers carry the id of their request and may come in another order. A line that is no request is answered with
 * `"id":null` and the connection goes on; a line longer than `LONGEST_LINE` ends it.
 */
import type { RtnlOp } from "../dataplane/netns/rtnl-ops.ts";

export const METHODS = [
  "apply",
  "addNetns",
  "delNetns",
  "hasNetns",
  "links",
  "link",
  "addrs",
  "routes",
  "neighs",
  "fdb",
  "qdiscs",
  "vlans",
  "sysctl",
  "iptablesSave",
  "nftList",
] as const;
export type Method = (typeof METHODS)[number];

export type Request = { readonly id: number; readonly method: Method; readonly params: readonly unknown[] };
export type WireError = { readonly code: string; readonly message: string; readonly failed?: RtnlOp };
export type Answer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number | null; readonly error: WireError };

/** Codes besides errno names: the line was no request; the method threw something unforeseen. */
export const MALFORMED = "MALFORMED";
export const INTERNAL = "INTERNAL";

/** Characters. A ruleset of 10,000 services is some tens of millions. */
export const LONGEST_LINE: number = 512 * 1024 * 1024;

/** Cuts a stream of text into lines. */
export class LineReader {
  #parts: string[] = [];
  #length = 0;

  /** The lines that this piece completes; undefined once a line has grown too long. */
  push(text: string): readonly string[] | undefined {
    const lines: string[] = [];
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      this.#parts.push(text.slice(from, at));
      lines.push(this.#parts.join(""));
      this.#parts = [];
      this.#length = 0;
      from = at + 1;
    }
    if (from < text.length) {
      this.#parts.push(text.slice(from));
      this.#length += text.length - from;
    }
    return this.#length > LONGEST_LINE ? undefined : lines;
  }
}
