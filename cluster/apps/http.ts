/** A small HTTP/1.1 server and client over emulated TCP (RFC 9112): GET, one request a connection, Content-Length bodies. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { type TcpFailure, TcpListener, TcpSocket } from "../../dataplane/sock/tcp.ts";
import type { Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";

export type HttpRequest = {
  readonly method: string;
  readonly path: string;
  /** Address that the server sees. */
  readonly client: Ipv4Addr;
  readonly clientPort: number;
};
export type HttpReply = { readonly status: number; readonly body: string; readonly type?: string };

const REASONS: Readonly<Record<number, string>> = { 200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable" };
const LONGEST_HEAD = 16 * 1024;

/** Listens on a port. Answers null if it is taken. */
export function serveHttp(
  ns: NetNs,
  port: number,
  name: string,
  handler: (request: HttpRequest) => HttpReply,
  address: Ipv4Addr = ANY,
): TcpListener | null {
  return TcpListener.listen(ns, address, port, () => {
    let head = "";
    return {
      data(socket, bytes, off, len) {
        head += latin1(bytes, off, len);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) {
          if (head.length > LONGEST_HEAD) socket.abort();
          return;
        }
        const [method = "", path = ""] = (head.split("\r\n")[0] ?? "").split(" ");
        const reply = handler({ method, path, client: socket.remote, clientPort: socket.remotePort });
        const body = utf8(reply.body);
        const lines = [
          `HTTP/1.1 ${reply.status} ${REASONS[reply.status] ?? "Other"}`,
          `Server: ${name}`,
          `Content-Type: ${reply.type ?? "text/plain; charset=utf-8"}`,
          `Content-Length: ${body.length}`,
          "Connection: close",
          "",
          "",
        ];
        socket.write(utf8(lines.join("\r\n")));
        socket.write(body);
        socket.close();
      },
      ended(socket) {
        socket.close();
      },
    };
  });
}

export type HttpOutcome =
  | { readonly ok: true; readonly status: number; readonly headers: string; readonly body: string }
  | { readonly ok: false; readonly error: TcpFailure | "ETIMEDOUT" | "EPROTO"; readonly connected: boolean };

/** Milliseconds of virtual time to wait for an answer. */
const PATIENCE = 30_000;

/** Fetches a path, running the world until there is an answer or an error. */
export function fetchHttp(ns: NetNs, address: Ipv4Addr, port: number, host: string, path = "/"): HttpOutcome {
  let text = "";
  let ended = false;
  let connected = false;
  let failure: TcpFailure | null = null;
  const socket = TcpSocket.connect(ns, address, port, {
    connected(s) {
      connected = true;
      s.write(utf8(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: podwire\r\nAccept: */*\r\n\r\n`));
    },
    data(_s, bytes, off, len) {
      text += latin1(bytes, off, len);
    },
    ended(s) {
      ended = true;
      s.close();
    },
    failed(_s, why) {
      failure = why;
    },
  });
  if (typeof socket === "string") return { ok: false, error: socket, connected: false };
  const { loop } = ns.world;
  loop.run({ done: () => ended || failure !== null, deadline: loop.time + PATIENCE });
  if (!ended && failure === null) socket.abort();
  // Let the closing handshake finish; TIME_WAIT needs nobody.
  loop.runNow();
  if (failure !== null) return { ok: false, error: failure, connected };
  if (!ended) return { ok: false, error: "ETIMEDOUT", connected };
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.[01] ([0-9]{3})/.exec(text)?.[1];
  if (end < 0 || status === undefined) return { ok: false, error: "EPROTO", connected };
  const body = new TextDecoder().decode(Uint8Array.from(text.slice(end + 4), (c) => c.charCodeAt(0)));
  return { ok: true, status: Number(status), headers: text.slice(0, end), body };
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function latin1(bytes: Uint8Array, off: number, len: number): string {
  let text = "";
  for (let i = 0; i < len; i++) text += String.fromCharCode(bytes[off + i] as number);
  return text;
}
