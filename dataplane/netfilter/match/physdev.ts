/** `-m physdev` (xt_physdev.c): the bridge ports that a packet came in by and leaves by. */
import { named } from "../iface-name.ts";
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

type Flag = { readonly ask: boolean; readonly not: boolean };
export type PhysdevMatch = {
  readonly kind: "physdev";
  readonly input: string;
  readonly notInput: boolean;
  readonly output: string;
  readonly notOutput: boolean;
  readonly isIn: Flag;
  readonly isOut: Flag;
  readonly isBridged: Flag;
};

function flagText(f: Flag, name: string): string {
  return f.ask ? `${f.not ? " !" : ""} ${name}` : "";
}

export const physdevMatch: MatchModule<PhysdevMatch> = {
  name: "physdev",
  options: {
    "--physdev-in": { args: 1, not: true },
    "--physdev-out": { args: 1, not: true },
    "--physdev-is-in": { args: 0, not: true },
    "--physdev-is-out": { args: 0, not: true },
    "--physdev-is-bridged": { args: 0, not: true },
  },
  parse(o) {
    const flag = (name: string): Flag => ({ ask: o.has(name), not: o.not(name) });
    const m = {
      kind: "physdev",
      input: o.text("--physdev-in") ?? "",
      notInput: o.not("--physdev-in"),
      output: o.text("--physdev-out") ?? "",
      notOutput: o.not("--physdev-out"),
      isIn: flag("--physdev-is-in"),
      isOut: flag("--physdev-is-out"),
      isBridged: flag("--physdev-is-bridged"),
    } as const;
    const asked = m.input !== "" || m.output !== "" || m.isIn.ask || m.isOut.ask || m.isBridged.ask;
    if (!asked) o.fail("at least one option is required");
    return m;
  },
  print: (m) =>
    flagText(m.isIn, "--physdev-is-in") +
    (m.input === "" ? "" : opt(m.notInput, "--physdev-in", m.input)) +
    flagText(m.isOut, "--physdev-is-out") +
    (m.output === "" ? "" : opt(m.notOutput, "--physdev-out", m.output)) +
    flagText(m.isBridged, "--physdev-is-bridged"),
  test(m, p) {
    const input = p.skb.physIn;
    const output = p.skb.physOut;
    if (m.isIn.ask && (input !== null) === m.isIn.not) return false;
    if (m.isOut.ask && (output !== null) === m.isOut.not) return false;
    if (m.isBridged.ask && (input !== null && output !== null) === m.isBridged.not) return false;
    if (m.input !== "" && named(m.input, input?.name ?? "") === m.notInput) return false;
    return m.output === "" || named(m.output, output?.name ?? "") !== m.notOutput;
  },
};
