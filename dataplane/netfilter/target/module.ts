/** What a target is to the rest: how its options are read, printed, and what it does to a packet. */
import type { OptionSpecs, Options } from "../options.ts";
import type { NfPacket } from "../packet.ts";

/** A target's answer besides NF_*: go on with the next rule. */
export const CONTINUE = -1;

export interface TargetModule<T> {
  /** As `-j` names it. */
  readonly name: string;
  readonly options: OptionSpecs;
  /** Connections must be tracked for it; where that depends on the options, `tracksWhere` says when. */
  readonly tracks?: boolean;
  readonly tracksWhere?: (t: T) => boolean;
  /** The tables and hooks (a bit each) that it may stand in; absent: any. */
  readonly tables?: readonly string[];
  readonly hooks?: number;
  /** Throws OptionError. */
  parse(o: Options): T;
  /** What stands after `-j NAME`, each option with a space before it. */
  print(t: T): string;
  /** Answers a verdict or CONTINUE. */
  run(t: T, p: NfPacket): number;
}
