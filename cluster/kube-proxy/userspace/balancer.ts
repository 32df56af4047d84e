/**
 * Which endpoint a relay dials next: round robin over endpoints that were shuffled when they last changed, and session
 * affinity by client address (pkg/proxy/userspace/roundrobin.go of Kubernetes 1.25).
 */
import type { Random } from "../../../dataplane/sim/random.ts";

type Sticky = { readonly endpoint: string; readonly lastUsed: number };

export class RoundRobin {
  readonly #random: Random;
  readonly #clients: Map<number, Sticky> = new Map();
  #endpoints: readonly string[] = [];
  #next = 0;
  /** Milliseconds for which a client stays with its endpoint after its last connection; 0: it does not. */
  #stickyFor = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** "ip:port" of the endpoints that are ready. The same ones in another order change nothing. */
  set(endpoints: readonly string[], stickySeconds: number): void {
    this.#stickyFor = stickySeconds * 1000;
    if ([...endpoints].sort().join() === [...this.#endpoints].sort().join()) return;
    this.#endpoints = shuffled(endpoints, this.#random);
    this.#next = 0;
    for (const [client, { endpoint }] of this.#clients) if (!endpoints.includes(endpoint)) this.#clients.delete(client);
  }

  /** `anew` forgets the client's endpoint, which did not answer. Undefined: there is no endpoint. */
  choose(client: number, now: number, anew: boolean): string | undefined {
    if (this.#endpoints.length === 0) return undefined;
    if (this.#stickyFor > 0 && !anew) {
      const known = this.#clients.get(client);
      if (known !== undefined && now - known.lastUsed < this.#stickyFor)
        return this.#remember(client, known.endpoint, now);
    }
    const endpoint = this.#endpoints[this.#next] as string;
    this.#next = (this.#next + 1) % this.#endpoints.length;
    return this.#stickyFor > 0 ? this.#remember(client, endpoint, now) : endpoint;
  }

  #remember(client: number, endpoint: string, now: number): string {
    this.#clients.set(client, { endpoint, lastUsed: now });
    return endpoint;
  }
}

/** Fisher and Yates. */
function shuffled(list: readonly string[], random: Random): readonly string[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    const other = out[j] as string;
    out[j] = out[i] as string;
    out[i] = other;
  }
  return out;
}
