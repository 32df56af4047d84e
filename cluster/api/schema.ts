/**
 * The shape of a kind as data, and the walker that compares a value with it.
 *
 * Follows what the API server does when it decodes: a wrong type is an error, an unknown field is reported and kept, null
 * is the same as absent. Leaves out: pruning, defaulting and everything that needs more than one field (see `validate-*`).
 */
import { type Path, type Report, show } from "./issue.ts";

export type Schema =
  | { readonly type: "any" | "bool" | "int-or-string" | "quantity" | "number" }
  | { readonly type: "string"; readonly oneOf?: readonly string[] }
  | { readonly type: "int"; readonly min?: number; readonly max?: number }
  | { readonly type: "object"; readonly fields: Fields; readonly required: readonly string[] }
  | { readonly type: "list"; readonly of: Schema }
  | { readonly type: "map"; readonly of: Schema };
export type Fields = Readonly<Record<string, Schema>>;

export const any: Schema = { type: "any" };
export const bool: Schema = { type: "bool" };
export const str: Schema = { type: "string" };
export const int: Schema = { type: "int" };
export const num: Schema = { type: "number" };
export const intOrString: Schema = { type: "int-or-string" };
export const quantity: Schema = { type: "quantity" };
/** A mapping of which nothing is looked at. */
export const opaque: Schema = { type: "map", of: any };
export const port: Schema = { type: "int", min: 1, max: 65535 };
export const natural: Schema = { type: "int", min: 0 };

export function oneOf(...values: readonly string[]): Schema {
  return { type: "string", oneOf: values };
}
export function list(of: Schema): Schema {
  return { type: "list", of };
}
export function map(of: Schema): Schema {
  return { type: "map", of };
}
export function obj(fields: Fields, ...required: readonly string[]): Schema {
  return { type: "object", fields, required };
}

/** Compares a value with its schema; reports each field that differs. Unknown fields are warnings. */
export function walk(schema: Schema, value: unknown, path: Path, report: Report): void {
  if (value === undefined || value === null) return;
  switch (schema.type) {
    case "any":
      return;
    case "bool":
      if (typeof value !== "boolean") report("error", path, show(value), "true or false");
      return;
    case "string":
      if (typeof value !== "string") report("error", path, show(value), "a string");
      else if (schema.oneOf !== undefined && !schema.oneOf.includes(value))
        report("error", path, show(value), oneOfText(schema.oneOf));
      return;
    case "int":
      if (typeof value !== "number" || !Number.isInteger(value)) report("error", path, show(value), "an integer");
      else if (value < (schema.min ?? -Infinity) || value > (schema.max ?? Infinity))
        report("error", path, show(value), rangeText(schema.min, schema.max));
      return;
    case "number":
      if (typeof value !== "number") report("error", path, show(value), "a number");
      return;
    case "int-or-string":
      if (typeof value !== "string" && !(typeof value === "number" && Number.isInteger(value)))
        report("error", path, show(value), "an integer or a string");
      return;
    case "quantity":
      if (
        typeof value !== "number" &&
        !(typeof value === "string" && /^[+-]?[0-9.]+([eE][+-]?\d+|[numkKMGTPE]i?)?$/.test(value))
      )
        report("error", path, show(value), "a quantity such as 500m or 1Gi");
      return;
    case "list":
      if (!Array.isArray(value)) report("error", path, show(value), "a list");
      else for (let i = 0; i < value.length; i++) walk(schema.of, value[i], [...path, i], report);
      return;
    case "map":
      if (!isMapping(value)) report("error", path, show(value), "a mapping");
      else for (const key of Object.keys(value)) walk(schema.of, value[key], [...path, key], report);
      return;
    case "object":
      walkObject(schema.fields, schema.required, value, path, report);
  }
}

function walkObject(fields: Fields, required: readonly string[], value: unknown, path: Path, report: Report): void {
  if (!isMapping(value)) {
    report("error", path, show(value), "a mapping");
    return;
  }
  for (const key of Object.keys(value)) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (field === undefined) report("warning", [...path, key], "an unknown field", nearest(key, Object.keys(fields)));
    else if (field.type !== "any") walk(field, value[key], [...path, key], report);
  }
  for (const key of required)
    if (value[key] === undefined || value[key] === null)
      report("error", [...path, key], "nothing", "a value, it is required");
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function rangeText(min: number | undefined, max: number | undefined): string {
  return max === undefined ? `an integer of ${min} or more` : `an integer from ${min} to ${max}`;
}

/** The known field that the unknown one most likely means, else all of them when they are few. */
function nearest(key: string, known: readonly string[]): string {
  const lower = key.toLowerCase();
  const close =
    known.find((k) => k.toLowerCase() === lower) ?? known.find((k) => distance(k.toLowerCase(), lower) <= 2);
  if (close !== undefined) return `${close} perhaps`;
  return known.length <= 8 ? `one of ${[...known].sort().join(", ")}` : "a field of this kind";
}

/** Levenshtein's edit distance, for short words. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return 3;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(
        (row[j] ?? 0) + 1,
        (next[j - 1] ?? 0) + 1,
        (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
    row = next;
  }
  return row[b.length] ?? 3;
}

function oneOfText(values: readonly string[]): string {
  const named = values.filter((value) => value !== "").join(", ");
  return `one of ${named}${values.includes("") ? ", or nothing" : ""}`;
}
