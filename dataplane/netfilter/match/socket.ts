/**
 * `-m socket` (xt_socket.c) with --transparent: whether a socket that takes packets for others' addresses (IP_TRANSPARENT) has
 * the packet's connection. There are none here, so it matches nothing; without --transparent it is refused.
 */
import type { MatchModule } from "./module.ts";

export type SocketMatch = { readonly kind: "socket"; readonly nowildcard: boolean; readonly restoreMark: boolean };

export const socketMatch: MatchModule<SocketMatch> = {
  name: "socket",
  options: { "--transparent": { args: 0 }, "--nowildcard": { args: 0 }, "--restore-skmark": { args: 0 } },
  parse(o) {
    if (!o.has("--transparent")) o.fail("only sockets that are --transparent can be asked for");
    return { kind: "socket", nowildcard: o.has("--nowildcard"), restoreMark: o.has("--restore-skmark") };
  },
  print: (m) => ` --transparent${m.nowildcard ? " --nowildcard" : ""}${m.restoreMark ? " --restore-skmark" : ""}`,
  test: () => false,
};
