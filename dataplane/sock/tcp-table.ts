/** Connections by their four-tuple (the established hash of TCP): by the two ports, then by address. */
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";
import type { TcpSocket } from "./tcp.ts";

export class TcpTable {
  readonly #byPorts = new Map<number, TcpSocket[]>();
  size = 0;

  lookup(local: Ipv4Addr, localPort: number, remote: Ipv4Addr, remotePort: number): TcpSocket | null {
    const list = this.#byPorts.get((localPort << 16) | remotePort);
    if (list === undefined) return null;
    for (let i = 0; i < list.length; i++) {
      const s = list[i] as TcpSocket;
      if (s.remote === remote && s.local === local) return s;
    }
    return null;
  }

  add(socket: TcpSocket): void {
    const key = (socket.localPort << 16) | socket.remotePort;
    const list = this.#byPorts.get(key);
    if (list === undefined) this.#byPorts.set(key, [socket]);
    else list.push(socket);
    this.size++;
  }

  remove(socket: TcpSocket): void {
    const key = (socket.localPort << 16) | socket.remotePort;
    const list = this.#byPorts.get(key);
    const at = list?.indexOf(socket) ?? -1;
    if (list === undefined || at < 0) return;
    list.splice(at, 1);
    if (list.length === 0) this.#byPorts.delete(key);
    this.size--;
  }
}
