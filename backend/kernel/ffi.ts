/**
 * The few calls of libc that neither Node nor Bun offers: sockets of AF_NETLINK, setns(2), unshare(2), mount(2), flock(2).
 *
 * Two ways to them: koffi under Node, bun:ffi in the compiled executable. All calls block, which is what a CNI plugin
 * wants: it is a short process, and setns(2) concerns the calling thread only. Nothing here knows what the calls mean.
 */
import { join } from "node:path";

/** Results as libc gives them: negative means that `errno` says why. */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  send(fd: number, data: Uint8Array): number;
  recv(fd: number, into: Uint8Array): number;
  /** Of a socket: Node watches the descriptors that its own functions opened, and only those. */
  close(fd: number): number;
  setns(fd: number, type: number): number;
  unshare(flags: number): number;
  mount(source: string, target: string, type: string, flags: number): number;
  umount(target: string, flags: number): number;
  flock(fd: number, operation: number): number;
  /** Of the call just before, on this thread. */
  errno(): number;
}

/** A native binary of koffi beside the program, where the program was copied away from its packages. */
export const KOFFI_BESIDE = ".podwire-koffi.node";

type Callable = (...args: readonly unknown[]) => unknown;
type Signature = { readonly args: readonly string[]; readonly returns: string };

const SIGNATURES = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  mount: { args: ["ptr", "ptr", "ptr", "u64", "ptr"], returns: "i32" },
  umount2: { args: ["ptr", "i32"], returns: "i32" },
  flock: { args: ["i32", "i32"], returns: "i32" },
} as const satisfies Readonly<Record<string, Signature>>;
type Name = keyof typeof SIGNATURES;

function wrap(calls: Readonly<Record<Name, Callable>>, errno: () => number): Libc {
  const text = (value: string): Uint8Array => Buffer.from(`${value}\0`);
  return {
    socket: (domain, type, protocol) => Number(calls.socket(domain, type, protocol)),
    setsockopt: (fd, level, name, value) => Number(calls.setsockopt(fd, level, name, value, value.length)),
    send: (fd, data) => Number(calls.send(fd, data, data.length, 0)),
    recv: (fd, into) => Number(calls.recv(fd, into, into.length, 0)),
    close: (fd) => Number(calls.close(fd)),
    setns: (fd, type) => Number(calls.setns(fd, type)),
    unshare: (flags) => Number(calls.unshare(flags)),
    mount: (source, target, type, flags) => Number(calls.mount(text(source), text(target), text(type), flags, null)),
    umount: (target, flags) => Number(calls.umount2(text(target), flags)),
    flock: (fd, operation) => Number(calls.flock(fd, operation)),
    errno,
  };
}

function table(make: (name: Name) => Callable): Readonly<Record<Name, Callable>> {
  const names = Object.keys(SIGNATURES) as Name[];
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<Name, Callable>;
}

type BunFfi = {
  dlopen(
    path: string,
    symbols: Readonly<Record<string, Signature>>,
  ): { readonly symbols: Readonly<Record<string, Callable>> };
  readonly read: { i32(pointer: unknown, offset: number): number };
};

async function bunLibc(): Promise<Libc> {
  // by a variable: only Bun knows the module
  const name = "bun:ffi";
  const { dlopen, read } = (await import(name)) as BunFfi;
  const signatures = { ...SIGNATURES, __errno_location: { args: [], returns: "ptr" } };
  const { symbols } = dlopen("libc.so.6", signatures);
  const call = (symbol: string): Callable => {
    const found = symbols[symbol];
    if (found === undefined) throw new Error(`libc: no symbol ${symbol}`);
    return found;
  };
  const location = call("__errno_location");
  return wrap(table(call), () => read.i32(location(), 0));
}

type Koffi = {
  load(path: string | null): { func(name: string, returns: string, args: readonly string[]): Callable };
  errno(): number;
};

const KOFFI_TYPES: Readonly<Record<string, string>> = { i32: "int", u32: "uint32_t", i64: "int64_t", u64: "uint64_t" };

async function koffi(): Promise<Koffi> {
  // in a bundle of CommonJS, which may have been copied anywhere
  if (typeof __dirname === "string" && typeof require === "function") {
    try {
      return require(join(__dirname, KOFFI_BESIDE)) as Koffi;
    } catch {
      // it was not copied: the package may be there
    }
  }
  const name = "koffi";
  const module = (await import(name)) as { readonly default: Koffi };
  return module.default;
}

async function nodeLibc(): Promise<Libc> {
  const native = await koffi();
  const library = native.load(null);
  const typeOf = (type: string): string => KOFFI_TYPES[type] ?? "void *";
  const calls = table((name) => {
    const { args, returns } = SIGNATURES[name];
    return library.func(name, typeOf(returns), args.map(typeOf));
  });
  return wrap(calls, () => native.errno());
}

let opened: Promise<Libc> | undefined;

/** Throws where there is no way to native code: not Linux, or koffi is missing. */
export function openLibc(): Promise<Libc> {
  opened ??= "bun" in process.versions ? bunLibc() : nodeLibc();
  return opened;
}
