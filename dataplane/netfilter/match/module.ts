/** What a match is to the rest: how its options are read, printed as iptables-save prints them, and asked of a packet. */
import type { OptionSpecs, Options } from "../options.ts";
import type { NfPacket } from "../packet.ts";

export interface MatchModule<M> {
  /** As `-m` names it. */
  readonly name: string;
  readonly options: OptionSpecs;
  /** Connections must be tracked for it. */
  readonly tracks?: boolean;
  /** Throws OptionError. */
  parse(o: Options): M;
  /** What stands after `-m NAME`, each option with a space before it. */
  print(m: M): string;
  test(m: M, p: NfPacket): boolean;
}
