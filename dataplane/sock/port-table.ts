/** Who listens on which local address and port, one table a protocol (udp_table, the listening hash of TCP). */
import type { Random } from "../sim/random.ts";
import type { Ipv4Addr } from "../wire/ipv4-addr.ts";

/** 0.0.0.0: any address of the host. */
export const ANY = 0 as Ipv4Addr;

/** Addresses as signed 32-bit integers, which need no heap numbers. */
type Binding<T> = { readonly key: number; readonly socket: T };

export class PortTable<T> {
  readonly #ports = new Map<number, Binding<T>[]>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Answers false if the address and port, or the port on all addresses, are taken. */
  bind(address: Ipv4Addr, port: number, socket: T): boolean {
    const key = address | 0;
    const list = this.#ports.get(port);
    if (list === undefined) {
      this.#ports.set(port, [{ key, socket }]);
      return true;
    }
    if (list.some((b) => b.key === key || b.key === ANY || key === ANY)) return false;
    list.push({ key, socket });
    return true;
  }

  release(port: number, socket: T): void {
    const list = this.#ports.get(port);
    if (list === undefined) return;
    const rest = list.filter((b) => b.socket !== socket);
    if (rest.length === 0) this.#ports.delete(port);
    else this.#ports.set(port, rest);
  }

  /** The socket for a packet to this address and port. */
  lookup(address: Ipv4Addr, port: number): T | null {
    const list = this.#ports.get(port);
    if (list === undefined) return null;
    const key = address | 0;
    for (let i = 0; i < list.length; i++) {
      const b = list[i] as Binding<T>;
      if (b.key === key || b.key === ANY) return b.socket;
    }
    return null;
  }

  inUse(port: number): boolean {
    return this.#ports.has(port);
  }

  /** A free port of the ephemeral range, from a random start; 0 if all are taken. */
  ephemeral(min: number, max: number, taken: (port: number) => boolean = () => false): number {
    const count = max - min + 1;
    const start = this.#random.int(count);
    for (let i = 0; i < count; i++) {
      const port = min + ((start + i) % count);
      if (!this.#ports.has(port) && !taken(port)) return port;
    }
    return 0;
  }
}
