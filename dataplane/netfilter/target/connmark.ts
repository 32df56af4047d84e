/** CONNMARK (xt_connmark.c): bits of the connection's mark, and copies between it and the packet's. */
import { hex } from "../options.ts";
import { MARK_OPTIONS, parseMark } from "./mark.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type ConnmarkTarget = {
  readonly kind: "CONNMARK";
  readonly mode: "set" | "save" | "restore";
  /** set: the bits to flip. */
  readonly value: number;
  /** set: the bits to clear; save and restore: those of the connection's mark. */
  readonly ctmask: number;
  readonly nfmask: number;
};

export const connmarkTarget: TargetModule<ConnmarkTarget> = {
  name: "CONNMARK",
  options: {
    ...MARK_OPTIONS,
    "--save-mark": { args: 0 },
    "--restore-mark": { args: 0 },
    "--mask": { args: 1 },
    "--nfmask": { args: 1 },
    "--ctmask": { args: 1 },
  },
  tracks: true,
  parse(o) {
    const { name, value, mask } = parseMark(o, ["--save-mark", "--restore-mark"]);
    if (name !== "--save-mark" && name !== "--restore-mark") {
      return { kind: "CONNMARK", mode: "set", value, ctmask: mask, nfmask: 0xffffffff };
    }
    const both = o.number("--mask", 0, 0xffffffff);
    return {
      kind: "CONNMARK",
      mode: name === "--save-mark" ? "save" : "restore",
      value: 0,
      ctmask: both ?? o.number("--ctmask", 0, 0xffffffff) ?? 0xffffffff,
      nfmask: both ?? o.number("--nfmask", 0, 0xffffffff) ?? 0xffffffff,
    };
  },
  print(t) {
    if (t.mode === "set") return ` --set-xmark ${hex(t.value)}/${hex(t.ctmask)}`;
    return ` --${t.mode}-mark --nfmask ${hex(t.nfmask)} --ctmask ${hex(t.ctmask)}`;
  },
  run(t, p) {
    const conn = p.conn;
    if (conn === null) return CONTINUE;
    if (t.mode === "set") conn.mark = ((conn.mark & ~t.ctmask) ^ t.value) >>> 0;
    else if (t.mode === "save") conn.mark = ((conn.mark & ~t.ctmask) ^ (p.skb.mark & t.nfmask)) >>> 0;
    else p.skb.mark = ((p.skb.mark & ~t.nfmask) ^ (conn.mark & t.ctmask)) >>> 0;
    return CONTINUE;
  },
};
