/** All targets. A new one is a file here and a line in each of the three places below. */
import type { NfPacket } from "../packet.ts";
import { type ConnmarkTarget, connmarkTarget } from "./connmark.ts";
import { type CtTarget, ctTarget, type NotrackTarget, notrackTarget } from "./ct.ts";
import { type DnatTarget, dnatTarget } from "./dnat.ts";
import { type LogTarget, logTarget, type NflogTarget, nflogTarget } from "./log.ts";
import { type MarkTarget, markTarget } from "./mark.ts";
import { type MasqueradeTarget, masqueradeTarget } from "./masquerade.ts";
import type { TargetModule } from "./module.ts";
import { type NetmapTarget, netmapTarget } from "./netmap.ts";
import { type NfqueueTarget, nfqueueTarget } from "./nfqueue.ts";
import { type RedirectTarget, redirectTarget } from "./redirect.ts";
import { type RejectTarget, rejectTarget } from "./reject.ts";
import { type SetTarget, setTarget } from "./set.ts";
import { type SnatTarget, snatTarget } from "./snat.ts";
import type { JumpTarget, VerdictTarget } from "./standard.ts";
import { type TcpmssTarget, tcpmssTarget } from "./tcpmss.ts";
import { type DscpTarget, dscpTarget, type TosTarget, tosTarget } from "./tos.ts";
import { type HlTarget, hlTarget, type TtlTarget, ttlTarget } from "./ttl.ts";
import {
  type AuditTarget,
  auditTarget,
  type ChecksumTarget,
  type ClassifyTarget,
  checksumTarget,
  classifyTarget,
  type TraceTarget,
  traceTarget,
} from "./unseen.ts";

/** Targets that have a module. */
export type ExtensionTarget =
  | DnatTarget
  | SnatTarget
  | MasqueradeTarget
  | RedirectTarget
  | MarkTarget
  | ConnmarkTarget
  | RejectTarget
  | TcpmssTarget
  | CtTarget
  | NotrackTarget
  | LogTarget
  | NflogTarget
  | NetmapTarget
  | SetTarget
  | NfqueueTarget
  | TosTarget
  | DscpTarget
  | TtlTarget
  | HlTarget
  | ClassifyTarget
  | AuditTarget
  | TraceTarget
  | ChecksumTarget;

export type Target = VerdictTarget | JumpTarget | ExtensionTarget;

type ModuleOf = { readonly [K in ExtensionTarget["kind"]]: TargetModule<Extract<ExtensionTarget, { kind: K }>> };

const MODULES: ModuleOf = {
  DNAT: dnatTarget,
  SNAT: snatTarget,
  MASQUERADE: masqueradeTarget,
  REDIRECT: redirectTarget,
  MARK: markTarget,
  CONNMARK: connmarkTarget,
  REJECT: rejectTarget,
  TCPMSS: tcpmssTarget,
  CT: ctTarget,
  NOTRACK: notrackTarget,
  LOG: logTarget,
  NFLOG: nflogTarget,
  NETMAP: netmapTarget,
  SET: setTarget,
  NFQUEUE: nfqueueTarget,
  TOS: tosTarget,
  DSCP: dscpTarget,
  TTL: ttlTarget,
  HL: hlTarget,
  CLASSIFY: classifyTarget,
  AUDIT: auditTarget,
  TRACE: traceTarget,
  CHECKSUM: checksumTarget,
};

/** The module that `-j` names; undefined where the name is a chain's. */
export function targetModule(name: string): TargetModule<ExtensionTarget> | undefined {
  if (!Object.hasOwn(MODULES, name)) return undefined;
  return MODULES[name as ExtensionTarget["kind"]] as TargetModule<ExtensionTarget>;
}

export function isExtension(t: Target): t is ExtensionTarget {
  return t.kind !== "jump" && t.kind !== "ACCEPT" && t.kind !== "DROP" && t.kind !== "RETURN";
}

/** Whether connections must be tracked for it. */
export function targetTracks(t: Target): boolean {
  const module = targetModule(t.kind);
  return module?.tracks === true || module?.tracksWhere?.(t as ExtensionTarget) === true;
}

export function printTarget(t: Target): string {
  if (t.kind === "jump") return `${t.goto ? "-g" : "-j"} ${t.chain}`;
  return isExtension(t) ? `-j ${t.kind}${(MODULES[t.kind] as TargetModule<ExtensionTarget>).print(t)}` : `-j ${t.kind}`;
}

/** Answers a verdict or CONTINUE. */
export function runTarget(t: ExtensionTarget, p: NfPacket): number {
  switch (t.kind) {
    case "MARK":
      return markTarget.run(t, p);
    case "DNAT":
      return dnatTarget.run(t, p);
    case "MASQUERADE":
      return masqueradeTarget.run(t, p);
    default:
      return (MODULES[t.kind] as TargetModule<ExtensionTarget>).run(t, p);
  }
}
