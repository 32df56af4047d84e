// Builds dist/: the library as modules with types, the command as one file, and the CNI executables: compiled by Bun where
// it is installed (dist/cni), and as scripts for Node with the same behaviour (dist/cni-node).
//   --command-only: just the command and the executables, without types (a second instead of several).
import { rmSync } from "node:fs";
import { ensureInstalled, root, runOrExit } from "./ensure-installed.mjs";

ensureInstalled();
const { build } = await import("esbuild");
const dist = `${root}dist`;
const commandOnly = process.argv.includes("--command-only");

if (!commandOnly) {
  rmSync(dist, { recursive: true, force: true });
  runOrExit(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", "tsconfig.build.json"]);
}

const common = { bundle: true, platform: "node", target: "node20", logLevel: "warning", absWorkingDir: root };
await build({
  ...common,
  entryPoints: ["cli/main.ts"],
  outfile: `${dist}/podwire.mjs`,
  external: ["koffi"],
  format: "esm",
  // commander and pcap-parser are CommonJS: what they require of Node goes through this.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module";\nconst require = __createRequire(import.meta.url);',
  },
});

const { buildCni } = await import("./build-cni.mjs");
await buildCni(dist);
