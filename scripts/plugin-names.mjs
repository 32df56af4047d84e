// The names under which the CNI executable is installed: those of plugins/registry.ts.
import { build } from "esbuild";
import { root } from "./ensure-installed.mjs";

export async function pluginNames() {
  const { outputFiles } = await build({
    stdin: {
      contents: 'import { PLUGINS } from "./plugins/registry.ts"; export const names = Object.keys(PLUGINS);',
      resolveDir: root,
    },
    bundle: true,
    platform: "node",
    format: "esm",
    write: false,
    logLevel: "error",
  });
  const url = `data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`;
  return (await import(url)).names;
}
