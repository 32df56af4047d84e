/** `podwire cni`: put the plugin executables where a runtime looks for them, and see whether plugins keep to the rules. */
import { chmodSync, copyFileSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { KOFFI_BESIDE } from "../../backend/kernel/ffi.ts";
import { OK, UsageError } from "../exit.ts";

export function cniCommand(end: (code: number) => void): Command {
  const cni = new Command("cni").description("the CNI plugins as executables");
  cni.addCommand(
    new Command("install")
      .description("copy the plugin executables into a directory, such as /opt/cni/bin")
      .argument("<dir>")
      .option("--node", "the scripts for Node, in the place of the compiled executable")
      .action((dir: string, flags: { readonly node?: boolean }) => end(install(dir, flags.node === true))),
  );
  cni.addCommand(
    new Command("conformance")
      .description(
        "whether the plugins in a directory, anyone's, keep to the CNI specification; prints TAP, needs root",
      )
      .argument("<dir>")
      .option("--skip <tag...>", "requirements to leave out: the name of a plugin, gc, status")
      .action(async (dir: string, flags: { readonly skip?: readonly string[] }) => {
        // koffi is loaded where it is needed, and nowhere else
        const { conformance } = await import("./cni-conformance.ts");
        end(await conformance(dir, flags.skip ?? []));
      }),
  );
  return cni;
}

/**
 * Each file is written under another name and then moved, so that a runtime never starts half of one. Files that are one
 * (the compiled executable has all plugins in it) are one again.
 */
function install(dir: string, node: boolean): number {
  const from = fileURLToPath(new URL(node ? "./cni-node/" : "./cni/", import.meta.url));
  let names: string[];
  try {
    names = readdirSync(from).filter((name) => !name.includes(".") || name === KOFFI_BESIDE);
  } catch (cause) {
    throw new UsageError(`${from}: no executables; run \`npm run build\` first`, { cause });
  }
  try {
    mkdirSync(dir, { recursive: true });
    const installed = new Map<number, string>();
    for (const name of names) {
      const temporary = join(dir, `.${name}.new`);
      const { ino } = statSync(join(from, name));
      const same = installed.get(ino);
      rmSync(temporary, { force: true });
      if (same === undefined) copyFileSync(join(from, name), temporary);
      else linkSync(same, temporary);
      chmodSync(temporary, 0o755);
      renameSync(temporary, join(dir, name));
      installed.set(ino, join(dir, name));
    }
  } catch (cause) {
    throw new UsageError(`${dir}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const plugins = names.filter((name) => name !== KOFFI_BESIDE);
  process.stdout.write(`${plugins.sort().join(" ")} in ${dir}\n`);
  return OK;
}
