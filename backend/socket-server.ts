/**
 * Serves a Backend on a unix socket, to plugins started as processes of their own (`socket-protocol.ts` has the
 * messages). Requests of one connection run at the same time where the backend lets them; `apply` is atomic anyway.
 * The socket is 0600: who may open it may change the node.
 */
import { chmodSync, existsSync, lstatSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { NetlinkError, type NftListOptions, type RtnlOp } from "../dataplane/netns/rtnl-ops.ts";
import type { Backend } from "./ops.ts";
import { type Answer, INTERNAL, LineReader, MALFORMED, METHODS, type Request } from "./socket-protocol.ts";

export type BackendServer = {
  readonly path: string;
  /** Stops listening, ends the connections and removes the socket. The backend stays open. */
  close(): Promise<void>;
};

function parseRequest(line: string): Request | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "not JSON";
  }
  if (typeof value !== "object" || value === null) return "not an object";
  const { id, method, params } = value as { readonly [key: string]: unknown };
  if (typeof id !== "number") return "id is not a number";
  if (!METHODS.some((m) => m === method)) return `method ${JSON.stringify(method) ?? "missing"} is not known`;
  if (!Array.isArray(params)) return "params is not a list";
  return value as Request;
}

async function run(backend: Backend, { method, params }: Request): Promise<unknown> {
  const [first, second] = params;
  const text = (value: unknown): string => {
    if (typeof value !== "string")
      throw new NetlinkError("EINVAL", `${method}: found ${JSON.stringify(value) ?? "nothing"}, expected text`);
    return value;
  };
  switch (method) {
    case "apply":
      if (!Array.isArray(first)) throw new NetlinkError("EINVAL", "apply: expected a list of operations");
      await backend.apply(first as readonly RtnlOp[]);
      return null;
    case "addNetns":
      return backend.addNetns(text(first));
    case "delNetns":
      await backend.delNetns(text(first));
      return null;
    case "hasNetns":
      return backend.hasNetns(text(first));
    case "links":
      return backend.links(text(first));
    case "link":
      return (await backend.link(text(first), text(second))) ?? null;
    case "addrs":
      return second === undefined ? backend.addrs(text(first)) : backend.addrs(text(first), text(second));
    case "routes":
      return backend.routes(text(first));
    case "neighs":
      return backend.neighs(text(first));
    case "fdb":
      return backend.fdb(text(first));
    case "vlans":
      return second === undefined ? backend.vlans(text(first)) : backend.vlans(text(first), text(second));
    case "qdiscs":
      return second === undefined ? backend.qdiscs(text(first)) : backend.qdiscs(text(first), text(second));
    case "sysctl":
      return (await backend.sysctl(text(first), text(second))) ?? null;
    case "iptablesSave":
      return backend.iptablesSave(text(first), second === "ipv6" ? "ipv6" : "ipv4");
    case "nftList":
      return backend.nftList(text(first), (second ?? {}) as NftListOptions);
  }
}

async function answerTo(backend: Backend, line: string): Promise<Answer> {
  const request = parseRequest(line);
  if (typeof request === "string") return { id: null, error: { code: MALFORMED, message: `request: ${request}` } };
  try {
    return { id: request.id, result: await run(backend, request) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!(error instanceof NetlinkError)) return { id: request.id, error: { code: INTERNAL, message } };
    const failed = error.failed === null ? {} : { failed: error.failed };
    return { id: request.id, error: { code: error.code, message, ...failed } };
  }
}

/** Removes a socket that a server left which is no more; refuses to take a living one's place, or a file's. */
async function clearStale(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (!lstatSync(path).isSocket()) throw new NetlinkError("EEXIST", `${path} exists and is no socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) throw new NetlinkError("EADDRINUSE", `socket ${path}: another server answers there`);
  unlinkSync(path);
}

export async function serve(backend: Backend, path: string): Promise<BackendServer> {
  await clearStale(path);
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    const lines = new LineReader();
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      const whole = lines.push(text);
      if (whole === undefined) {
        socket.destroy();
        return;
      }
      for (const line of whole) {
        if (line.trim() === "") continue;
        void answerTo(backend, line).then((answer) => {
          if (!socket.destroyed) socket.write(`${JSON.stringify(answer)}\n`);
        });
      }
    });
    // a client that goes away is no error of ours
    socket.on("error", () => socket.destroy());
    socket.on("close", () => connections.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
  chmodSync(path, 0o600);
  return {
    path,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)));
        for (const socket of connections) socket.destroy();
      }),
  };
}
