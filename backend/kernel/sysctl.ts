/** sysctl(8) keys as files of /proc/sys. The part below net/ is that of the namespace that the thread is in. */
import { readFileSync, writeFileSync } from "node:fs";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";

function pathOf(key: string): string {
  // a `/` in a key stands for a dot in the name of a device
  const parts = key.split(".").map((part) => part.replaceAll("/", "."));
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    throw new NetlinkError("EINVAL", `sysctl ${key}`);
  return `/proc/sys/${parts.join("/")}`;
}

function failure(key: string, cause: unknown): NetlinkError {
  const code = (cause as NodeJS.ErrnoException).code ?? "EIO";
  return new NetlinkError(code, `sysctl ${key}: ${code}`, null, { cause });
}

/** Undefined where there is no such key. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(pathOf(key), "utf8").trim();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw failure(key, cause);
  }
}

/** Throws ENOENT where there is no such key. */
export function writeSysctl(key: string, value: string): void {
  try {
    writeFileSync(pathOf(key), value, { flag: "r+" });
  } catch (cause) {
    throw failure(key, cause);
  }
}
