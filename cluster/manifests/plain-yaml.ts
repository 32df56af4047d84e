/**
 * A reader for the plain part of YAML that nearly all manifests are written in: block mappings and sequences, plain and
 * quoted scalars on one line, flow collections on one line. Ten to twenty times as fast as a full parser, which matters
 * at ten thousand Services.
 *
 * It never guesses: whatever it does not know for certain (anchors, tags, block scalars, tabs, duplicate keys, scalars
 * over several lines, odd numbers) makes it return undefined, and the `yaml` package reads the document instead.
 * It reads what that package reads, or nothing; a test compares the two.
 */

/** For each mapping and list, the line of each of its entries. */
export type LineMap = Map<object, Map<string | number, number>>;

type Line = { indent: number; start: number; end: number; readonly number: number };

const KEY = /(?:([A-Za-z_./][\w./-]*)|"([^"\\\n]*)"|'([^'\n]*)') *:(?= |$)/my;
const DOUBLE = /"(?:[^"\\\n]|\\["\\/ntr])*"/y;
const SINGLE = /'(?:[^'\n]|'')*'/y;
const WORDS: ReadonlyMap<string, boolean | null> = new Map<string, boolean | null>([
  ...["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"].map((w) => [w, true] as const),
  ...["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"].map((w) => [w, false] as const),
  ...["null", "Null", "NULL", "~"].map((w) => [w, null] as const),
]);
const INTEGER = /^(?:0|-?[1-9]\d{0,14})$/;
const CERTAIN_STRING = /^(?:\d+\.\d+\.\d+(?:\.\d+(?:\/\d+)?)?|[1-9]\d*(?:m|k|Ki|Mi|Gi|Ti|s|h|M|G)|[/]\S*)$/;

class Unsure extends Error {}

function unsure(): never {
  throw new Unsure("not plain");
}

/** Reads one document (without its `---`), or returns undefined if it is not plain. */
export function parsePlainYaml(text: string, lines?: LineMap): { readonly value: unknown } | undefined {
  if (/[\t\r\u0085\u2028\u2029\ufeff]/.test(text)) return undefined;
  try {
    return { value: new Reader(text, lines).read() };
  } catch (error) {
    if (error instanceof Unsure) return undefined;
    throw error;
  }
}

class Reader {
  readonly #text: string;
  readonly #lines: Line[] = [];
  readonly #map: LineMap | undefined;
  #at = 0;

  constructor(text: string, map: LineMap | undefined) {
    this.#text = text;
    this.#map = map;
    let number = 1;
    for (let start = 0; start < text.length; number++) {
      let end = text.indexOf("\n", start);
      if (end < 0) end = text.length;
      let first = start;
      while (first < end && text.charCodeAt(first) === 32) first++;
      if (first < end && text.charCodeAt(first) !== 35) {
        let last = end;
        while (last > first && text.charCodeAt(last - 1) === 32) last--;
        this.#lines.push({ indent: first - start, start: first, end: last, number });
      }
      start = end + 1;
    }
  }

