/**
 * The options that a rule gives to one of its modules: collected by name while the rule is read, then asked for by the
 * module. Numbers are read as strtoul(3) with base 0 reads them.
 */
import { serviceByName } from "./services.ts";

/** How many arguments an option takes. A name may have several spellings: `aliases` gives the one that counts. */
export type OptionSpec = { readonly args: number; readonly not?: boolean; readonly as?: string };
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type Given = { readonly values: readonly string[]; readonly not: boolean };

/** Says what is wrong; the caller knows the line. */
export class OptionError extends Error {
  readonly module: string;
  /** The line where that is another than the one being read; 0 if it is not. */
  readonly line: number;
  /** It is a match, a target or an option that we do not have; the real tools may. */
  readonly unknown: boolean;

  constructor(module: string, reason: string, more: { readonly line?: number; readonly unknown?: boolean } = {}) {
    super(reason);
    this.module = module;
    this.line = more.line ?? 0;
    this.unknown = more.unknown ?? false;
  }
}

export class Options {
  readonly module: string;
  readonly #given: Map<string, Given> = new Map();
  /** Protocol of the rule, 0 if none is named (or it is negated); the table; set once the whole rule was read. */
  proto = 0;
  table = "";
  /** The rule is one of ip6tables. */
  six = false;
  /** All that was given, as text. */
  given = "";

  constructor(module: string) {
    this.module = module;
  }

  add(name: string, values: readonly string[], not: boolean): void {
    if (this.#given.has(name)) this.fail(`option ${name} is given twice`);
    this.#given.set(name, { values, not });
    this.given += `${not ? " ! " : " "}${name} ${values.join(" ")}`;
  }

  fail(reason: string): never {
    throw new OptionError(this.module, reason);
  }

  has(name: string): boolean {
    return this.#given.has(name);
  }

  not(name: string): boolean {
    return this.#given.get(name)?.not ?? false;
  }

  /** An argument of an option; undefined where the option is absent. */
  text(name: string, index = 0): string | undefined {
    return this.#given.get(name)?.values[index];
  }

  /** An argument that must be there. */
  need(name: string, index = 0): string {
    return this.text(name, index) ?? this.fail(`option ${name} is required`);
  }

  /** Exactly one of several options. */
  one(names: readonly string[]): string {
    const given = names.filter((n) => this.#given.has(n));
    const name = given[0];
    if (name === undefined || given.length > 1) return this.fail(`one of ${names.join(", ")} is required`);
    return name;
  }

  number(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : this.parse(name, text, min, max);
  }

  parse(name: string, text: string, min: number, max: number): number {
    const n = parseNumber(text);
    if (n === undefined || n < min || n > max)
      this.fail(`option ${name}: "${text}" is not a number from ${min} to ${max}`);
    return n;
  }

  /** "VALUE" or "VALUE/MASK", both 32 bits, unsigned. */
  masked(name: string): { value: number; mask: number } {
    const text = this.need(name);
    const slash = text.indexOf("/");
    if (slash < 0) return { value: this.parse(name, text, 0, 0xffffffff), mask: 0xffffffff };
    return {
      value: this.parse(name, text.slice(0, slash), 0, 0xffffffff),
      mask: this.parse(name, text.slice(slash + 1), 0, 0xffffffff),
    };
  }

  port(name: string, text: string): number {
    const n = parseNumber(text) ?? serviceByName(text);
    if (n === undefined || n > 0xffff) this.fail(`option ${name}: "${text}" is not a port`);
    return n;
  }

  /** "PORT" or "FROM:TO", either end may be left out. */
  ports(name: string): { min: number; max: number } | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const colon = text.indexOf(":");
    if (colon < 0) {
      const port = this.port(name, text);
      return { min: port, max: port };
    }
    const from = text.slice(0, colon);
    const to = text.slice(colon + 1);
    const min = from === "" ? 0 : this.port(name, from);
    const max = to === "" ? 0xffff : this.port(name, to);
    if (min > max) this.fail(`option ${name}: ${text} ends before it begins`);
    return { min, max };
  }

  /** The rule must be for one of these protocols. */
  needProto(protocols: readonly number[], what: string): void {
    if (!protocols.includes(this.proto)) this.fail(`needs ${what}`);
  }
}

/** Decimal, 0x hexadecimal or 0 octal; undefined for anything else. */
export function parseNumber(text: string): number | undefined {
  if (/^(?:0|[1-9][0-9]*|0x[0-9a-f]+)$/i.test(text)) return Number(text);
  if (/^0[0-7]+$/.test(text)) return Number.parseInt(text, 8);
  return undefined;
}

/** As xtables_save_string: quoted unless it is plain, with `"`, `\` and `'` escaped. */
export function quote(text: string): string {
  if (/^[0-9A-Za-z_-]+$/.test(text)) return text;
  return `"${text.replace(/["\\']/g, "\\$&")}"`;
}

export function hex(n: number): string {
  return `0x${(n >>> 0).toString(16)}`;
}

/** " --name value", or " ! --name value". */
export function opt(not: boolean, name: string, value: string | number): string {
  return `${not ? " !" : ""} ${name} ${value}`;
}

export function portRange(r: { readonly min: number; readonly max: number }): string {
  return r.min === r.max ? String(r.min) : `${r.min}:${r.max}`;
}
