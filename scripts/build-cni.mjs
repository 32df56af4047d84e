// The CNI executables: compiled by Bun where it is installed (cni), and as scripts for Node with the same behaviour
// (cni-node). Run by itself it builds them alone: node scripts/build-cni.mjs [DIR]
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { root } from "./ensure-installed.mjs";
import { pluginNames } from "./plugin-names.mjs";

const common = { bundle: true, platform: "node", target: "node20", logLevel: "warning", absWorkingDir: root };

/** Leaves `cni` and `cni-node` in the directory. */
export async function buildCni(dist) {
  const names = await pluginNames();
  await buildCompiled(dist, names, await buildScripts(dist, names));
}

/** Node's: CommonJS, so that a file without an extension runs wherever it is copied to, and koffi's binary beside it. */
async function buildScripts(dist, names) {
  const dir = `${dist}/cni-node`;
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const [first, ...others] = names;
  await build({
    ...common,
    entryPoints: ["cli/cni-plugin.ts"],
    outfile: `${dir}/${first}`,
    format: "cjs",
    external: ["koffi"],
    banner: { js: "#!/usr/bin/env node" },
  });
  chmodSync(`${dir}/${first}`, 0o755);
  for (const name of others) linkSync(`${dir}/${first}`, `${dir}/${name}`);
  writeFileSync(`${dir}/package.json`, '{ "type": "commonjs" }\n');
  const koffi = koffiBinary();
  if (koffi !== undefined) copyFileSync(koffi, `${dir}/.podwire-koffi.node`);
  return dir;
}

function koffiBinary() {
  const target = `${process.platform}_${process.arch}`;
  const path = `${root}node_modules/@koromix/koffi-${target.replace("_", "-")}/${target}/koffi.node`;
  return existsSync(path) ? path : undefined;
}

/** Bun's binary as npm installs it: its package has no install script for that to need. */
function bunBinary() {
  if (process.platform !== "linux") return undefined;
  const arch = process.arch === "arm64" ? "aarch64" : process.arch;
  const path = `${root}node_modules/@oven/bun-linux-${arch}/bin/bun`;
  return existsSync(path) && spawnSync(path, ["--revision"]).status === 0 ? path : undefined;
}

/** One executable under each plugin's name; without Bun the scripts take their place. */
async function buildCompiled(dist, names, scripts) {
  const dir = `${dist}/cni`;
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const bun = bunBinary();
  if (bun === undefined) {
    for (const name of readdirSync(scripts)) linkSync(`${scripts}/${name}`, `${dir}/${name}`);
    console.warn("dist/cni: no Bun here to compile with, so the CNI executables are scripts for Node");
    return;
  }
  const bundle = `${dir}/.cni.cjs`;
  const program = `${dir}/.podwire-cni`;
  await build({
    ...common,
    entryPoints: ["cli/cni-compiled.ts"],
    outfile: bundle,
    format: "cjs",
    minify: true,
    external: ["koffi"],
  });
  const flags = [
    "--compile",
    "--bytecode",
    "--external",
    "koffi",
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    // a plugin is over before compiled code would pay: a sixth less of its CPU time
    "--compile-jit-policy=1000",
  ];
  const { status, stderr } = spawnSync(bun, ["build", ...flags, bundle, "--outfile", program], { encoding: "utf8" });
  rmSync(bundle);
  if (status !== 0) {
    console.error(`dist/cni: Bun cannot compile the CNI executable: ${stderr}`);
    process.exit(1);
  }
  for (const name of names) linkSync(program, `${dir}/${name}`);
  rmSync(program);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildCni(process.argv[2] ?? `${root}dist`);
