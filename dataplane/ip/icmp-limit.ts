/**
 * How often ICMP errors may be sent (net/ipv4/icmp.c): per peer one a second with a burst of six, for the types of
 * icmp_ratemask (unreachable, time exceeded, parameter problem); and all together 1,000 a second with a burst of 50.
 */
const TIMEOUT = 1_000;
const BURST = 6 * TIMEOUT;
const GLOBAL_RATE = 1;
const GLOBAL_BURST = 50;

export class IcmpLimiter {
  readonly #peers = new Map<number, { tokens: number; last: number }>();
  #credit = GLOBAL_BURST;
  #last = 0;

  /** Whether an error may be sent to this peer at this time (milliseconds); counts it if so. */
  allow(peer: number, now: number): boolean {
    this.#credit = Math.min(GLOBAL_BURST, this.#credit + (now - this.#last) * GLOBAL_RATE);
    this.#last = now;
    if (this.#credit < 1) return false;
    let p = this.#peers.get(peer | 0);
    if (p === undefined) {
      p = { tokens: BURST, last: now };
      this.#peers.set(peer | 0, p);
    }
    p.tokens = Math.min(BURST, p.tokens + now - p.last);
    p.last = now;
    if (p.tokens < TIMEOUT) return false;
    p.tokens -= TIMEOUT;
    this.#credit--;
    return true;
  }
}
