/**
 * The records (`rule-record.ts`) of a long chain's rules, for its index and for those of the chains that edits make of it:
 * records are added and never changed, so that to put a rule in copies no other rule's. Those of rules that are gone stay.
 */
import { RECORD, writeRecord } from "./rule-record.ts";
import type { Rule } from "./rules.ts";

export class RecordStore {
  words: Int32Array;
  /** How many records there are. */
  count = 0;

  /** Of so many rules, with room for some more. */
  constructor(rules: number) {
    this.words = new Int32Array((rules + (rules >> 3) + 16) * RECORD);
  }

  /** Writes a rule's record and answers where it is. */
  add(rule: Rule): number {
    const at = this.count * RECORD;
    if (at === this.words.length) {
      const words = new Int32Array(Math.ceil(this.count * 1.5) * RECORD);
      words.set(this.words);
      this.words = words;
    }
    writeRecord(this.words, at, rule);
    this.count++;
    return at;
  }
}
