// Builds dist/: the library as modules with types, the command as one file, and the CNI executables.
//   --command-only: just the command and the executables, without types (a second instead of several).
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { ensureInstalled, root, runOrExit } from "./ensure-installed.mjs";

ensureInstalled();
const { build } = await import("esbuild");
const dist = `${root}dist`;
const commandOnly = process.argv.includes("--command-only");

if (!commandOnly) {
  rmSync(dist, { recursive: true, force: true });
  runOrExit(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", "tsconfig.build.json"]);
}
mkdirSync(`${dist}/cni`, { recursive: true });

const common = { bundle: true, platform: "node", target: "node20", logLevel: "warning", absWorkingDir: root };
await build({
  ...common,
  entryPoints: ["cli/main.ts"],
  outfile: `${dist}/podwire.mjs`,
  format: "esm",
  // commander and pcap-parser are CommonJS: what they require of Node goes through this.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module";\nconst require = __createRequire(import.meta.url);',
  },
});

// CommonJS, so that an executable without an extension runs wherever it is copied to.
const plugin = `${dist}/cni/.podwire-cni.cjs`;
await build({
  ...common,
  entryPoints: ["cli/cni-plugin.ts"],
  outfile: plugin,
  format: "cjs",
  banner: { js: "#!/usr/bin/env node" },
});
const { pluginNames } = await import("./plugin-names.mjs");
const code = readFileSync(plugin);
rmSync(plugin);
writeFileSync(`${dist}/cni/package.json`, '{ "type": "commonjs" }\n');
for (const name of await pluginNames()) {
  writeFileSync(`${dist}/cni/${name}`, code);
  chmodSync(`${dist}/cni/${name}`, 0o755);
}
