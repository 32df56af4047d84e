/**
 * One rtnetlink socket (netlink(7), rtnetlink(7)): a request and its acknowledgement, or a dump. Headers and attributes
 * are built and read with the codecs of the `netlink` package. It stays in the namespace that it was made in.
 *
 *     nlmsghdr   length 4 | type 2 | flags 2 | sequence 4 | port 4
 *     error      errno 4 (negative) | header of the request 16 | attributes: the kernel's words (NLMSGERR_ATTR_MSG)
 */
import {
  type AttrStream,
  formatHeader,
  getString,
  parseAttributes,
  parseMessages,
  readS32,
} from "netlink/dist/structs.js";
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { EINTR, errnoName, kernelError } from "./errno.ts";
import type { Libc } from "./ffi.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
export const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_ACK_TLVS = 0x200;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const NLMSG_NOOP = 1;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSGERR_ATTR_MSG = 1;
const ERROR_LEN = 20;
/** A dump that others changed meanwhile is taken again, so often. */
const DUMP_ATTEMPTS = 8;
const RECEIVE_LEN = 64 * 1024;

export type Received = { readonly type: number; readonly data: Buffer };
/** Writes the body of a message. */
export type Body = (out: AttrStream) => void;

export class NetlinkSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #stream: new () => AttrStream;
  readonly #buffer = Buffer.allocUnsafeSlow(RECEIVE_LEN);
  #sequence = 0;

  constructor(libc: Libc, stream: new () => AttrStream, protocol: number = NETLINK_ROUTE) {
    this.#libc = libc;
    this.#stream = stream;
    this.#fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (this.#fd < 0) throw kernelError(libc.errno(), "netlink socket");
    const one = Uint8Array.of(1, 0, 0, 0);
    // older kernels lack some of these; what they change is comfort, not meaning
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK])
      libc.setsockopt(this.#fd, SOL_NETLINK, option, one);
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  /** A request that is acknowledged; answers what came before the acknowledgement. Throws NetlinkError. */
  request(type: number, flags: number, body: Body, what: string): readonly Received[] {
    const sequence = this.#send(type, flags | NLM_F_ACK, body, what);
    const received: Received[] = [];
    this.#receive(sequence, received, what);
    return received;
  }

  dump(type: number, body: Body, what: string): readonly Received[] {
    for (let attempt = 1; ; attempt++) {
      const sequence = this.#send(type, NLM_F_DUMP, body, what);
      const received: Received[] = [];
      const whole = this.#receive(sequence, received, what);
      if (whole || attempt >= DUMP_ATTEMPTS) return received;
    }
  }

  #send(type: number, flags: number, body: Body, what: string): number {
    const out = new this.#stream();
    body(out);
    const length = 16 + out.bufs.reduce((sum, part) => sum + part.length, 0);
    const seq = ++this.#sequence;
    const message = Buffer.concat([
      formatHeader({ length, type, flags: flags | NLM_F_REQUEST, seq, port: 0 }),
      ...out.bufs,
    ]);
    while (this.#libc.send(this.#fd, message) < 0) {
      const errno = this.#libc.errno();
      if (errno !== EINTR) throw kernelError(errno, what);
    }
    return seq;
  }

  /** Reads until the end of the answer; false if a dump was cut by a change. */
  #receive(sequence: number, received: Received[], what: string): boolean {
    let whole = true;
    for (;;) {
      const length = this.#libc.recv(this.#fd, this.#buffer);
      if (length < 0) {
        const errno = this.#libc.errno();
        if (errno === EINTR) continue;
        throw kernelError(errno, what);
      }
      // a copy: what was read stays after the next read
      for (const message of parseMessages(Buffer.from(this.#buffer.subarray(0, length)))) {
        if (message.seq !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) whole = false;
        if (message.type === NLMSG_DONE) return whole;
        if (message.type === NLMSG_ERROR) {
          throwIfError(message.data, message.flags, what);
          return whole;
        }
        if (message.type !== NLMSG_NOOP) received.push({ type: message.type, data: message.data });
      }
    }
  }
}

function throwIfError(data: Buffer, flags: number, what: string): void {
  const errno = -readS32.call(data, 0);
  if (errno === 0) return;
  let words = "";
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    parseAttributes(data.subarray(ERROR_LEN), ({ type, data: value }) => {
      if (type === NLMSGERR_ATTR_MSG) words = getString(value);
    });
  }
  const name = errnoName(errno);
  throw new NetlinkError(name, `${what}: ${name}${words === "" ? "" : ` (${words})`}`);
}
