/**
 * Queueing disciplines and filters in rtnetlink (linux/pkt_sched.h, linux/pkt_cls.h), as far as shaping a container's
 * traffic needs them: tbf at the root, the ingress qdisc, and a filter that redirects all that comes in.
 *
 *     tcmsg        family 1 | 0 3 | ifindex 4 | handle 4 | parent 4 | info 4 (of a filter: priority 2, protocol 2)
 *     tc_tbf_qopt  rate 12 (…, octets a second 4) | peak rate 12 | limit 4 | buffer 4 (ticks) | mtu 4
 *     tc_u32_sel   flags 1 | offshift 1 | keys 1 | 0 1 | … 12 | a key: mask 4, value 4, offset 4, offset mask 4
 *     tc_mirred    index 4 | capab 4 | action 4 | refcnt 4 | bindcnt 4 | kind of redirection 4 | ifindex 4
 */
import { type AttrStream, getString, getU32, parseAttributes, putU32 } from "netlink/dist/structs.js";
import type { TbfSpec } from "../../dataplane/netns/rtnl-ops.ts";

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_GETTFILTER = 46;

const HEADER_LEN = 20;
const ROOT = 0xffff_ffff;
const INGRESS_PARENT = 0xffff_fff1;
const INGRESS = 0xffff_0000;
const TBF_HANDLE = 0x1_0000;
const CLASS = 0x1_0001;
/** Priority 1, of all protocols (ETH_P_ALL, big-endian). */
const FILTER_INFO = 0x0001_0300;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_STATS2 = 7;
const TCA_STATS_BASIC = 1;
const TCA_STATS_QUEUE = 3;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TBF_PARMS_LEN = 36;
const LINKLAYER_ETHERNET = 1;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
const MAX_U32 = 0xffff_ffff;

/** The kernel counts 64 nanoseconds a tick, and takes the time that a burst lasts in whole microseconds from tc(8) and all. */
const US_PER_S = 1e6;
const TICKS_PER_US = 15.625;

function header(out: AttrStream, index: number, handle: number, parent: number, info = 0): void {
  const head = Buffer.alloc(HEADER_LEN);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(handle, 8);
  head.writeUInt32LE(parent, 12);
  head.writeUInt32LE(info, 16);
  out.emit(head);
}

function tbfParms({ rate, burst, limit }: TbfSpec): Buffer {
  const parms = Buffer.alloc(TBF_PARMS_LEN);
  parms.writeUInt8(LINKLAYER_ETHERNET, 1);
  parms.writeUInt32LE(Math.min(rate, MAX_U32), 8);
  parms.writeUInt32LE(Math.min(limit, MAX_U32), 24);
  parms.writeUInt32LE(Math.min(Math.floor(Math.floor((burst * US_PER_S) / rate) * TICKS_PER_US), MAX_U32), 28);
  return parms;
}

export function writeAddTbf(out: AttrStream, index: number, spec: TbfSpec): void {
  header(out, index, TBF_HANDLE, ROOT);
  out.push(TCA_KIND, Buffer.from("tbf\0"));
  out.push(TCA_OPTIONS, (options: AttrStream) => {
    options.push(TCA_TBF_PARMS, tbfParms(spec));
    if (spec.rate <= MAX_U32) return;
    const rate = Buffer.alloc(8);
    rate.writeBigUInt64LE(BigInt(spec.rate));
    options.push(TCA_TBF_RATE64, rate);
  });
}

export function writeAddIngress(out: AttrStream, index: number): void {
  header(out, index, INGRESS, INGRESS_PARENT);
  out.push(TCA_KIND, Buffer.from("ingress\0"));
}

export function writeDelQdisc(out: AttrStream, index: number, kind: "tbf" | "ingress"): void {
  header(out, index, kind === "tbf" ? TBF_HANDLE : INGRESS, kind === "tbf" ? ROOT : INGRESS_PARENT);
}

