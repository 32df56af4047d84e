/**
 * Network configuration lists (CNI specification 1.1.0, section 1): parsed, checked, and found in a directory as
 * runtimes do (`*.conflist`, and single configurations `*.conf` and `*.json` of versions before 1.0.0).
 */
import { BAD_JSON, CniError } from "./error.ts";
import { badField, Fields, isObject } from "./fields.ts";
import type { Files } from "./host.ts";
import type { Json, JsonObject } from "./types.ts";
import { atLeast, isSupported, isVersionText, requireSupported, SUPPORTED_VERSIONS } from "./version.ts";

export type PluginConf = {
  readonly type: string;
  readonly conf: JsonObject;
  /** Capabilities that the configuration turns on: what may stand in runtimeConfig. */
  readonly capabilities: readonly string[];
};
export type Conflist = {
  readonly name: string;
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  readonly plugins: readonly PluginConf[];
  /** The text that it came from, for the runtime's cache. */
  readonly text: string;
};

const NAME_TEXT = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const NAME_WORDS = 'letters, digits, "_", "." and "-", the first a letter or digit';

/** Adds the file to an error, as its first word. */
function inFile<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof CniError) || file === "") throw error;
    throw new CniError(error.code, `${file}: ${error.msg}`, error.details, { cause: error });
  }
}

function parseJson(text: string): Fields {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new CniError(BAD_JSON, `not JSON: ${(error as Error).message}`, "", { cause: error });
  }
  if (!isObject(value))
    throw new CniError(BAD_JSON, `found ${Array.isArray(value) ? "a list" : typeof value}, expected a JSON object`);
  return new Fields(value);
}

/** A flag that older lists write as text. */
function flagOrText(fields: Fields, key: string): boolean {
  const value = fields.raw(key);
  if (value === "true") return true;
  if (value === "false") return false;
  return fields.flag(key) ?? false;
}

function parseName(fields: Fields): string {
  const name = fields.raw("name");
  if (typeof name === "string" && NAME_TEXT.test(name)) return name;
  throw fields.bad("name", NAME_WORDS);
}

/** `cniVersions` (1.1.0) offers a choice: the newest that we speak wins. */
function parseVersion(fields: Fields): string {
  const offered = fields.texts("cniVersions");
  for (const [i, version] of offered.entries()) {
    if (!isVersionText(version)) throw badField(`cniVersions[${i}]`, version, "a version such as 1.0.0");
  }
  const single = fields.text("cniVersion");
  if (single !== undefined && !isVersionText(single)) throw fields.bad("cniVersion", "a version such as 1.0.0");
  const all = single === undefined ? offered : [single, ...offered];
  const spoken = SUPPORTED_VERSIONS.filter((version) => all.includes(version));
  return spoken[spoken.length - 1] ?? requireSupported(all[0]);
}

function parsePlugin(fields: Fields): PluginConf {
  const type = fields.needText("type", "the name of a plugin");
  if (type.includes("/")) throw fields.bad("type", "the name of a plugin, not a path");
  const capabilities = fields.object("capabilities");
  return {
    type,
    conf: fields.value,
    capabilities: Object.keys(capabilities?.value ?? {}).filter((key) => capabilities?.flag(key) === true),
  };
}

/** Parses a list; `file` stands in errors. */
export function parseConflist(text: string, file: string = ""): Conflist {
  return inFile(file, () => {
    const fields = parseJson(text);
    const cniVersion = parseVersion(fields);
    const name = parseName(fields);
    if (fields.raw("plugins") === undefined) {
      throw fields.bad(
        "plugins",
        fields.raw("type") === undefined ? "a list of plugins" : "a list of plugins; this is a single configuration",
      );
    }
    const plugins = fields.objects("plugins").map(parsePlugin);
    if (plugins.length === 0) throw fields.bad("plugins", "at least one plugin");
    return {
      name,
      cniVersion,
      disableCheck: flagOrText(fields, "disableCheck"),
      disableGc: flagOrText(fields, "disableGC"),
      plugins,
      text,
    };
  });
}

/** Parses a single configuration as a list of one; 1.0.0 and newer do not have them. */
export function parseSingleConf(text: string, file: string = ""): Conflist {
  return inFile(file, () => {
    const fields = parseJson(text);
    const cniVersion = requireSupported(fields.text("cniVersion"));
    if (isSupported(cniVersion) && atLeast(cniVersion, "1.0.0")) {
      throw badField("plugins", undefined, `a list of plugins, as version ${cniVersion} has no single configurations`);
    }
    return {
      name: parseName(fields),
      cniVersion,
      disableCheck: false,
      disableGc: false,
      plugins: [parsePlugin(fields)],
      text,
    };
  });
}

/** The lists of a directory in the order of their file names; a runtime takes the first. */
export async function loadConflists(files: Files, dir: string): Promise<readonly Conflist[]> {
  const lists: Conflist[] = [];
  for (const name of await files.list(dir)) {
    if (!/\.(?:conflist|conf|json)$/.test(name)) continue;
    const text = await files.read(`${dir}/${name}`);
    if (text === undefined) continue;
    lists.push(name.endsWith(".conflist") ? parseConflist(text, name) : parseSingleConf(text, name));
  }
  return lists;
}