  read(): unknown {
    const first = this.#lines[0];
    if (first === undefined) return null;
    const value = this.#node(first.indent);
    if (this.#at < this.#lines.length) unsure();
    return value;
  }

  #node(indent: number): unknown {
    const line = this.#lines[this.#at];
    if (line === undefined || line.indent !== indent) unsure();
    if (this.#isItem(line)) return this.#sequence(indent);
    if (this.#key(line.start) !== undefined) return this.#mapping(indent);
    return unsure();
  }

  #isItem(line: Line): boolean {
    return (
      this.#text.charCodeAt(line.start) === 45 &&
      (line.end === line.start + 1 || this.#text.charCodeAt(line.start + 1) === 32)
    );
  }

  #key(at: number): { readonly name: string; readonly after: number } | undefined {
    KEY.lastIndex = at;
    const m = KEY.exec(this.#text);
    if (m === null) return undefined;
    const plain = m[1];
    if (plain !== undefined && (WORDS.has(plain) || plain.startsWith("."))) unsure();
    const name = plain ?? m[2] ?? m[3] ?? "";
    if (name === "__proto__") unsure();
    return { name, after: KEY.lastIndex };
  }

  #mapping(indent: number): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    const numbers = this.#track(out);
    for (;;) {
      const line = this.#lines[this.#at];
      if (line === undefined || line.indent < indent) return out;
      if (line.indent > indent) unsure();
      if (this.#isItem(line)) return out;
      const key = this.#key(line.start);
      if (key === undefined || Object.hasOwn(out, key.name)) unsure();
      numbers?.set(key.name, line.number);
      out[key.name] = this.#valueAfter(key.after, line, indent, true);
    }
  }

  #sequence(indent: number): unknown[] {
    const out: unknown[] = [];
    const numbers = this.#track(out);
    for (;;) {
      const line = this.#lines[this.#at];
      if (line === undefined || line.indent < indent) return out;
      if (line.indent > indent) unsure();
      if (!this.#isItem(line)) return out;
      numbers?.set(out.length, line.number);
      let at = line.start + 1;
      while (at < line.end && this.#text.charCodeAt(at) === 32) at++;
      const c = this.#text.charCodeAt(at);
      if (at < line.end && c === 45 && (at + 1 === line.end || this.#text.charCodeAt(at + 1) === 32)) unsure();
      if (at < line.end && c !== 35 && this.#key(at) !== undefined) {
        line.indent += at - line.start;
        line.start = at;
        out.push(this.#mapping(line.indent));
      } else out.push(this.#valueAfter(line.start + 1, line, indent, false));
    }
  }

  /** The value after `key:` or `-`: on the same line, or the block below it. */
  #valueAfter(from: number, line: Line, indent: number, inMapping: boolean): unknown {
    let at = from;
    while (at < line.end && this.#text.charCodeAt(at) === 32) at++;
    this.#at++;
    const next = this.#lines[this.#at];
    if (at >= line.end || (this.#text.charCodeAt(at) === 35 && at > from)) {
      if (next === undefined) return null;
      if (next.indent > indent) return this.#node(next.indent);
      return inMapping && next.indent === indent && this.#isItem(next) ? this.#sequence(indent) : null;
    }
    if (next !== undefined && next.indent > indent) unsure();
    const [value, end] = this.#inline(at, line, false);
    this.#nothingElse(end, line);
    return value;
  }

  /** A scalar or flow collection at a place, and where it ends. */
  #inline(at: number, line: Line, inFlow: boolean): readonly [unknown, number] {
    const text = this.#text;
    switch (text[at]) {
      case '"':
        DOUBLE.lastIndex = at;
        if (!DOUBLE.test(text)) unsure();
        return [JSON.parse(text.slice(at, DOUBLE.lastIndex)) as string, DOUBLE.lastIndex];
      case "'":
        SINGLE.lastIndex = at;
        if (!SINGLE.test(text)) unsure();
        return [text.slice(at + 1, SINGLE.lastIndex - 1).replaceAll("''", "'"), SINGLE.lastIndex];
      case "[":
        return this.#flowList(at, line);
      case "{":
        return this.#flowMapping(at, line);
      default:
        return this.#plain(at, line, inFlow);
    }
  }

  #plain(at: number, line: Line, inFlow: boolean): readonly [unknown, number] {
    const text = this.#text;
    let end = at;
    for (; end < line.end; end++) {
      const c = text.charCodeAt(end);
      if (c === 35 && text.charCodeAt(end - 1) === 32) break; // " #"
      if (c === 58 && (end + 1 === line.end || text.charCodeAt(end + 1) === 32)) unsure(); // ": "
      if (inFlow && (c === 44 || c === 93 || c === 125)) break; // , ] }
      if (inFlow && (c === 91 || c === 123 || c === 58)) unsure();
    }
    let last = end;
    while (last > at && text.charCodeAt(last - 1) === 32) last--;
    return [resolvePlain(text.slice(at, last)), end];
  }

  #flowList(from: number, line: Line): readonly [unknown, number] {
    const out: unknown[] = [];
    const numbers = this.#track(out);
    let at = this.#skip(from + 1, line);
    while (this.#text[at] !== "]") {
      numbers?.set(out.length, line.number);
      const [value, end] = this.#inline(at, line, true);
      out.push(value);
      at = this.#separator(end, line, "]");
    }
    return [out, at + 1];
  }

  #flowMapping(from: number, line: Line): readonly [unknown, number] {
    const out: Record<string, unknown> = {};
    const numbers = this.#track(out);
    let at = this.#skip(from + 1, line);
    while (this.#text[at] !== "}") {
      const key = this.#key(at);
      if (key === undefined || key.after >= line.end || Object.hasOwn(out, key.name)) unsure();
      numbers?.set(key.name, line.number);
      const [value, end] = this.#inline(this.#skip(key.after, line), line, true);
      out[key.name] = value;
      at = this.#separator(end, line, "}");
    }
    return [out, at + 1];
  }

  #separator(from: number, line: Line, close: string): number {
    const at = this.#skip(from, line);
    if (this.#text[at] === close) return at;
    if (this.#text[at] !== ",") unsure();
    return this.#skip(at + 1, line);
  }

  /** The next character that is no space; a flow collection must end on its line. */
  #skip(from: number, line: Line): number {
    let at = from;
    while (at < line.end && this.#text.charCodeAt(at) === 32) at++;
    if (at >= line.end) unsure();
    return at;
  }

  #nothingElse(from: number, line: Line): void {
    let at = from;
    while (at < line.end && this.#text.charCodeAt(at) === 32) at++;
    if (at < line.end && !(this.#text.charCodeAt(at) === 35 && this.#text.charCodeAt(at - 1) === 32)) unsure();
  }

  #track(of: object): Map<string | number, number> | undefined {
    if (this.#map === undefined) return undefined;
    const numbers = new Map<string | number, number>();
    this.#map.set(of, numbers);
    return numbers;
  }
}

function resolvePlain(text: string): unknown {
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  const c = text.charCodeAt(0);
  const letter = (c >= 65 && c <= 90) || (c >= 97 && c <= 122);
  if (letter) return text;
  if (INTEGER.test(text)) return Number(text);
  if (CERTAIN_STRING.test(text)) return text;
  return unsure();
}
