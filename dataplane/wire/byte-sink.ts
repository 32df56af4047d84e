/** Bytes that grow at the end, for building files: blocks of their own, joined once when asked for. */

import { copy } from "./bytes.ts";

const BLOCK_LEN = 0x1_0000;

export class ByteSink {
  #full: Uint8Array[] = [];
  #block: Uint8Array = new Uint8Array(BLOCK_LEN);
  #used = 0;
  #fullLen = 0;

  get length(): number {
    return this.#fullLen + this.#used;
  }

  /**
   * Makes room for `len` octets and tells where: write all of them to `block` from `offset` before the next
   * call. They are zero until then.
   */
  reserve(len: number): { readonly block: Uint8Array; readonly offset: number } {
    if (this.#used + len > this.#block.length) {
      this.#close();
      this.#block = new Uint8Array(Math.max(BLOCK_LEN, len));
    }
    const offset = this.#used;
    this.#used += len;
    return { block: this.#block, offset };
  }

  #close(): void {
    if (this.#used > 0) this.#full.push(this.#block.subarray(0, this.#used));
    this.#fullLen += this.#used;
    this.#used = 0;
  }

  /** Everything so far, in one array of its own. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.#full) {
      copy(all, at, piece, 0, piece.length);
      at += piece.length;
    }
    copy(all, at, this.#block, 0, this.#used);
    return all;
  }

  /** Everything since the last drain, and forgets it: for a file that is written while it grows. */
  drain(): Uint8Array {
    const all = this.bytes();
    this.#full = [];
    this.#fullLen = 0;
    this.#block = new Uint8Array(BLOCK_LEN);
    this.#used = 0;
    return all;
  }
}