/** The filter that sends all that comes in out by another device. */
export function writeAddRedirect(out: AttrStream, index: number, to: number): void {
  header(out, index, 0, INGRESS, FILTER_INFO);
  out.push(TCA_KIND, Buffer.from("u32\0"));
  out.push(TCA_OPTIONS, (options: AttrStream) => {
    options.push(TCA_U32_CLASSID, putU32(CLASS));
    // one key whose mask is empty: every packet matches
    const sel = Buffer.alloc(32);
    sel.writeUInt8(TC_U32_TERMINAL, 0);
    sel.writeUInt8(1, 2);
    options.push(TCA_U32_SEL, sel);
    options.push(TCA_U32_ACT, (actions: AttrStream) => {
      actions.push(1, (action: AttrStream) => {
        action.push(TCA_ACT_KIND, Buffer.from("mirred\0"));
        action.push(TCA_ACT_OPTIONS, (mirred: AttrStream) => {
          const parms = Buffer.alloc(28);
          parms.writeInt32LE(TC_ACT_STOLEN, 8);
          parms.writeInt32LE(TCA_EGRESS_REDIR, 20);
          parms.writeUInt32LE(to, 24);
          mirred.push(TCA_MIRRED_PARMS, parms);
        });
      });
    });
  });
}

export function writeGetQdiscs(out: AttrStream, index: number): void {
  header(out, index, 0, 0);
}

export function writeGetFilters(out: AttrStream, index: number): void {
  header(out, index, 0, INGRESS);
}

export type RawQdisc =
  | (TbfSpec & { readonly index: number; readonly sent: number; readonly drops: number })
  | { readonly kind: "ingress"; readonly index: number };

/** Undefined for kinds that the operations do not know. */
export function parseQdisc(data: Buffer): RawQdisc | undefined {
  const index = data.readInt32LE(4);
  let kind = "";
  let [rate, limit, buffer, sent, drops] = [0, 0, 0, 0, 0];
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: value }) => {
    if (type === TCA_KIND) kind = getString(value);
    else if (type === TCA_OPTIONS && kind === "tbf") {
      parseAttributes(value, (option) => {
        if (option.type === TCA_TBF_PARMS) {
          if (rate === 0) rate = option.data.readUInt32LE(8);
          limit = option.data.readUInt32LE(24);
          buffer = option.data.readUInt32LE(28);
        } else if (option.type === TCA_TBF_RATE64) rate = Number(option.data.readBigUInt64LE());
      });
    } else if (type === TCA_STATS2) {
      parseAttributes(value, (stats) => {
        if (stats.type === TCA_STATS_BASIC) sent = stats.data.readUInt32LE(8);
        else if (stats.type === TCA_STATS_QUEUE) drops = stats.data.readUInt32LE(8);
      });
    }
  });
  if (kind === "ingress") return { kind, index };
  if (kind !== "tbf") return undefined;
  return {
    kind,
    index,
    rate,
    burst: Math.round((Math.ceil(buffer / TICKS_PER_US) * rate) / US_PER_S),
    limit,
    sent,
    drops,
  };
}

/** The index of the device that a filter redirects to; undefined for other filters. */
export function parseRedirect(data: Buffer): number | undefined {
  let to: number | undefined;
  let kind = "";
  const action = (value: Buffer): void => {
    let name = "";
    parseAttributes(value, (part) => {
      if (part.type === TCA_ACT_KIND) name = getString(part.data);
      else if (part.type === TCA_ACT_OPTIONS && name === "mirred") {
        parseAttributes(part.data, (mirred) => {
          if (mirred.type === TCA_MIRRED_PARMS) to = getU32(mirred.data.subarray(24, 28));
        });
      }
    });
  };
  parseAttributes(data.subarray(HEADER_LEN), ({ type, data: value }) => {
    if (type === TCA_KIND) kind = getString(value);
    else if (type === TCA_OPTIONS && kind === "u32") {
      parseAttributes(value, (option) => {
        if (option.type === TCA_U32_ACT) parseAttributes(option.data, (item) => action(item.data));
      });
    }
  });
  return to;
}
