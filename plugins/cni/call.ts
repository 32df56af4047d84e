/** One call of a plugin seen from the caller: run it, understand its answer or its error. */
import { BAD_PLUGIN, CniError, EXISTS } from "./error.ts";
import { isObject } from "./fields.ts";
import type { Exec, ExecRequest, PluginHost } from "./host.ts";
import { parseResult } from "./result.ts";
import type { CmdArgs, Command, Json, Result } from "./types.ts";
import type { Undo } from "./undo.ts";

function jsonOf(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function errorOf(type: string, exitCode: number, stdout: string, stderr: string): CniError {
  const value = jsonOf(stdout);
  if (isObject(value) && typeof value.code === "number") {
    const text = (key: string): string => (typeof value[key] === "string" ? value[key] : "");
    return new CniError(value.code, text("msg"), text("details"));
  }
  const details = [stdout.trim(), stderr.trim()].filter((part) => part !== "").join("; ");
  return new CniError(BAD_PLUGIN, `plugin "${type}": exit code ${exitCode} without an error object`, details);
}

/** Runs a plugin and returns what it printed; throws the error that it reported, with its code. */
export async function call(exec: Exec, request: ExecRequest, warn: (text: string) => void): Promise<string> {
  const { exitCode, stdout, stderr } = await exec.run(request);
  if (exitCode !== 0) throw errorOf(request.type, exitCode, stdout, stderr);
  if (stderr !== "") warn(stderr.trimEnd());
  return stdout;
}

/** The result of an ADD, which must be in the asked version. */
export async function callAdd(
  exec: Exec,
  request: ExecRequest,
  cniVersion: string,
  warn: (text: string) => void,
): Promise<Result> {
  const stdout = await call(exec, request, warn);
  const value = jsonOf(stdout);
  if (!isObject(value))
    throw new CniError(BAD_PLUGIN, `plugin "${request.type}": its answer is not a JSON object`, stdout.trim());
  if (value.cniVersion !== cniVersion) {
    throw new CniError(
      BAD_PLUGIN,
      `plugin "${request.type}": answered in version ${JSON.stringify(value.cniVersion)}, expected ${cniVersion}`,
    );
  }
  return parseResult(value, `plugin "${request.type}"`);
}

/** A delegate gets the environment and the configuration of its caller, the command and the text if they differ. */
export function delegateRequest(
  type: string,
  args: CmdArgs,
  command: Command = args.command,
  stdin: string = args.stdin,
): ExecRequest {
  return { type, path: args.path, env: { ...args.env, CNI_COMMAND: command }, stdin };
}

/**
 * The addresses of an IPAM plugin, which are given back if this call fails, also by a DEL after a failed ADD of it
 * (specification, section 4). Not where it refused because the attachment has addresses: those are another call's.
 */
export async function addresses(type: string, args: CmdArgs, host: PluginHost, undo: Undo): Promise<Result> {
  const warn = (text: string): void => host.warn(text);
  let foreign = false;
  undo.push(async () => {
    if (!foreign) await call(host.exec, delegateRequest(type, args, "DEL"), warn);
  });
  try {
    const result = await callAdd(host.exec, delegateRequest(type, args), args.cniVersion, warn);
    if (result.ips.length === 0) throw new CniError(BAD_PLUGIN, `plugin "${type}": gave no address`);
    return result;
  } catch (error) {
    foreign = error instanceof CniError && error.code === EXISTS;
    throw error;
  }
}
