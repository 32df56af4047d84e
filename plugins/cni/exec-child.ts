/** Runs a plugin executable found in CNI_PATH as a child process. */
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import { BAD_PLUGIN, CniError } from "./error.ts";
import type { Exec, ExecOutcome, ExecRequest } from "./host.ts";

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The file of a plugin, by the first directory that has it. Throws CniError. */
export function findPlugin(type: string, path: string): string {
  if (type === "" || type.includes("/")) throw new CniError(BAD_PLUGIN, `type: found "${type}", expected a file name`);
  for (const dir of path.split(":")) {
    if (dir === "") continue;
    const file = join(dir, type);
    if (isExecutable(file)) return file;
  }
  throw new CniError(BAD_PLUGIN, `plugin "${type}": not found in ${path === "" ? "CNI_PATH, which is empty" : path}`);
}

export class ChildExec implements Exec {
  async run(request: ExecRequest): Promise<ExecOutcome> {
    const file = findPlugin(request.type, request.path);
    // most plugins start no other
    const { spawn } = await import("node:child_process");
    return new Promise((resolve, reject) => {
      const child = spawn(file, [], { env: request.env, stdio: ["pipe", "pipe", "pipe"] });
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      child.on("error", (error) => {
        reject(
          new CniError(BAD_PLUGIN, `plugin "${request.type}": cannot be started`, error.message, { cause: error }),
        );
      });
      child.on("close", (code, signal) => {
        if (signal !== null) stderr += `ended by ${signal}\n`;
        resolve({ exitCode: code ?? 128, stdout, stderr });
      });
      // a plugin may answer without reading its input
      child.stdin.on("error", () => {});
      child.stdin.end(request.stdin);
    });
  }
}
