/**
 * The network namespaces that a backend works in: entering one for a moment, a netlink socket in each, making and
 * removing named ones (namespaces(7), setns(2), ip-netns(8)).
 *
 * Entering concerns this thread, and only until the function returns: it never awaits, so nothing else of this program
 * runs inside. If the way back fails the process cannot go on safely, and that error wins over all others.
 */
import { closeSync, fstatSync, mkdirSync, openSync, rmSync, statfsSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { AttrStream } from "netlink/dist/structs.js";
import { NetlinkError, type NetnsRef } from "../../dataplane/netns/rtnl-ops.ts";
import { kernelError } from "./errno.ts";
import type { Libc } from "./ffi.ts";
import { NetlinkSocket } from "./netlink-socket.ts";

const OWN = "/proc/thread-self/ns/net";
const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 4096;
const MNT_DETACH = 2;
const NSFS_MAGIC = 0x6e73_6673;

type Space = { readonly fd: number; readonly inode: number; socket: NetlinkSocket | undefined };

export type NamespaceOptions = {
  /** The path of what "host" means; without it the namespace that this process is in. */
  readonly host?: string;
  /** Where `add` puts namespaces. */
  readonly dir?: string;
};

export class Namespaces {
  readonly #libc: Libc;
  readonly #host: string | undefined;
  readonly #dir: string;
  readonly #spaces = new Map<string, Space>();
  #own: number | undefined;
  /** Where this thread is now: a path, or undefined for its own namespace. */
  #inside: string | undefined;

  constructor(libc: Libc, options: NamespaceOptions = {}) {
    this.#libc = libc;
    this.#host = options.host;
    this.#dir = options.dir ?? "/run/netns";
  }

  #pathOf(netns: NetnsRef): string {
    return netns === "host" ? (this.#host ?? OWN) : netns;
  }

  #space(netns: NetnsRef): Space {
    const path = this.#pathOf(netns);
    const known = this.#spaces.get(path);
    // another namespace may have come to the path since
    if (known !== undefined && (path === OWN || inodeOf(path) === known.inode)) return known;
    this.#forget(path);
    const fd = openNamespace(path);
    const space = { fd, inode: fstatSync(fd).ino, socket: undefined };
    this.#spaces.set(path, space);
    return space;
  }

  /** A descriptor of the namespace, for messages that name it. */
  fd(netns: NetnsRef): number {
    return this.#space(netns).fd;
  }

  socket(netns: NetnsRef): NetlinkSocket {
    const space = this.#space(netns);
    space.socket ??= this.run(netns, () => new NetlinkSocket(this.#libc, AttrStream));
    return space.socket;
  }

  /** A socket of another protocol, for once. */
  withSocket<T>(netns: NetnsRef, protocol: number, work: (socket: NetlinkSocket) => T): T {
    const socket = this.run(netns, () => new NetlinkSocket(this.#libc, AttrStream, protocol));
    try {
      return work(socket);
    } finally {
      socket.close();
    }
  }

  /** Runs the work inside the namespace. */
  run<T>(netns: NetnsRef, work: () => T): T {
    const path = this.#pathOf(netns);
    if (path === (this.#inside ?? OWN)) return work();
    const { fd } = this.#space(netns);
    const before = this.#inside;
    this.#own ??= openNamespace(OWN);
    this.#enter(fd, path);
    this.#inside = path;
    try {
      return work();
    } finally {
      const back = before === undefined ? this.#own : (this.#spaces.get(before)?.fd ?? this.#own);
      this.#enter(back, before ?? OWN);
      this.#inside = before;
    }
  }

  #enter(fd: number, path: string): void {
    if (this.#libc.setns(fd, CLONE_NEWNET) < 0) throw kernelError(this.#libc.errno(), `namespace ${path}`);
  }

  has(path: string): boolean {
    try {
      return statfsSync(path).type === NSFS_MAGIC;
    } catch {
      return false;
    }
  }

  add(name: string): string {
    if (!/^[\w][\w.-]*$/.test(name)) throw new NetlinkError("EINVAL", `namespace name ${JSON.stringify(name)}`);
    const path = join(this.#dir, name);
    mkdirSync(this.#dir, { recursive: true, mode: 0o755 });
    try {
      closeSync(openSync(path, "wx", 0o444));
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? "EIO";
      throw new NetlinkError(code, `namespace ${path}: ${code}`, null, { cause });
    }
    this.#own ??= openNamespace(OWN);
    try {
      if (this.#libc.unshare(CLONE_NEWNET) < 0) throw kernelError(this.#libc.errno(), `namespace ${path}`);
      try {
        if (this.#libc.mount(OWN, path, "none", MS_BIND) < 0)
          throw kernelError(this.#libc.errno(), `namespace ${path}: mount`);
      } finally {
        this.#enter(this.#own, OWN);
      }
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
    return path;
  }

  del(path: string): void {
    this.#forget(path);
    if (this.has(path) && this.#libc.umount(path, MNT_DETACH) < 0)
      throw kernelError(this.#libc.errno(), `namespace ${path}: umount`);
    try {
      unlinkSync(path);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? "EIO";
      if (code !== "ENOENT" && code !== "ENOTDIR")
        throw new NetlinkError(code, `namespace ${path}: ${code}`, null, { cause });
    }
  }

  #forget(path: string): void {
    const space = this.#spaces.get(path);
    if (space === undefined) return;
    this.#spaces.delete(path);
    space.socket?.close();
    closeSync(space.fd);
  }

  close(): void {
    for (const path of [...this.#spaces.keys()]) this.#forget(path);
    if (this.#own !== undefined) closeSync(this.#own);
    this.#own = undefined;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** Throws ENOENT where there is no file, EINVAL where it is no namespace. */
function openNamespace(path: string): number {
  let fd: number;
  try {
    if (statfsSync(path).type !== NSFS_MAGIC) throw new NetlinkError("EINVAL", `${path}: is no namespace`);
    fd = openSync(path, "r");
  } catch (cause) {
    if (cause instanceof NetlinkError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? "EIO";
    throw new NetlinkError(code, `namespace ${path}: ${code}`, null, { cause });
  }
  return fd;
}
