/**
 * The ceremony of a plugin executable, once for all: variables and stdin to `CmdArgs`, version agreement, dispatch, and
 * the answer on stdout (CNI specification 1.1.0, sections 2 and 5).
 */
import type { Owner } from "../../ipam/lease.ts";
import { BAD_ENV, BAD_JSON, BAD_NETNS, CniError, errorJson, toCniError } from "./error.ts";
import { badField, Fields, isObject } from "./fields.ts";
import type { ExecOutcome, PluginHost } from "./host.ts";
import { formatResult, parseResult } from "./result.ts";
import type { CmdArgs, Command, Json, JsonObject, Plugin, Result } from "./types.ts";
import { isSupported, LATEST_VERSION, requireCommand, requireSupported, SUPPORTED_VERSIONS } from "./version.ts";

export type Env = Readonly<Record<string, string | undefined>>;

/** The variables that a command cannot do without. */
const REQUIRED: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  GC: ["CNI_PATH"],
  STATUS: [],
  VERSION: [],
};
const COMMANDS: readonly string[] = Object.keys(REQUIRED);
const ID_TEXT = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const IFNAME_MAX = 15;

function isCommand(text: string): text is Command {
  return COMMANDS.includes(text);
}

export function isContainerId(text: string): boolean {
  return ID_TEXT.test(text);
}

export function isIfname(text: string): boolean {
  return (
    text !== "" &&
    new TextEncoder().encode(text).length <= IFNAME_MAX &&
    text !== "." &&
    text !== ".." &&
    !/[\s/:]/.test(text)
  );
}

function checkEnv(command: Command, env: Env): void {
  const missing = REQUIRED[command].filter((name) => (env[name] ?? "") === "");
  if (missing.length > 0) throw new CniError(BAD_ENV, `${command}: missing ${missing.join(", ")}`);
  const needed = REQUIRED[command];
  const id = env.CNI_CONTAINERID ?? "";
  if (needed.includes("CNI_CONTAINERID") && !isContainerId(id)) {
    throw new CniError(
      BAD_ENV,
      `CNI_CONTAINERID: found "${id}", expected letters, digits, "_", "." and "-", the first a letter or digit`,
    );
  }
  const ifname = env.CNI_IFNAME ?? "";
  if (needed.includes("CNI_IFNAME") && !isIfname(ifname)) {
    throw new CniError(
      BAD_ENV,
      `CNI_IFNAME: found "${ifname}", expected 1 to ${IFNAME_MAX} octets without "/", ":" and white space`,
    );
  }
}

function parseConf(stdin: string): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(stdin) as Json;
  } catch (error) {
    throw new CniError(BAD_JSON, "stdin: not JSON", (error as Error).message, { cause: error });
  }
  if (!isObject(value)) throw new CniError(BAD_JSON, "stdin: not a JSON object");
  return value;
}

function parseName(fields: Fields): string {
  const name = fields.raw("name");
  if (typeof name === "string" && ID_TEXT.test(name)) return name;
  throw fields.bad("name", 'letters, digits, "_", "." and "-", the first a letter or digit');
}

function parsePrevResult(command: Command, conf: JsonObject, host: PluginHost): Result | undefined {
  const value = conf.prevResult ?? undefined;
  if (value === undefined) {
    if (command === "CHECK") throw badField("prevResult", undefined, "the result of ADD");
    return undefined;
  }
  try {
    return parseResult(value, "prevResult");
  } catch (error) {
    if (command !== "DEL") throw error;
    // DEL cleans up as much as it can
    host.warn(`DEL goes on without prevResult: ${(error as Error).message}`);
    return undefined;
  }
}

function parseValidAttachments(fields: Fields): readonly Owner[] {
  const key = "cni.dev/valid-attachments";
  if (fields.raw(key) === undefined) throw fields.bad(key, "a list of attachments");
  return fields.objects(key).map((item) => ({
    containerId: item.needText("containerID", "a container id"),
    ifname: item.needText("ifname", "the name of an interface"),
  }));
}

