/** Files of the machine. A write makes a file beside the target, flushes it and renames it over. */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
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
      return await readFile(path, "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async write(path: string, text: string, mode: number = 0o644): Promise<void> {
    await mkdir(dirname(path), { recursive: true, mode: mode === 0o600 ? 0o700 : 0o755 });
    const draft = `${path}.${process.pid}.${++this.#drafts}.draft`;
    try {
      const file = await open(draft, "w", mode);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  }

  async remove(path: string): Promise<void> {
    await rm(path, { force: true });
  }

  async list(dir: string): Promise<readonly string[]> {
    try {
      return (await readdir(dir)).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}
