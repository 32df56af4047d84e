/** `podwire cni`: put the plugin executables where a runtime looks for them, and see whether plugins keep to the rules. */
import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { KOFFI_BESIDE } from "../../backend/kernel/ffi.ts";
import { PLUGINS } from "../../plugins/registry.ts";
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
      .option("--skip <tag...>", "requirements to leave out: the name of a plugin, gc, status, nftables, vlan")
      .action(async (dir: string, flags: { readonly skip?: readonly string[] }) => {
        // koffi is loaded where it is needed, and nowhere else
        const { conformance } = await import("./cni-conformance.ts");
        end(await conformance(dir, flags.skip ?? []));
      }),
  );
  return cni;
}

/** The native part of koffi for this machine, as npm installed it; the package itself carries none. */
function koffiBinary(): string | undefined {
  const target = `${process.platform}_${process.arch}`;
  try {
    const koffi = createRequire(import.meta.url).resolve("koffi");
    return createRequire(koffi).resolve(`@koromix/koffi-${target.replace("_", "-")}/${target}/koffi.node`);
  } catch {
    return undefined;
  }
}

/**
 * One program, linked under each plugin's name. It is written under another name and then moved, so that a runtime never
 * starts half of one.
 */
function install(dir: string, node: boolean): number {
  const from = fileURLToPath(new URL(node ? "./cni-node/" : "./cni/", import.meta.url));
  const plugins = Object.keys(PLUGINS).sort();
  // npm unpacks no links: of the plugins of a package one is there
  const program = plugins.map((name) => join(from, name)).find((file) => existsSync(file));
  if (program === undefined) {
    const way = node ? "in the directory of podwire" : "in a checkout, or take the scripts with --node";
    throw new UsageError(`${from}: found no executables, expected those of \`npm run build\` ${way}`);
  }
  try {
    mkdirSync(dir, { recursive: true });
    const put = (name: string, make: (file: string) => void): void => {
      const temporary = join(dir, `.${name}.new`);
      rmSync(temporary, { force: true });
      make(temporary);
      chmodSync(temporary, 0o755);
      renameSync(temporary, join(dir, name));
    };
    // scripts call native code through koffi
    const native = [join(from, KOFFI_BESIDE), node ? koffiBinary() : undefined].find(
      (f) => f !== undefined && existsSync(f),
    );
    if (native !== undefined) put(KOFFI_BESIDE, (file) => copyFileSync(native, file));
    const [first = "", ...others] = plugins;
    put(first, (file) => copyFileSync(program, file));
    for (const name of others) put(name, (file) => linkSync(join(dir, first), file));
  } catch (cause) {
    throw new UsageError(`${dir}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  process.stdout.write(`${plugins.join(" ")} in ${dir}\n`);
  return OK;
}
