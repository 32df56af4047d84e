/**
 * Files of the machine. A write makes a file beside the target, flushes it and renames it over. All of it blocks: a plugin
 * has nothing else to do meanwhile, and the promises of the file system cost a plugin more than the files do.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Files } from "./host.ts";

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
}

export class NodeFiles implements Files {
  #drafts = 0;

  async read(path: string): Promise<string | undefined> {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async write(path: string, text: string, mode: number = 0o644): Promise<void> {
    mkdirSync(dirname(path), { recursive: true, mode: mode === 0o600 ? 0o700 : 0o755 });
    const draft = `${path}.${process.pid}.${++this.#drafts}.draft`;
    try {
      const file = openSync(draft, "w", mode);
      try {
        writeFileSync(file, text);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(draft, path);
    } catch (error) {
      rmSync(draft, { force: true });
      throw error;
    }
  }

  async remove(path: string): Promise<void> {
    rmSync(path, { force: true });
  }

  async list(dir: string): Promise<readonly string[]> {
    try {
      return readdirSync(dir).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}
