/** The line of a field in JSON text (RFC 8259) that is known to be valid: a scan along the path, nothing is built. */

/** Line (from 1) of the deepest part of the path that exists. */
export function jsonLineOf(text: string, path: readonly (string | number)[]): number {
  let at = space(text, 0);
  let best = at;
  for (const part of path) {
    const found =
      text[at] === "{"
        ? member(text, at, String(part))
        : text[at] === "["
          ? element(text, at, Number(part))
          : undefined;
    if (found === undefined) break;
    best = found.mark;
    at = found.value;
  }
  let line = 1;
  for (let i = text.indexOf("\n"); i >= 0 && i < best; i = text.indexOf("\n", i + 1)) line++;
  return line;
}

type Found = { readonly mark: number; readonly value: number };

function member(text: string, open: number, name: string): Found | undefined {
  let at = space(text, open + 1);
  while (text[at] === '"') {
    const end = skip(text, at);
    const value = space(text, space(text, end) + 1);
    if (JSON.parse(text.slice(at, end)) === name) return { mark: at, value };
    at = space(text, skip(text, value));
    if (text[at] === ",") at = space(text, at + 1);
  }
  return undefined;
}

function element(text: string, open: number, index: number): Found | undefined {
  let at = space(text, open + 1);
  for (let i = 0; at < text.length && text[at] !== "]"; i++) {
    if (i === index) return { mark: at, value: at };
    at = space(text, skip(text, at));
    if (text[at] === ",") at = space(text, at + 1);
  }
  return undefined;
}

function space(text: string, from: number): number {
  let at = from;
  while (at < text.length && " \n\r\t".includes(text[at] ?? "")) at++;
  return at;
}

/** The end of the value that starts here. */
function skip(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const c = text[at];
    if (c === '"') {
      at++;
      while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
      if (depth === 0) return at + 1;
    } else if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") {
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (c === "," || c === "\n" || c === " " || c === "\r" || c === "\t")) return at;
  }
  return text.length;
}
