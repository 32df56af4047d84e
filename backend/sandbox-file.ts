/**
 * The file that stands for an emulated sandbox where a runtime expects a namespace: one line of JSON,
 * `{"podwire":1,"socket":"/run/podwire/node-1.sock","netns":"/run/netns/pod-a"}`. Its path is CNI_NETNS.
 *
 * A namespace of the kernel (a file of nsfs, as under /proc/PID/ns and /run/netns) is told apart by its file system.
 */
import { readFileSync, statfsSync, statSync, writeFileSync } from "node:fs";

export const SANDBOX_FORMAT = 1;

export type SandboxFile = {
  /** The unix socket of the running emulator's node. */
  readonly socket: string;
  /** What that node calls the namespace. */
  readonly netns: string;
};
export type SandboxKind =
  | ({ readonly kind: "podwire" } & SandboxFile)
  | { readonly kind: "kernel" }
  | { readonly kind: "missing" };

/** statfs(2) types of what a bind-mounted or /proc namespace lives on: NSFS_MAGIC, PROC_SUPER_MAGIC. */
const NSFS_MAGIC = 0x6e736673;
const PROC_SUPER_MAGIC = 0x9fa0;
/** Larger files are something else; nobody reads a disk image to find out. */
const LARGEST = 64 * 1024;

export class SandboxFileError extends Error {
  override readonly name: string = "SandboxFileError";
}

export function formatSandboxFile(file: SandboxFile): string {
  return `${JSON.stringify({ podwire: SANDBOX_FORMAT, socket: file.socket, netns: file.netns })}\n`;
}

export function parseSandboxFile(text: string, path: string): SandboxFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SandboxFileError(`sandbox ${path}: neither a network namespace nor a podwire file`, { cause: error });
  }
  const record = (typeof value === "object" && value !== null ? value : {}) as { readonly [key: string]: unknown };
  const { podwire, socket, netns } = record;
  if (podwire !== SANDBOX_FORMAT) {
    throw new SandboxFileError(
      `sandbox ${path}: podwire: found ${JSON.stringify(podwire) ?? "nothing"}, expected ${SANDBOX_FORMAT}`,
    );
  }
  if (typeof socket !== "string" || !socket.startsWith("/")) {
    throw new SandboxFileError(
      `sandbox ${path}: socket: found ${JSON.stringify(socket) ?? "nothing"}, expected an absolute path`,
    );
  }
  if (typeof netns !== "string" || netns === "") {
    throw new SandboxFileError(`sandbox ${path}: netns: found ${JSON.stringify(netns) ?? "nothing"}, expected a name`);
  }
  return { socket, netns };
}

export async function writeSandboxFile(path: string, file: SandboxFile): Promise<void> {
  writeFileSync(path, formatSandboxFile(file), { mode: 0o600 });
}

/** Looks at a sandbox path and says what serves it. */
export async function readSandbox(path: string): Promise<SandboxKind> {
  try {
    const { type } = statfsSync(path);
    if (type === NSFS_MAGIC || type === PROC_SUPER_MAGIC) return { kind: "kernel" };
    const info = statSync(path);
    if (!info.isFile() || info.size > LARGEST) {
      throw new SandboxFileError(`sandbox ${path}: neither a network namespace nor a podwire file`);
    }
    return { kind: "podwire", ...parseSandboxFile(readFileSync(path, "utf8"), path) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return { kind: "missing" };
    throw error;
  }
}
