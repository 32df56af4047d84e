/** The versions of the CNI specification that the suite speaks, and what came with which. */
import { CniError, INCOMPATIBLE_VERSION } from "./error.ts";

export const SUPPORTED_VERSIONS: readonly string[] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
export const LATEST_VERSION = "1.1.0";

export function isSupported(version: string): boolean {
  return SUPPORTED_VERSIONS.includes(version);
}

/** Of two supported versions. */
export function atLeast(version: string, other: string): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(other);
}

const VERSION_TEXT = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/;
export function isVersionText(text: string): boolean {
  return VERSION_TEXT.test(text);
}

/** An absent version means 0.2.0, which is older than what we speak. */
export function requireSupported(version: string | undefined, where: string = "cniVersion"): string {
  if (version !== undefined && isSupported(version)) return version;
  const found = version === undefined ? "nothing (which means 0.2.0)" : `"${version}"`;
  throw new CniError(
    INCOMPATIBLE_VERSION,
    `${where}: found ${found}, expected one of ${SUPPORTED_VERSIONS.join(", ")}`,
  );
}

/** The first version whose specification has the command. */
const SINCE: Readonly<Record<string, string>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

export function hasCommand(version: string, command: string): boolean {
  const since = SINCE[command];
  return since === undefined || atLeast(version, since);
}

export function requireCommand(version: string, command: string): void {
  if (hasCommand(version, command)) return;
  throw new CniError(
    INCOMPATIBLE_VERSION,
    `cniVersion: found "${version}", expected ${SINCE[command]} or newer for ${command}`,
  );
}
