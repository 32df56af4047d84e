/**
 * A file's text as documents, and where each field of a document stands.
 *
 * Values are read first and fast; lines only when somebody asks, by reading the one document again. Numbers and words
 * are read as kubectl reads them (YAML 1.1 without sexagesimal numbers and timestamps: `on` is true, 0644 is octal).
 */
import { LineCounter, parseDocument, type Tags, type Document as YamlDocument } from "yaml";
import type { Path } from "../api/issue.ts";
import { InputError } from "./input-error.ts";
import { jsonLineOf } from "./json-lines.ts";
import { type LineMap, parsePlainYaml } from "./plain-yaml.ts";

type Reading = "plain" | "json" | "yaml";

export class ManifestDocument {
  readonly file: string;
  readonly value: unknown;
  /** Line of the document's first field, from 1. */
  readonly line: number;
  readonly #text: string;
  /** How many lines of the file stand before the text. */
  readonly #offset: number;
  readonly #reading: Reading;
  #find: ((path: Path) => number) | undefined;

  constructor(file: string, text: string, offset: number) {
    this.file = file;
    this.#text = text;
    this.#offset = offset;
    [this.#reading, this.value] = this.#read();
    this.line = offset + 1 + (/^(?:[ \t]*(?:#.*)?\r?\n)*/.exec(text)?.[0].split("\n").length ?? 1) - 1;
  }

  /** The file's line of a field, or of the nearest thing around it that exists. */
  lineOf(path: Path): number {
    this.#find ??= this.#finder();
    return this.#offset + this.#find(path);
  }

  #read(): [Reading, unknown] {
    if (/^\s*[{[]/.test(this.#text)) {
      try {
        return ["json", JSON.parse(this.#text)];
      } catch {
        // Flow YAML, or broken: the full parser says which.
      }
    }
    const plain = parsePlainYaml(this.#text);
    if (plain !== undefined) return ["plain", plain.value];
    const { doc, lines } = this.#parse();
    const error = doc.errors[0];
    if (error !== undefined) {
      const line = lines.linePos(error.pos[0]).line;
      const found = error.message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "") ?? "";
      throw new InputError(
        { file: this.file, line: this.#offset + line, field: "YAML", found: lowerFirst(found), expected: "valid YAML" },
        { cause: error },
      );
    }
    return ["yaml", this.#toValue(doc)];
  }

  #toValue(doc: YamlDocument): unknown {
    try {
      return doc.toJS({ maxAliasCount: 1000 });
    } catch (error) {
      const found = error instanceof Error ? lowerFirst(error.message) : String(error);
      throw new InputError(
        { file: this.file, line: this.#offset + 1, field: "YAML", found, expected: "aliases that can be resolved" },
        { cause: error },
      );
    }
  }

  #parse(): { readonly doc: YamlDocument; readonly lines: LineCounter } {
    const lines = new LineCounter();
    const doc = parseDocument(this.#text, {
      lineCounter: lines,
      version: "1.1",
      customTags: withoutTimes,
      prettyErrors: false,
      logLevel: "silent",
    });
    return { doc, lines };
  }

  #finder(): (path: Path) => number {
    if (this.#reading === "json") return (path) => jsonLineOf(this.#text, path);
    if (this.#reading === "plain") {
      const map: LineMap = new Map();
      const root = parsePlainYaml(this.#text, map)?.value;
      const first = this.line - this.#offset;
      return (path) => plainLine(map, root, path, first);
    }
    const { doc, lines } = this.#parse();
    return (path) => yamlLine(doc, lines, path);
  }
}

function plainLine(map: LineMap, root: unknown, path: Path, first: number): number {
  let line = first;
  let value = root;
  for (const part of path) {
    if (typeof value !== "object" || value === null) break;
    const next = map.get(value)?.get(part);
    if (next === undefined) break;
    line = next;
    value = (value as Record<string | number, unknown>)[part];
  }
  return line;
}

function yamlLine(doc: YamlDocument, lines: LineCounter, path: Path): number {
  for (let depth = path.length; depth > 0; depth--) {
    const key = path[depth - 1];
    const parent: unknown = depth === 1 ? doc.contents : doc.getIn(path.slice(0, depth - 1), true);
    const items = (parent as { items?: readonly unknown[] } | null | undefined)?.items;
    if (items === undefined) continue;
    const item =
      typeof key === "number"
        ? items[key]
        : items.map((i) => (i as { key?: { value?: unknown } }).key).find((k) => String(k?.value) === key);
    const range = (item as { range?: readonly number[] } | undefined)?.range;
    if (range?.[0] !== undefined) return lines.linePos(range[0]).line;
  }
  const start = (doc.contents as { range?: readonly number[] } | null)?.range?.[0] ?? 0;
  return lines.linePos(start).line;
}

function withoutTimes(tags: Tags): Tags {
  return tags.filter(
    (t) => typeof t === "string" || !(t.tag.endsWith(":timestamp") || t.format === "TIME" || t.tag.endsWith(":binary")),
  );
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, "");
}

/** Splits at `---` and `...` lines (YAML 1.2, 9.1.2); empty documents are left out. */
export function splitDocuments(file: string, text: string): readonly ManifestDocument[] {
  const out: ManifestDocument[] = [];
  const body = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  let start = 0;
  let line = 0;
  const flush = (end: number): void => {
    const part = body.slice(start, end);
    if (/^(?:[ \t]*(?:#.*|%.*)?\r?(?:\n|$))*$/.test(part)) return;
    const doc = new ManifestDocument(file, part.replace(/^%.*$/gm, ""), line);
    if (doc.value !== null && doc.value !== undefined) out.push(doc);
  };
  let counted = 0;
  const marker = /^(?:---(?=\s|$)|\.\.\.(?=\s|$))/gm;
  for (let m = marker.exec(body); m !== null; m = marker.exec(body)) {
    flush(m.index);
    start = m.index + 3;
    for (let i = body.indexOf("\n", counted); i >= 0 && i < start; i = body.indexOf("\n", i + 1)) {
      line++;
      counted = i + 1;
    }
  }
  flush(body.length);
  return out;
}
