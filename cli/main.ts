/** The command `podwire`: one verb a file in `commands/`, all registered here. */
import { Command, CommanderError } from "commander";
import { InputError } from "../cluster/manifests/input-error.ts";
import { AddrError } from "../dataplane/wire/addr-error.ts";
import { CaptureError } from "../dataplane/wire/capture-file.ts";
import { benchCommand } from "./commands/bench.ts";
import { captureCommand } from "./commands/capture.ts";
import { cniCommand } from "./commands/cni.ts";
import { execCommand } from "./commands/exec.ts";
import { explainCommand } from "./commands/explain.ts";
import { netnsCommand } from "./commands/netns.ts";
import { proxyCommand } from "./commands/proxy.ts";
import { testCommand } from "./commands/test.ts";
import { traceCommand } from "./commands/trace.ts";
import { upCommand } from "./commands/up.ts";
import { BAD_INPUT, OK, UsageError } from "./exit.ts";

const VERSION = "0.1.0";

/** Runs the command line and answers the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  let code = OK;
  const end = (status: number): void => {
    code = status;
  };
  const program = new Command("podwire")
    .description("Kubernetes networking that you can run, trace and test in one process, byte for byte")
    .version(VERSION)
    .exitOverride()
    .addCommand(traceCommand(end))
    .addCommand(testCommand(end))
    .addCommand(upCommand(end))
    .addCommand(captureCommand(end))
    .addCommand(execCommand(end))
    .addCommand(explainCommand(end))
    .addCommand(proxyCommand(end))
    .addCommand(benchCommand(end))
    .addCommand(cniCommand(end))
    .addCommand(netnsCommand(end));
  for (const command of allCommands(program)) {
    command.exitOverride().configureOutput({ outputError: (text, write) => write(oneLine(text)) });
  }
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? OK : BAD_INPUT;
    if (isInputError(error)) {
      process.stderr.write(`podwire: ${error.message}\n`);
      return BAD_INPUT;
    }
    throw error;
  }
}

function isInputError(error: unknown): error is Error {
  return (
    error instanceof UsageError ||
    error instanceof InputError ||
    error instanceof CaptureError ||
    error instanceof AddrError
  );
}

/** commander says "error: unknown option"; one line in our words is enough. */
function oneLine(text: string): string {
  return `podwire: ${text.replace(/^error: /, "").split("\n")[0]}\n`;
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

// A reader that has seen enough, such as head(1), ends the run quietly.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(OK);
});

process.exitCode = await main(process.argv.slice(2));
