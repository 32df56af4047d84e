/** Running a tool of the host's, such as iptables-restore(8) or nft(8), in a namespace: one process, its whole output. */
import type { SpawnSyncReturns } from "node:child_process";
import { NetlinkError, type NetnsRef } from "../../dataplane/netns/rtnl-ops.ts";
import type { Namespaces } from "./namespaces.ts";

/** Rules of 10,000 services are some tens of megabytes. */
const LONGEST_OUTPUT = 512 * 1024 * 1024;

type Spawn = (
  command: string,
  args: readonly string[],
  options: { readonly input: string; readonly encoding: "utf8"; readonly maxBuffer: number },
) => SpawnSyncReturns<string>;

export type ToolCall = {
  readonly command: string;
  readonly args: readonly string[];
  readonly input?: string;
  /** Who wrote the input, for an error. */
  readonly source?: string | undefined;
};

/** What a tool means by its complaints. */
export type Explain = (stderr: string, input: string) => string;

export class ToolRunner {
  readonly #spaces: Namespaces;
  readonly #explain: Explain;
  #spawn: Spawn | undefined;

  constructor(spaces: Namespaces, explain: Explain) {
    this.#spaces = spaces;
    this.#explain = explain;
  }

  /** Loads what running a process needs, which costs an executable some of its start; before `run`. */
  async prepare(): Promise<void> {
    this.#spawn ??= (await import("node:child_process")).spawnSync as Spawn;
  }

  /** Answers the output. Throws NetlinkError: with the errno's name if the tool does not run, EINVAL if it complains. */
  run(netns: NetnsRef, { command, args, input = "", source }: ToolCall): string {
    const spawn = this.#spawn;
    if (spawn === undefined) throw new Error(`${command}: not prepared`);
    const result = this.#spaces.run(netns, () =>
      spawn(command, args, { input, encoding: "utf8", maxBuffer: LONGEST_OUTPUT }),
    );
    const by = source === undefined ? command : `${command} of ${source}`;
    if (result.error !== undefined) {
      const { code } = result.error as NodeJS.ErrnoException;
      throw new NetlinkError(code ?? "EIO", `${by}: ${code === "ENOENT" ? "no such command" : result.error.message}`);
    }
    if (result.status === 0) return result.stdout;
    const words = this.#explain(result.stderr, input);
    throw new NetlinkError("EINVAL", `${by}: ${words === "" ? `exit code ${result.status ?? result.signal}` : words}`);
  }
}
