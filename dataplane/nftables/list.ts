/** The ruleset as `nft list ruleset` prints it. */
import type { DataType } from "./datatype.ts";
import type { BaseSpec, Chain, Family, Flowtable, Named, NftSet, Table } from "./model.ts";
import { BRIDGE_PRIORITIES, PRIORITIES } from "./parse.ts";
import { printTime } from "./parse-value.ts";
import { type PrintOptions, printElement, printLimit, printQuota, printRule, sortedElements } from "./print-rule.ts";
import type { Ruleset } from "./ruleset.ts";

export type ListOptions = PrintOptions & {
  /** One table, as "FAMILY NAME". */
  readonly table?: string;
  readonly handles: boolean;
};

/** Tables in the order in which they were made. "" where there is nothing. */
export function listRuleset(rules: Ruleset, o: ListOptions): string {
  const tables = [...rules.tables.values()].filter((t) => o.table === undefined || o.table === `${t.family} ${t.name}`);
  return tables.map((t) => listTable(t, o)).join("");
}

function listTable(table: Table, o: ListOptions): string {
  const head: string[] = [];
  if (table.comment !== "") head.push(`\tcomment "${table.comment}"\n`);
  if (table.dormant) head.push("\tflags dormant\n");
  const parts = listObjects(table, o);
  for (const set of table.sets.values()) parts.push(listSet(set, o));
  for (const [name, flowtable] of table.flowtables) parts.push(listFlowtable(name, flowtable, o));
  for (const chain of table.chains.values()) parts.push(listChain(chain, o));
  return `table ${table.family} ${table.name} {${tag(table.handle, o)}\n${head.join("")}${parts.join("\n")}}\n`;
}

/** In the order in which they were made. */
function listObjects(table: Table, o: ListOptions): string[] {
  const out: { readonly handle: number; readonly text: string }[] = [];
  const add = (kind: string, name: string, { handle, comment }: Named, lines: readonly string[]): void => {
    const note = comment === "" ? [] : [`comment "${comment}"`];
    const body = [...note, ...lines].map((line) => `\t\t${line}\n`).join("");
    out.push({ handle, text: `\t${kind} ${name} {${tag(handle, o)}\n${body}\t}\n` });
  };
  for (const [name, c] of table.counters) {
    const { packets, bytes } = c.counter;
    add("counter", name, c, o.stateless ? [] : [`packets ${packets} bytes ${bytes}`]);
  }
  for (const [name, l] of table.limits) add("limit", name, l, [printLimit(l.limit).slice("limit ".length)]);
  for (const [name, q] of table.quotas) add("quota", name, q, [printQuota(q.quota, o)]);
  for (const [name, h] of table.helpers)
    add("ct helper", name, h, [`type "${h.type}" protocol ${h.protocol}`, `l3proto ${h.l3proto}`]);
  return out.sort((a, b) => a.handle - b.handle).map(({ text }) => text);
}

function listFlowtable(name: string, f: Named & Flowtable, o: ListOptions): string {
  const lines = [`hook ingress priority ${priorityText("netdev", "ingress", f.priority)}`];
  if (f.devices.length > 0) lines.push(`devices = { ${f.devices.join(", ")} }`);
  if (f.flags.length > 0) lines.push(`flags ${f.flags.join(",")}`);
  if (f.counter) lines.push("counter");
  return `\tflowtable ${name} {${tag(f.handle, o)}\n${lines.map((line) => `\t\t${line}\n`).join("")}\t}\n`;
}

function tag(handle: number, o: ListOptions): string {
  return o.handles ? ` # handle ${handle}` : "";
}

function names(types: readonly DataType[]): string {
  return types.map((t) => t.name).join(" . ");
}

function listSet(set: NftSet, o: ListOptions): string {
  const { spec } = set;
  const lines: string[] = [];
  if (spec.typeof !== "") lines.push(`typeof ${spec.typeof}`);
  else {
    const data = spec.data === "verdict" ? " : verdict" : spec.map ? ` : ${names(spec.data)}` : "";
    lines.push(`type ${names(spec.key)}${data}`);
  }
  if (spec.policy !== "" && spec.policy !== "performance") lines.push(`policy ${spec.policy}`);
  if (spec.size > 0) lines.push(`size ${spec.size}`);
  if (spec.flags.length > 0) lines.push(`flags ${spec.flags.join(",")}`);
  if (spec.counter) lines.push("counter");
  if (spec.timeout > 0) lines.push(`timeout ${printTime(spec.timeout)}`);
  if (spec.gcInterval > 0) lines.push(`gc-interval ${printTime(spec.gcInterval)}`);
  if (spec.autoMerge) lines.push("auto-merge");
  if (spec.comment !== "") lines.push(`comment "${spec.comment}"`);
  const dynamic = spec.flags.includes("dynamic");
  const live = sortedElements(set).filter((e) => e.expires === 0 || e.expires > o.now);
  if (live.length > 0 && !(o.stateless && dynamic)) {
    const perLine = spec.key.length > 1 ? 1 : (spec.key[0]?.perLine ?? 1);
    let text = "";
    for (const [i, e] of live.entries()) {
      if (i > 0) text += i % perLine === 0 ? ",\n\t\t\t     " : ", ";
      text += printElement(spec, e, o);
    }
    lines.push(`elements = { ${text} }`);
  }
  const body = lines.map((line) => `\t\t${line}\n`).join("");
  return `\t${spec.map ? "map" : "set"} ${set.name} {${tag(set.handle, o)}\n${body}\t}\n`;
}

function listChain(chain: Chain, o: ListOptions): string {
  const lines: string[] = [];
  if (chain.comment !== "") lines.push(`comment "${chain.comment}"`);
  if (chain.base !== null) lines.push(`${baseText(chain.table.family, chain.base)} policy ${chain.policy};`);
  for (const rule of chain.rules) {
    const text = o.stateless ? rule.text : printRule(rule, o);
    lines.push(`${text}${tag(rule.handle, o)}`);
  }
  const body = lines.map((line) => `\t\t${line}\n`).join("");
  return `\tchain ${chain.name} {${tag(chain.handle, o)}\n${body}\t}\n`;
}

/** "type filter hook input priority filter - 10;". */
function baseText(family: Family, base: BaseSpec): string {
  const device = base.devices.length === 1 ? ` device "${base.devices[0]}"` : "";
  return `type ${base.type} hook ${base.hook}${device} priority ${priorityText(family, base.hook, base.priority)};`;
}

/** By the nearest name, where one is within 10. */
function priorityText(family: Family, hook: string, priority: number): string {
  const named = Object.entries(family === "bridge" ? BRIDGE_PRIORITIES : PRIORITIES).filter(
    ([name]) =>
      (name !== "dstnat" || hook === "prerouting" || (family === "bridge" && hook === "prerouting")) &&
      (name !== "srcnat" || hook === "postrouting") &&
      (name !== "out" || hook === "output"),
  );
  for (const [name, n] of named) {
    const d = priority - n;
    if (d === 0) return name;
    if (Math.abs(d) <= 10) return `${name} ${d < 0 ? "-" : "+"} ${Math.abs(d)}`;
  }
  return String(priority);
}
