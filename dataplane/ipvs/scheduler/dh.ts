/** Destination hashing (ip_vs_dh.c): a table of 256 places, looked up by the service's address: for services by mark. */
import type { Destination, VirtualService } from "../service.ts";
import { folded, hash8, type NewFlow, type Scheduler } from "./scheduler.ts";

export class DestinationHash implements Scheduler {
  readonly name: string = "dh";

  changed(): void {}

  choose({ destinations }: VirtualService, flow: NewFlow): Destination | null {
    const d = destinations[hash8(folded(flow.dst)) % Math.max(1, destinations.length)] ?? null;
    return d?.usable === true ? d : null;
  }
}
