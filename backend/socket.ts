/** A Backend over a unix socket: the client of a running emulator (`socket-protocol.ts` has the messages). */
import { createConnection, type Socket } from "node:net";
import {
  type AddrInfo,
  type FdbInfo,
  type LinkInfo,
  type NeighInfo,
  NetlinkError,
  type NetnsRef,
  type NftListOptions,
  type QdiscInfo,
  type RouteInfo,
  type RtnlOp,
  type VlanInfo,
} from "../dataplane/netns/rtnl-ops.ts";
import { mapNetns } from "./map-netns.ts";
import type { Backend } from "./ops.ts";
import { type Answer, LineReader, type Method } from "./socket-protocol.ts";

/** The connection failed or ended; `code` is an errno name or "EPIPE". */
export class SocketBackendError extends Error {
  override readonly name: string = "SocketBackendError";
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

type Waiting = { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void };

export class SocketBackend implements Backend {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #aliases = new Map<string, NetnsRef>();
  #lastId = 0;
  #ended: SocketBackendError | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    const lines = new LineReader();
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      const whole = lines.push(text);
      if (whole === undefined) socket.destroy();
      else for (const line of whole) this.#answer(line);
    });
    socket.on("error", (error) => this.#end((error as NodeJS.ErrnoException).code ?? "EPIPE", error));
    socket.on("close", () => this.#end("EPIPE"));
  }

  static connect(path: string): Promise<SocketBackend> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      const failed = (error: Error): void => {
        const code = (error as NodeJS.ErrnoException).code ?? "EPIPE";
        reject(new SocketBackendError(code, `socket ${path}: ${error.message}`, { cause: error }));
      };
      socket.once("error", failed);
      socket.once("connect", () => {
        socket.off("error", failed);
        resolve(new SocketBackend(socket, path));
      });
    });
  }

  /** From now on this sandbox path means that namespace of the other side. */
  alias(path: string, netns: NetnsRef): void {
    this.#aliases.set(path, netns);
  }

  async apply(ops: readonly RtnlOp[]): Promise<void> {
    await this.#call("apply", [
      this.#aliases.size === 0 ? ops : ops.map((op) => mapNetns(op, (netns) => this.#ref(netns))),
    ]);
  }

  async addNetns(name: string): Promise<string> {
    return (await this.#call("addNetns", [name])) as string;
  }

  async delNetns(path: string): Promise<void> {
    await this.#call("delNetns", [this.#ref(path)]);
  }

  async hasNetns(path: string): Promise<boolean> {
    return (await this.#call("hasNetns", [this.#ref(path)])) as boolean;
  }

  async links(netns: NetnsRef): Promise<readonly LinkInfo[]> {
    return (await this.#call("links", [this.#ref(netns)])) as readonly LinkInfo[];
  }

  async link(netns: NetnsRef, name: string): Promise<LinkInfo | undefined> {
    return ((await this.#call("link", [this.#ref(netns), name])) ?? undefined) as LinkInfo | undefined;
  }

  async addrs(netns: NetnsRef, dev?: string): Promise<readonly AddrInfo[]> {
    return (await this.#call("addrs", [this.#ref(netns), ...(dev === undefined ? [] : [dev])])) as readonly AddrInfo[];
  }

  async routes(netns: NetnsRef): Promise<readonly RouteInfo[]> {
    return (await this.#call("routes", [this.#ref(netns)])) as readonly RouteInfo[];
  }

  async neighs(netns: NetnsRef): Promise<readonly NeighInfo[]> {
    return (await this.#call("neighs", [this.#ref(netns)])) as readonly NeighInfo[];
  }

  async fdb(netns: NetnsRef): Promise<readonly FdbInfo[]> {
    return (await this.#call("fdb", [this.#ref(netns)])) as readonly FdbInfo[];
  }

  async vlans(netns: NetnsRef, dev?: string): Promise<readonly VlanInfo[]> {
    return (await this.#call("vlans", [this.#ref(netns), ...(dev === undefined ? [] : [dev])])) as readonly VlanInfo[];
  }

  async qdiscs(netns: NetnsRef, dev?: string): Promise<readonly QdiscInfo[]> {
    return (await this.#call("qdiscs", [
      this.#ref(netns),
      ...(dev === undefined ? [] : [dev]),
    ])) as readonly QdiscInfo[];
  }

  async sysctl(netns: NetnsRef, key: string): Promise<string | undefined> {
    return ((await this.#call("sysctl", [this.#ref(netns), key])) ?? undefined) as string | undefined;
  }

  async iptablesSave(netns: NetnsRef, family: "ipv4" | "ipv6"): Promise<string> {
    return (await this.#call("iptablesSave", [this.#ref(netns), family])) as string;
  }

  async nftList(netns: NetnsRef, options: NftListOptions = {}): Promise<string> {
    return (await this.#call("nftList", [this.#ref(netns), options])) as string;
  }

  close(): Promise<void> {
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#socket.once("close", () => resolve());
      this.#socket.end();
    });
  }

  #ref(netns: NetnsRef): NetnsRef {
    return this.#aliases.get(netns) ?? netns;
  }

  #call(method: Method, params: readonly unknown[]): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  }

  #answer(line: string): void {
    let answer: Answer;
    try {
      answer = JSON.parse(line) as Answer;
    } catch (error) {
      this.#end("EPROTO", error as Error);
      this.#socket.destroy();
      return;
    }
    const waiting = answer.id === null ? undefined : this.#waiting.get(answer.id);
    if (waiting === undefined || answer.id === null) return;
    this.#waiting.delete(answer.id);
    if ("error" in answer) {
      const { code, message, failed } = answer.error;
      waiting.reject(new NetlinkError(code, message, failed ?? null));
    } else {
      waiting.resolve(answer.result);
    }
  }

  #end(code: string, cause?: Error): void {
    this.#ended ??= new SocketBackendError(
      code,
      `socket ${this.#path}: ${cause?.message ?? "the other side hung up"}`,
      { cause },
    );
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }
}
