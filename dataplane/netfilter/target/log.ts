/** LOG and NFLOG: nothing is logged here; a traced packet shows that the rule matched. */
import { quote } from "../options.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type LogTarget = {
  readonly kind: "LOG";
  readonly prefix: string;
  readonly level: number;
  readonly flags: readonly string[];
};
export type NflogTarget = { readonly kind: "NFLOG"; readonly prefix: string; readonly group: number };

const LEVELS: readonly (readonly string[])[] = [
  ["emerg", "panic"],
  ["alert"],
  ["crit"],
  ["error", "err"],
  ["warning", "warn"],
  ["notice"],
  ["info"],
  ["debug"],
];
const DEFAULT_LEVEL = 4;
const FLAGS: readonly string[] = [
  "--log-tcp-sequence",
  "--log-tcp-options",
  "--log-ip-options",
  "--log-uid",
  "--log-macdecode",
];

export const logTarget: TargetModule<LogTarget> = {
  name: "LOG",
  options: {
    "--log-prefix": { args: 1 },
    "--log-level": { args: 1 },
    ...Object.fromEntries(FLAGS.map((f) => [f, { args: 0 }])),
  },
  parse(o) {
    const prefix = o.text("--log-prefix") ?? "";
    if (prefix.length > 29) o.fail(`option --log-prefix: ${prefix.length} octets, 29 are the most`);
    const text = o.text("--log-level");
    const named = text === undefined ? DEFAULT_LEVEL : LEVELS.findIndex((names) => names.includes(text.toLowerCase()));
    const level = named >= 0 ? named : o.parse("--log-level", text ?? "", 0, 7);
    return { kind: "LOG", prefix, level, flags: FLAGS.filter((f) => o.has(f)) };
  },
  print(t) {
    const prefix = t.prefix === "" ? "" : ` --log-prefix ${quote(t.prefix)}`;
    const level = t.level === DEFAULT_LEVEL ? "" : ` --log-level ${t.level}`;
    return prefix + level + t.flags.map((f) => ` ${f}`).join("");
  },
  run: () => CONTINUE,
};

export const nflogTarget: TargetModule<NflogTarget> = {
  name: "NFLOG",
  options: { "--nflog-group": { args: 1 }, "--nflog-prefix": { args: 1 } },
  parse(o) {
    return { kind: "NFLOG", prefix: o.text("--nflog-prefix") ?? "", group: o.number("--nflog-group", 0, 0xffff) ?? 0 };
  },
  print(t) {
    const prefix = t.prefix === "" ? "" : ` --nflog-prefix ${quote(t.prefix)}`;
    return `${prefix}${t.group === 0 ? "" : ` --nflog-group ${t.group}`}`;
  },
  run: () => CONTINUE,
};
