/** Writing to the terminal: colours where there is one, JSON or YAML for programs, warnings and progress on stderr. */
import pc from "picocolors";
import { stringify } from "yaml";
import { formatInputIssue, type InputIssue } from "../cluster/manifests/input-error.ts";
import { type Paint, PLAIN } from "../cluster/trace/render-tree.ts";

export type OutputFormat = "text" | "json" | "yaml";

export function paintFor(stream: NodeJS.WriteStream): Paint {
  if (!stream.isTTY || process.env.NO_COLOR !== undefined) return PLAIN;
  return { bold: pc.bold, dim: pc.dim, good: pc.green, bad: pc.red, note: pc.cyan };
}

/** Prints data in the format asked for; `text` makes the one for people. */
export function printResult(format: OutputFormat, data: unknown, text: () => string): void {
  if (format === "json") process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
  else if (format === "yaml") process.stdout.write(stringify(data));
  else process.stdout.write(text());
}

export function printWarnings(warnings: readonly InputIssue[], quiet: boolean): void {
  if (quiet) return;
  for (const warning of warnings) process.stderr.write(`warning: ${formatInputIssue(warning)}\n`);
}

/** A line on stderr that is written over; nothing at all where stderr is no terminal. */
export class Progress {
  readonly #live: boolean;
  #shown = 0;
  #last = 0;

  constructor(quiet: boolean) {
    this.#live = process.stderr.isTTY === true && !quiet;
  }

  /** Ten times a second at the most, and not in the first half second of a run. */
  show(what: string, done: number, total: number): void {
    if (!this.#live) return;
    const now = performance.now();
    if (now < 500 || (now - this.#last < 100 && done < total)) return;
    this.#last = now;
    const width = 24;
    const filled = total === 0 ? width : Math.round((done / total) * width);
    const line = `${what} [${"#".repeat(filled)}${"-".repeat(width - filled)}] ${done}/${total}`;
    process.stderr.write(`\r${line.padEnd(this.#shown)}`);
    this.#shown = line.length;
  }

  clear(): void {
    if (this.#shown > 0) process.stderr.write(`\r${" ".repeat(this.#shown)}\r`);
    this.#shown = 0;
  }
}

/** A table with columns padded to their widest cell; the last is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0))).join("   ");
  return `${rows.map(line).join("\n")}\n`;
}
