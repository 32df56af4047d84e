/** Runs the command as a user does, from the checkout's root. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

export type Run = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export function podwire(args: readonly string[], input = ""): Run {
  const { status, stdout, stderr } = spawnSync(`${ROOT}podwire`, args, { cwd: ROOT, encoding: "utf8", input });
  return { code: status, stdout, stderr };
}
