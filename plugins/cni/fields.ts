/**
 * Reading configuration: typed fields of a JSON object, with errors that say field, what was found, what was expected.
 * Unknown keys are nobody's error: the specification lets runtimes and other plugins add their own.
 */
import { BAD_CONFIG, CniError } from "./error.ts";
import type { Json, JsonObject } from "./types.ts";

const LONGEST_SHOWN = 80;

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

export function badField(field: string, found: unknown, expected: string): CniError {
  return new CniError(BAD_CONFIG, `${field}: found ${show(found)}, expected ${expected}`);
}

export class Fields {
  readonly value: JsonObject;
  readonly #path: string;

  constructor(value: JsonObject, path: string = "") {
    this.value = value;
    this.#path = path;
  }

  path(key: string): string {
    return this.#path === "" ? key : `${this.#path}.${key}`;
  }

  /** null reads as absent, as Go's decoder has it. */
  raw(key: string): Json | undefined {
    return Object.hasOwn(this.value, key) ? (this.value[key] ?? undefined) : undefined;
  }

  bad(key: string, expected: string): CniError {
    return badField(this.path(key), this.raw(key), expected);
  }

  text(key: string): string | undefined {
    const value = this.raw(key);
    if (value === undefined || typeof value === "string") return value;
    throw this.bad(key, "text");
  }

  /** Text that may not be empty. */
  needText(key: string, expected: string): string {
    const value = this.raw(key);
    if (typeof value === "string" && value !== "") return value;
    throw this.bad(key, expected);
  }

  flag(key: string): boolean | undefined {
    const value = this.raw(key);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.bad(key, "true or false");
  }

  int(key: string, min: number, max: number): number | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.bad(key, `a whole number from ${min} to ${max}`);
  }

  object(key: string): Fields | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (isObject(value)) return new Fields(value, this.path(key));
    throw this.bad(key, "an object");
  }

  list(key: string): readonly Json[] {
    const value = this.raw(key);
    if (value === undefined) return [];
    if (Array.isArray(value)) return value as readonly Json[];
    throw this.bad(key, "a list");
  }

  objects(key: string): readonly Fields[] {
    return this.list(key).map((item, i) => {
      const path = `${this.path(key)}[${i}]`;
      if (isObject(item)) return new Fields(item, path);
      throw badField(path, item, "an object");
    });
  }

  texts(key: string): readonly string[] {
    return this.list(key).map((item, i) => {
      if (typeof item === "string") return item;
      throw badField(`${this.path(key)}[${i}]`, item, "text");
    });
  }
}
