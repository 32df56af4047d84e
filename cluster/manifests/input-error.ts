/** What is wrong with the input, with its place. `InputError` ends a run (exit code 2); warnings have the same shape. */
import { formatPath, type Issue } from "../api/issue.ts";

export type InputIssue = {
  readonly severity: "error" | "warning";
  readonly file: string;
  /** From 1; 0 where there is no line, as for a missing file. */
  readonly line: number;
  /** From 1; left out where it is not known. */
  readonly column?: number;
  readonly field: string;
  readonly found: string;
  readonly expected: string;
};

export function formatInputIssue(issue: InputIssue): string {
  const column = issue.column === undefined ? "" : `:${issue.column}`;
  const place = issue.line > 0 ? `${issue.file}:${issue.line}${column}` : issue.file;
  return `${place}: ${issue.field}: found ${issue.found}, expected ${issue.expected}`;
}

export class InputError extends Error {
  override readonly name: string = "InputError";
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly found: string;
  readonly expected: string;
  constructor(issue: Omit<InputIssue, "severity">, options?: ErrorOptions) {
    super(formatInputIssue({ severity: "error", ...issue }), options);
    this.file = issue.file;
    this.line = issue.line;
    this.field = issue.field;
    this.found = issue.found;
    this.expected = issue.expected;
  }
}

/** Gives an issue of an object its place. */
export function placeIssue(issue: Issue, file: string, line: number): InputIssue {
  const { severity, path, found, expected } = issue;
  return { severity, file, line, field: formatPath(path), found, expected };
}
