/** What to take back when a call fails, in reverse. A failure to undo is told and does not hide the first one. */
export class Undo {
  readonly #steps: (() => Promise<void>)[] = [];
  readonly #warn: (text: string) => void;

  constructor(warn: (text: string) => void) {
    this.#warn = warn;
  }

  push(step: () => Promise<void>): void {
    this.#steps.push(step);
  }

  /** Runs the work; if it throws, undoes what was pushed and throws the same. */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      for (const step of this.#steps.reverse()) {
        try {
          await step();
        } catch (second) {
          this.#warn(`undo: ${(second as Error).message}`);
        }
      }
      throw error;
    }
  }
}
