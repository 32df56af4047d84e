/** A child process in a network namespace that answers lines: each command waits for its answer. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Lines that `other` takes are no answers. */
export class LineProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: { resolve(line: string): void; reject(error: Error): void }[] = [];
  readonly #exited: Promise<void>;
  #stderr = "";

  constructor(ns: string, argv: readonly string[], other: (line: string) => boolean) {
    this.#child = spawn("ip", ["netns", "exec", ns, ...argv]);
    this.#exited = new Promise((resolve) => this.#child.once("close", () => resolve()));
    this.#child.stderr.on("data", (data) => {
      this.#stderr += data;
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      if (other(line)) return;
      const next = this.#waiting.shift();
      if (line.startsWith("error ")) next?.reject(new Error(line.slice(6)));
      else next?.resolve(line);
    });
    void this.#exited.then(() => {
      for (const w of this.#waiting.splice(0)) w.reject(new Error(`${argv[0]} ended: ${this.#stderr}`));
    });
  }

  answer(): Promise<string> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  ask(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    return this.answer();
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 2_000);
    await this.#exited;
    clearTimeout(timer);
  }
}
