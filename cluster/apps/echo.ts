/** Servers that answer without a protocol of their own: TCP and UDP echo, and a banner for what speaks something else. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { TcpListener } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { utf8 } from "./http.ts";

/** Sends back what comes. Answers false if the port is taken. */
export function serveTcpEcho(ns: NetNs, port: number): boolean {
  const listener = TcpListener.listen(ns, ANY, port, () => ({
    data: (socket, bytes, off, len) => socket.write(bytes.slice(off, off + len)),
    ended: (socket) => socket.close(),
  }));
  return listener !== null;
}

/** Answers the first octets with a line that names the server, and goes on listening. */
export function serveTcpBanner(ns: NetNs, port: number, banner: string): boolean {
  const listener = TcpListener.listen(ns, ANY, port, () => {
    let said = false;
    return {
      data(socket) {
        if (!said) socket.write(utf8(`${banner}\n`));
        said = true;
      },
      ended: (socket) => socket.close(),
    };
  });
  return listener !== null;
}

/** Answers each datagram with the same octets, or with a text that names the server. */
export function serveUdp(ns: NetNs, port: number, text: string | null): boolean {
  const answer = text === null ? null : utf8(text);
  const socket = UdpSocket.bind(ns, ANY, port, {
    datagram(s, bytes, off, len, from, fromPort, to) {
      if (answer === null) s.reply(to, from, fromPort, bytes, off, len);
      else s.reply(to, from, fromPort, answer, 0, answer.length);
    },
  });
  return socket !== null;
}
