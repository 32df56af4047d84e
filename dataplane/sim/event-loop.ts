/**
 * The one queue of future work, ordered by (time, sequence), and the virtual clock that it moves.
 *
 * Two stores give that one order: a ring for what happens now (packets that cross a veth or a tunnel) and a heap for what
 * happens later (timers, packets on a cable with delay). Whatever the heap holds for the present instant was scheduled
 * before time reached it, so it is older than anything in the ring and goes first. A full ring grows; nothing else
 * allocates per packet.
 */
import type { Skb } from "../skb/skb.ts";
import type { Clock } from "./clock.ts";

/** Where a packet continues when its turn comes. */
export interface PacketSink {
  /** Takes ownership of the packet. */
  deliver(skb: Skb): void;
}

/** Something scheduled. Cancelling is lazy: the entry stays in the heap and is skipped. */
export class Timer {
  readonly time: number;
  readonly seq: number;
  #fire: (() => void) | null;

  constructor(time: number, seq: number, fire: () => void) {
    this.time = time;
    this.seq = seq;
    this.#fire = fire;
  }

  get pending(): boolean {
    return this.#fire !== null;
  }

  cancel(): void {
    this.#fire = null;
  }

  fire(): void {
    const fire = this.#fire;
    this.#fire = null;
    fire?.();
  }
}

const FIRST_RING = 1024;

export class EventLoop implements Clock {
  /** Milliseconds of virtual time. Read directly on the packet path. */
  time = 0;
  #seq = 0;
  #sinks: (PacketSink | null)[] = new Array<PacketSink | null>(FIRST_RING).fill(null);
  #skbs: (Skb | null)[] = new Array<Skb | null>(FIRST_RING).fill(null);
  #head = 0;
  #tail = 0;
  #heap: Timer[] = [];
  /** Events run so far, of both kinds. */
  events = 0;

  now(): number {
    return this.time;
  }

  /** Packets that wait for the present instant. */
  get queued(): number {
    return this.#tail - this.#head;
  }

  get idle(): boolean {
    return this.#head === this.#tail && this.#peek() === undefined;
  }

  /** When the next event is due: now, later, or never (undefined). */
  get nextTime(): number | undefined {
    if (this.#head !== this.#tail) return this.time;
    return this.#peek()?.time;
  }

  /** Hands the packet to the sink at this instant, after all that is already queued for it. */
  post(sink: PacketSink, skb: Skb): void {
    if (this.#tail - this.#head === this.#sinks.length) this.#grow();
    const i = this.#tail & (this.#sinks.length - 1);
    this.#sinks[i] = sink;
    this.#skbs[i] = skb;
    this.#tail++;
  }

  /** Hands the packet to the sink after `delay` milliseconds. */
  postAfter(delay: number, sink: PacketSink, skb: Skb): void {
    if (delay <= 0) this.post(sink, skb);
    else this.schedule(delay, () => sink.deliver(skb));
  }

  /** Calls `fire` after `delay` milliseconds, once. */
  schedule(delay: number, fire: () => void): Timer {
    const timer = new Timer(this.time + Math.max(0, delay), this.#seq++, fire);
    this.#push(timer);
    return timer;
  }

  /** Runs what is due at this instant and nothing later. */
  runNow(): void {
    this.#runInstant(Number.POSITIVE_INFINITY);
  }

  /**
   * Runs until `done` answers true, nothing is left, virtual time would pass `deadline`, or `limit` events have run.
   * Time stands at the last event that ran; with `deadline` reached, at the deadline.
   */
  run(options: { readonly done?: () => boolean; readonly deadline?: number; readonly limit?: number } = {}): void {
    const deadline = options.deadline ?? Number.POSITIVE_INFINITY;
    const last = this.events + (options.limit ?? Number.POSITIVE_INFINITY);
    const done = options.done;
    while (this.events < last) {
      if (done?.()) return;
      const next = this.nextTime;
      if (next === undefined) break;
      if (next > deadline) break;
      if (next > this.time) this.time = next;
      if (done === undefined) this.#runInstant(last);
      else this.#runOne();
    }
    if (deadline !== Number.POSITIVE_INFINITY && this.time < deadline && this.events < last) this.time = deadline;
  }

  #runInstant(last: number): void {
    while (this.events < last && this.#runOne());
  }

  /** Runs the first event due at this instant, if there is one. */
  #runOne(): boolean {
    const timer = this.#peek();
    if (timer !== undefined && timer.time <= this.time) {
      this.#pop();
      this.events++;
      timer.fire();
      return true;
    }
    if (this.#head === this.#tail) return false;
    const i = this.#head & (this.#sinks.length - 1);
    const sink = this.#sinks[i] as PacketSink;
    const skb = this.#skbs[i] as Skb;
    this.#skbs[i] = null;
    this.#head++;
    if (this.#head === this.#tail) this.#head = this.#tail = 0;
    this.events++;
    sink.deliver(skb);
    return true;
  }

  #grow(): void {
    const size = this.#sinks.length;
    const sinks = new Array<PacketSink | null>(size * 2).fill(null);
    const skbs = new Array<Skb | null>(size * 2).fill(null);
    for (let n = 0; n < size; n++) {
      const i = (this.#head + n) & (size - 1);
      sinks[n] = this.#sinks[i] ?? null;
      skbs[n] = this.#skbs[i] ?? null;
    }
    this.#sinks = sinks;
    this.#skbs = skbs;
    this.#head = 0;
    this.#tail = size;
  }

  /** The earliest live timer; cancelled ones on top are thrown away. */
  #peek(): Timer | undefined {
    let top = this.#heap[0];
    while (top !== undefined && !top.pending) {
      this.#pop();
      top = this.#heap[0];
    }
    return top;
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(timer);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up] as Timer;
      if (!before(timer, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      const right = child + 1;
      if (right < heap.length && before(heap[right] as Timer, heap[child] as Timer)) child = right;
      const c = heap[child] as Timer;
      if (!before(c, last)) break;
      heap[i] = c;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.time < b.time || (a.time === b.time && a.seq < b.seq);
}
