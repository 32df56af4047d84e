/** Runs the plugins of the suite in this process, through `skel.ts` like an executable; others by the fallback. */
import { BAD_PLUGIN, CniError } from "./error.ts";
import type { Exec, ExecOutcome, ExecRequest, PluginHost } from "./host.ts";
import { runPlugin } from "./skel.ts";
import { type PluginSet, pluginNamed } from "./types.ts";

export class InProcessExec implements Exec {
  readonly #plugins: PluginSet;
  readonly #host: () => PluginHost;
  readonly #fallback: Exec | undefined;

  /** The host is asked for at each call, since it holds this Exec itself. */
  constructor(plugins: PluginSet, host: () => PluginHost, fallback?: Exec) {
    this.#plugins = plugins;
    this.#host = host;
    this.#fallback = fallback;
  }

  async run(request: ExecRequest): Promise<ExecOutcome> {
    const plugin = pluginNamed(this.#plugins, request.type);
    if (plugin !== undefined) return runPlugin(plugin, request.env, request.stdin, this.#host());
    if (this.#fallback !== undefined) return this.#fallback.run(request);
    throw new CniError(
      BAD_PLUGIN,
      `plugin "${request.type}": not built in, expected one of ${Object.keys(this.#plugins).join(", ")}`,
    );
  }
}
