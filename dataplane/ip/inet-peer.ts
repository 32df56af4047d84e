/**
 * What a host remembers of those it sends ICMP errors to (struct inet_peer), so that it does not send too many: errors of all
 * kinds and redirects share one record a peer (net/ipv4/icmp.c, ip_error and ip_rt_send_redirect of route.c, and
 * ndisc_send_redirect). Left out: the jitter of the limit over all peers.
 */

/** icmp_ratelimit in milliseconds, of which six may be saved up; ip_rt_error_cost and ip_rt_error_burst. */
const COST = 1_000;
const ROUTE_ERROR_BURST = 5 * COST;
/** icmp_msgs_per_sec as errors a millisecond, and icmp_msgs_burst. */
const GLOBAL_RATE = 1;
const GLOBAL_BURST = 50;
/** ip_rt_redirect_number, ip_rt_redirect_load and ip_rt_redirect_silence, in packets and milliseconds. */
const REDIRECTS = 9;
const REDIRECT_LOAD = 20;
const REDIRECT_SILENCE = REDIRECT_LOAD * 2 ** (REDIRECTS + 1);
/** A new record looks as if its peer had been quiet for so long. */
const QUIET = 60_000;

type Peer = { tokens: number; last: number; redirects: number };

export class InetPeers {
  readonly #peers = new Map<number, Peer>();
  #credit = GLOBAL_BURST;
  #creditAt = 0;

  /**
   * Whether an error of the limited types may be sent to the peer; counts it if so. Times are in milliseconds; an error may
   * be sent each `cost` of them, and six at once after silence.
   */
  allowError(address: number, now: number, cost: number = COST): boolean {
    this.#credit = Math.min(GLOBAL_BURST, this.#credit + (now - this.#creditAt) * GLOBAL_RATE);
    this.#creditAt = now;
    if (this.#credit < 1 || !take(this.#peer(address, now), now, 6 * cost, cost)) return false;
    this.#credit--;
    return true;
  }

  /** Whether there may be an error about a packet without a route; `allowError` is asked after. */
  allowRouteError(address: number, now: number): boolean {
    return take(this.#peer(address, now), now, ROUTE_ERROR_BURST);
  }

  /** Whether a redirect may be sent: nine to a peer, each after twice the time of the one before, then silence. */
  allowRedirect(address: number, now: number): boolean {
    const peer = this.#peer(address, now);
    if (now > peer.last + REDIRECT_SILENCE) {
      peer.tokens = 0;
      peer.redirects = 0;
    }
    if (peer.redirects >= REDIRECTS) {
      peer.last = now;
      return false;
    }
    if (peer.redirects > 0 && now <= peer.last + REDIRECT_LOAD * 2 ** peer.redirects) return false;
    peer.last = now;
    peer.redirects++;
    return true;
  }

  /** The same of IPv6: one a second, and six at once after silence. */
  allowRedirect6(address: number, now: number): boolean {
    return take(this.#peer(address, now), now, 6 * COST);
  }

  #peer(address: number, now: number): Peer {
    let peer = this.#peers.get(address | 0);
    if (peer === undefined) {
      peer = { tokens: 0, last: now - QUIET, redirects: 0 };
      this.#peers.set(address | 0, peer);
    }
    return peer;
  }
}

function take(peer: Peer, now: number, burst: number, cost: number = COST): boolean {
  peer.tokens = Math.min(burst, peer.tokens + now - peer.last);
  peer.last = now;
  if (peer.tokens < cost) return false;
  peer.tokens -= cost;
  return true;
}
