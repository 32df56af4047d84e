/** Files of an emulated node: paths to texts. */
import type { Files } from "./host.ts";

export class MemoryFiles implements Files {
  readonly #texts = new Map<string, string>();

  async read(path: string): Promise<string | undefined> {
    return this.#texts.get(path);
  }

  async write(path: string, text: string): Promise<void> {
    this.#texts.set(path, text);
  }

  async remove(path: string): Promise<void> {
    this.#texts.delete(path);
  }

  async list(dir: string): Promise<readonly string[]> {
    const prefix = dir.endsWith("/") ? dir : `${dir}/`;
    const names = new Set<string>();
    for (const path of this.#texts.keys()) {
      if (path.startsWith(prefix)) names.add(path.slice(prefix.length).split("/", 1)[0] ?? "");
    }
    return [...names].sort();
  }
}
