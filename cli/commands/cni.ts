/** `podwire cni install DIR`: put the plugin executables where a runtime looks for them. */
import { chmodSync, copyFileSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { OK, UsageError } from "../exit.ts";

export function cniCommand(end: (code: number) => void): Command {
  const cni = new Command("cni").description("the CNI plugins as executables");
  cni.addCommand(
    new Command("install")
      .description("copy the plugin executables into a directory, such as /opt/cni/bin")
      .argument("<dir>")
      .action((dir: string) => end(install(dir))),
  );
  return cni;
}

/** Each file is written under another name and then moved, so that a runtime never starts half of one. */
function install(dir: string): number {
  const from = fileURLToPath(new URL("./cni/", import.meta.url));
  let names: string[];
  try {
    names = readdirSync(from).filter((name) => !name.includes("."));
  } catch (cause) {
    throw new UsageError(`${from}: no executables; run \`npm run build\` first`, { cause });
  }
  try {
    mkdirSync(dir, { recursive: true });
    for (const name of names) {
      const temporary = join(dir, `.${name}.new`);
      copyFileSync(join(from, name), temporary);
      chmodSync(temporary, 0o755);
      renameSync(temporary, join(dir, name));
    }
  } catch (cause) {
    throw new UsageError(`${dir}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  process.stdout.write(`${names.sort().join(" ")} in ${dir}\n`);
  return OK;
}