function plainEnv(env: Env): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

async function argsOf(
  command: Command,
  env: Env,
  stdin: string,
  conf: JsonObject,
  cniVersion: string,
  host: PluginHost,
): Promise<CmdArgs> {
  const fields = new Fields(conf);
  const netns = env.CNI_NETNS ?? "";
  if ((command === "ADD" || command === "CHECK") && !/^(?:1|true)$/i.test(env.CNI_NETNS_OVERRIDE ?? "")) {
    if (await host.isOwnNetns(netns)) {
      throw new CniError(
        BAD_NETNS,
        `CNI_NETNS: found "${netns}", the namespace of the host itself, expected a sandbox`,
      );
    }
  }
  return {
    command,
    containerId: env.CNI_CONTAINERID ?? "",
    netns,
    ifname: env.CNI_IFNAME ?? "",
    args: env.CNI_ARGS ?? "",
    path: env.CNI_PATH ?? "",
    env: plainEnv(env),
    stdin,
    conf,
    name: parseName(fields),
    cniVersion,
    prevResult:
      command === "ADD" || command === "DEL" || command === "CHECK" ? parsePrevResult(command, conf, host) : undefined,
    validAttachments: command === "GC" ? parseValidAttachments(fields) : [],
  };
}

async function dispatch(plugin: Plugin, args: CmdArgs, host: PluginHost): Promise<string> {
  switch (args.command) {
    case "ADD":
      return `${JSON.stringify(formatResult(await plugin.add(args, host), args.cniVersion))}\n`;
    case "DEL":
      await plugin.del(args, host);
      return "";
    case "CHECK":
      await plugin.check(args, host);
      return "";
    case "GC":
      await plugin.gc(args, host);
      return "";
    case "STATUS":
      await plugin.status(args, host);
      return "";
    case "VERSION":
      return "";
  }
}

/** VERSION needs no stdin; what it is given, it echoes. */
function versionAnswer(stdin: string): string {
  const asked = stdin.trim() === "" ? undefined : new Fields(parseConf(stdin)).text("cniVersion");
  return `${JSON.stringify({ cniVersion: asked ?? LATEST_VERSION, supportedVersions: SUPPORTED_VERSIONS })}\n`;
}

function aboutText(plugin: Plugin): string {
  return `${plugin.name}: ${plugin.about}\nCNI versions: ${SUPPORTED_VERSIONS.join(", ")}\nstarted by a container runtime, with CNI_COMMAND and the configuration on stdin\n`;
}

/** Runs one call of a plugin. Never throws: a failure is an exit code and an error object on stdout. */
export async function runPlugin(plugin: Plugin, env: Env, stdin: string, host: PluginHost): Promise<ExecOutcome> {
  let cniVersion = LATEST_VERSION;
  try {
    const command = env.CNI_COMMAND ?? "";
    if (command === "") return { exitCode: 0, stdout: "", stderr: aboutText(plugin) };
    if (!isCommand(command)) {
      throw new CniError(BAD_ENV, `CNI_COMMAND: found "${command}", expected one of ${COMMANDS.join(", ")}`);
    }
    if (command === "VERSION") return { exitCode: 0, stdout: versionAnswer(stdin), stderr: "" };
    // the environment first: its errors need no readable configuration
    checkEnv(command, env);
    const conf = parseConf(stdin);
    const asked = new Fields(conf).text("cniVersion");
    if (asked !== undefined && isSupported(asked)) cniVersion = asked;
    requireSupported(asked);
    requireCommand(cniVersion, command);
    const args = await argsOf(command, env, stdin, conf, cniVersion, host);
    return { exitCode: 0, stdout: await dispatch(plugin, args, host), stderr: "" };
  } catch (error) {
    const failure = toCniError(error);
    return { exitCode: 1, stdout: `${errorJson(failure, cniVersion)}\n`, stderr: "" };
  }
}
