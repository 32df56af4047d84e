/**
 * `-m owner` (xt_owner.c): who opened the socket. Sockets have no owner here, so a packet is like one without a socket: it
 * matches only where all that is asked is negated.
 */
import { opt } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type OwnerMatch = {
  readonly kind: "owner";
  /** As written: a number or a range. */
  readonly uid: string;
  readonly notUid: boolean;
  readonly gid: string;
  readonly notGid: boolean;
  readonly socket: boolean;
  readonly notSocket: boolean;
};

export const ownerMatch: MatchModule<OwnerMatch> = {
  name: "owner",
  options: {
    "--uid-owner": { args: 1, not: true },
    "--gid-owner": { args: 1, not: true },
    "--socket-exists": { args: 0, not: true },
  },
  parse(o) {
    const id = (name: string): string => {
      const text = o.text(name) ?? "";
      if (text !== "" && !/^\d+(-\d+)?$/.test(text)) o.fail(`option ${name}: "${text}" is not a number or a range`);
      return text;
    };
    return {
      kind: "owner",
      uid: id("--uid-owner"),
      notUid: o.not("--uid-owner"),
      gid: id("--gid-owner"),
      notGid: o.not("--gid-owner"),
      socket: o.has("--socket-exists"),
      notSocket: o.not("--socket-exists"),
    };
  },
  print: (m) =>
    (m.socket ? `${m.notSocket ? " !" : ""} --socket-exists` : "") +
    (m.uid === "" ? "" : opt(m.notUid, "--uid-owner", m.uid)) +
    (m.gid === "" ? "" : opt(m.notGid, "--gid-owner", m.gid)),
  test: (m) => (m.uid === "" || m.notUid) && (m.gid === "" || m.notGid) && (!m.socket || m.notSocket),
};
