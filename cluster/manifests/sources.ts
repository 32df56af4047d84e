/** Finding the files: a file, a directory (recursive, *.yaml *.yml *.json, sorted) or `-` for standard input. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "./input-error.ts";

export type Source = { readonly file: string; readonly text: string };

export const STDIN_NAME = "<stdin>";

/** Reads what `-f` names. `stdin` is called once at most, for `-`. */
export function readSources(paths: readonly string[], stdin: () => string): readonly Source[] {
  const out: Source[] = [];
  const seen = new Set<string>();
  for (const path of paths) {
    if (seen.has(path)) continue;
    seen.add(path);
    if (path === "-") out.push({ file: STDIN_NAME, text: stdin() });
    else if (isDirectory(path)) {
      const files = manifestsIn(path);
      if (files.length === 0)
        throw new InputError({
          file: path,
          line: 0,
          field: "directory",
          found: "no manifests",
          expected: "*.yaml, *.yml or *.json files",
        });
      for (const file of files) out.push(read(file));
    } else out.push(read(path));
  }
  return out;
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw unreadable(path, error);
  }
}

function manifestsIn(directory: string): readonly string[] {
  const out: string[] = [];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() || (entry.isSymbolicLink() && statSync(path).isDirectory())) out.push(...manifestsIn(path));
    else if (/\.(?:ya?ml|json)$/.test(entry.name)) out.push(path);
  }
  return out.sort((a, b) => (a < b ? -1 : 1));
}

function read(file: string): Source {
  try {
    return { file, text: readFileSync(file, "utf8") };
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): InputError {
  const code = (error as { code?: string }).code;
  const found =
    code === "ENOENT" ? "nothing" : code === "EACCES" ? "a file that may not be read" : (code ?? String(error));
  return new InputError(
    { file, line: 0, field: "file", found, expected: "a file or a directory of manifests" },
    { cause: error },
  );
}
