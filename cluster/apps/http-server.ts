/** A small HTTP/1.1 server on emulated sockets, for what nodes themselves answer: one request, one answer, then the end. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import type { Ipv4Addr } from "../../dataplane/wire/ipv4-addr.ts";

export type HttpAnswer = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
};

const REASONS: Readonly<Record<number, string>> = { 200: "OK", 404: "Not Found", 503: "Service Unavailable" };
/** A head longer than this ends the connection. */
const LONGEST = 16_384;

/** `answer` gets the path. Answers null where the port is taken. */
export function serveHttp(
  ns: NetNs,
  address: Ipv4Addr,
  port: number,
  answer: (path: string) => HttpAnswer,
): TcpListener | null {
  return TcpListener.listen(ns, address, port, () => {
    let heard = "";
    return {
      data: (socket, bytes, off, len) => {
        heard += new TextDecoder("latin1").decode(bytes.subarray(off, off + len));
        if (heard.length > LONGEST) socket.abort();
        else if (heard.includes("\r\n\r\n")) {
          socket.write(new TextEncoder().encode(textOf(answer(heard.split(" ")[1] ?? "/"))));
          socket.close();
        }
      },
      ended: (socket) => socket.close(),
    };
  });
}

function textOf({ status, headers = {}, body }: HttpAnswer): string {
  const length = new TextEncoder().encode(body).length;
  const all = { ...headers, "Content-Length": String(length), Connection: "close" };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return [`HTTP/1.1 ${status} ${REASONS[status] ?? ""}`, ...lines, "", body].join("\r\n");
}
