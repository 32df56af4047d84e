/**
 * What is wrong with an object: one issue per field, with the path to it.
 *
 * An error makes the input unusable (exit code 2); a warning is what Kubernetes would accept, with or without a word.
 */
export type Path = readonly (string | number)[];

export type Severity = "error" | "warning";

export type Issue = {
  readonly severity: Severity;
  readonly path: Path;
  readonly found: string;
  readonly expected: string;
};

export type Report = (severity: Severity, path: Path, found: string, expected: string) => void;

/** `spec.ports[0].port`; keys that are not plain words stand in brackets: `metadata.labels["app.io/name"]`. */
export function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text === "" ? "document" : text;
}

/** A value as it stands in a message: short, on one line. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
