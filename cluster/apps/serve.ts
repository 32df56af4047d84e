/** Puts a workload's answers on emulated sockets: what to say is in `workload/`, here is who hears it. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import { ANY } from "../../dataplane/sock/port-table.ts";
import { SctpListener } from "../../dataplane/sock/sctp.ts";
import { TcpListener, type TcpSocket } from "../../dataplane/sock/tcp.ts";
import { UdpSocket } from "../../dataplane/sock/udp.ts";
import { formatIpPort } from "../../dataplane/wire/ip-key.ts";
import type { Protocol } from "../api/pod.ts";
import type { App } from "../workload/app.ts";
import { greet, type RespondContext, type Response, respond } from "../workload/respond.ts";

/** Who answers. */
export type Server = {
  readonly podName: string;
  readonly podIp: string;
  /** Answers a DNS message; for containers that serve DNS. */
  readonly dns: (query: Uint8Array, overTcp: boolean) => Uint8Array;
};

/** Requests longer than this end the connection. */
const LONGEST = 1 << 20;

/** Opens one port. Answers a way to close it, or null where the port is taken. */
export function serve(ns: NetNs, protocol: Protocol, port: number, app: App, server: Server): (() => void) | null {
  const socket =
    protocol === "TCP"
      ? serveTcp(ns, port, app, server)
      : protocol === "UDP"
        ? serveUdp(ns, port, app, server)
        : SctpListener.listen(ns, ANY, port);
  return socket === null ? null : () => socket.close();
}

function serveTcp(ns: NetNs, port: number, app: App, server: Server): TcpListener | null {
  return TcpListener.listen(ns, ANY, port, () => {
    let heard: Uint8Array = new Uint8Array(0);
    return {
      connected: (socket) => say(socket, greet(app, contextOf(server, socket))),
      data(socket, bytes, off, len) {
        heard = join(heard, bytes, off, len);
        if (heard.length > LONGEST) {
          socket.abort();
          return;
        }
        const answer =
          app.service === "dns" ? dnsOverTcp(heard, server) : respond(app, heard, contextOf(server, socket));
        if (answer.data.length > 0 || answer.close) heard = new Uint8Array(0);
        say(socket, answer);
      },
      ended: (socket) => socket.close(),
    };
  });
}

function say(socket: TcpSocket, answer: Response): void {
  if (answer.data.length > 0) socket.write(answer.data);
  if (answer.close) socket.close();
}

function serveUdp(ns: NetNs, port: number, app: App, server: Server): UdpSocket | null {
  return UdpSocket.bind(ns, ANY, port, {
    datagram(socket, bytes, off, len, from, fromPort, to) {
      const request = bytes.slice(off, off + len);
      const local = formatIpPort(to, port);
      const data =
        app.service === "dns"
          ? server.dns(request, false)
          : respond(app, request, {
              podName: server.podName,
              podIp: server.podIp,
              client: formatIpPort(from, fromPort),
              local,
            }).data;
      if (data.length > 0) socket.reply(to, from, fromPort, data, 0, data.length);
    },
  });
}

function contextOf(server: Server, socket: TcpSocket): RespondContext {
  const client = formatIpPort(socket.remote, socket.remotePort);
  return { podName: server.podName, podIp: server.podIp, client, local: formatIpPort(socket.local, socket.localPort) };
}

/** RFC 1035 section 4.2.2: two octets of length before each message. */
function dnsOverTcp(heard: Uint8Array, server: Server): Response {
  const length = ((heard[0] ?? 0) << 8) | (heard[1] ?? 0);
  if (heard.length < 2 || heard.length < 2 + length) return { data: new Uint8Array(0), close: false };
  const message = server.dns(heard.slice(2, 2 + length), true);
  const data = new Uint8Array(2 + message.length);
  data[0] = message.length >> 8;
  data[1] = message.length & 0xff;
  data.set(message, 2);
  return { data, close: false };
}

function join(before: Uint8Array, bytes: Uint8Array, off: number, len: number): Uint8Array {
  const joined = new Uint8Array(before.length + len);
  joined.set(before);
  joined.set(bytes.subarray(off, off + len), before.length);
  return joined;
}
