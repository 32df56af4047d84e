/** Runs a plugin executable found in CNI_PATH as a child process. */
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { join } from "node:path";
import { BAD_PLUGIN, CniError } from "./error.ts";
import type { Exec, ExecOutcome, ExecRequest } from "./host.ts";

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function find(type: string, path: string): Promise<string> {
  if (type === "" || type.includes("/")) throw new CniError(BAD_PLUGIN, `type: found "${type}", expected a file name`);
  for (const dir of path.split(":")) {
    if (dir === "") continue;
    const file = join(dir, type);
    if (await isExecutable(file)) return file;
  }
  throw new CniError(BAD_PLUGIN, `plugin "${type}": not found in ${path === "" ? "CNI_PATH, which is empty" : path}`);
}

export class ChildExec implements Exec {
  async run(request: ExecRequest): Promise<ExecOutcome> {
    const file = await find(request.type, request.path);
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
