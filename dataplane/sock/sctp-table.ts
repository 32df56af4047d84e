/** SCTP listeners and associations of a namespace. */
import type { Random } from "../sim/random.ts";
import { PortTable } from "./port-table.ts";
import type { SctpAssociation, SctpListener } from "./sctp.ts";

export class SctpTable {
  readonly listeners: PortTable<SctpListener>;
  readonly #associations: Map<string, SctpAssociation> = new Map();
  /** Whether anybody listened or connected yet: until then nothing there speaks SCTP, as without the kernel's module. */
  used = false;

  constructor(random: Random) {
    this.listeners = new PortTable(random);
  }

  lookup(local: number, localPort: number, remote: number, remotePort: number): SctpAssociation | undefined {
    return this.#associations.get(keyOf(local, localPort, remote, remotePort));
  }

  add(a: SctpAssociation): void {
    this.used = true;
    this.#associations.set(keyOf(a.local, a.localPort, a.remote, a.remotePort), a);
  }

  remove(a: SctpAssociation): void {
    this.#associations.delete(keyOf(a.local, a.localPort, a.remote, a.remotePort));
  }
}

function keyOf(local: number, localPort: number, remote: number, remotePort: number): string {
  return `${local >>> 0}:${localPort} ${remote >>> 0}:${remotePort}`;
}
