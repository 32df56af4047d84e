/** A small HTTP/1.1 client over emulated TCP (RFC 9112): one GET a connection. What answers is in `workload/`. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { type TcpFailure, TcpSocket } from "../../dataplane/sock/tcp.ts";
import type { IpKey } from "../../dataplane/wire/ip-key.ts";

export type HttpOutcome =
  | { readonly ok: true; readonly status: number; readonly headers: string; readonly body: string }
  | { readonly ok: false; readonly error: TcpFailure | "ETIMEDOUT" | "EPROTO"; readonly connected: boolean };

/** Milliseconds of virtual time to wait for an answer. */
const PATIENCE = 30_000;

/** Fetches a path, running the world until there is an answer or an error. */
export function fetchHttp(ns: NetNs, address: IpKey, port: number, host: string, path = "/"): HttpOutcome {
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
  loop.run({ done: () => ended || failure !== null || complete(text), deadline: loop.time + PATIENCE });
  const whole = ended || complete(text);
  if (whole) socket.close();
  else if (failure === null) socket.abort();
  // Let the closing handshake finish; TIME_WAIT needs nobody.
  loop.runNow();
  if (failure !== null) return { ok: false, error: failure, connected };
  if (!whole) return { ok: false, error: "ETIMEDOUT", connected };
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.[01] ([0-9]{3})/.exec(text)?.[1];
  if (end < 0 || status === undefined) return { ok: false, error: "EPROTO", connected };
  const body = new TextDecoder().decode(Uint8Array.from(text.slice(end + 4), (c) => c.charCodeAt(0)));
  return { ok: true, status: Number(status), headers: text.slice(0, end), body };
}

/** Whether the body is as long as the header says. */
function complete(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = /\r\ncontent-length: *([0-9]+)/i.exec(text.slice(0, end))?.[1];
  return length !== undefined && text.length - end - 4 >= Number(length);
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function latin1(bytes: Uint8Array, off: number, len: number): string {
  let text = "";
  for (let i = 0; i < len; i++) text += String.fromCharCode(bytes[off + i] as number);
  return text;
}
