/** The lock between real processes, some of which are killed while they hold it. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";

const ROUNDS = 60;
const PROCESSES = 8;

let dir = "";
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "podwire-lock-"));
  await build({
    stdin: {
      contents: `
        import { appendFileSync } from "node:fs";
        import { FileLock, lockHost } from "./file-lock.ts";
        const [dir, dies] = [process.argv[2], Number(process.argv[3])];
        const lock = new FileLock(dir + "/podwire.lock", lockHost((ms) => new Promise((resolve) => setTimeout(resolve, ms))));
        const note = (word) => appendFileSync(dir + "/log", word + " " + process.pid + "\\n");
        (async () => {
          for (let i = 0; i < ${ROUNDS}; i++) await lock.run(async () => {
            note("enter");
            await new Promise((resolve) => setImmediate(resolve));
            if (i === dies) { note("die"); process.kill(process.pid, "SIGKILL"); }
            note("leave");
          });
        })();`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    platform: "node",
    format: "cjs",
    outfile: join(dir, "holder.cjs"),
    logLevel: "error",
  });
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function start(dies: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(dir, "holder.cjs"), dir, String(dies)], { stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (_, signal) => resolve(signal));
  });
}

it("lets one process in at a time, and goes on when a holder is killed", async () => {
  // half of the processes die, each in another round
  const signals = await Promise.all(Array.from({ length: PROCESSES }, (_, i) => start(i % 2 === 0 ? 5 + 7 * i : -1)));
  expect(signals.filter((signal) => signal === "SIGKILL")).toHaveLength(PROCESSES / 2);

  let inside: string | undefined;
  let left = 0;
  for (const line of readFileSync(join(dir, "log"), "utf8").trim().split("\n")) {
    const [word, pid] = line.split(" ");
    if (word === "enter") {
      expect(inside).toBeUndefined();
      inside = pid;
    } else {
      expect(inside).toBe(pid);
      inside = undefined;
      if (word === "leave") left++;
    }
  }
  // 4 processes leave every round, the others as many rounds as they lived
  expect(left).toBe(4 * ROUNDS + 5 + 19 + 33 + 47);
});
