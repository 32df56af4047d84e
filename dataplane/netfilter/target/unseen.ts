/**
 * Targets that change nothing which a packet shows: CLASSIFY sets the class for queues, AUDIT and TRACE write logs, CHECKSUM
 * fills in a sum that a card would have filled in.
 */
import { completeChecksum } from "../../skb/partial-checksum.ts";
import { PROTO_UDP } from "../../wire/ipv4.ts";
import { NF_INET_FORWARD, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING } from "../hooks.ts";
import { CONTINUE, type TargetModule } from "./module.ts";

export type ClassifyTarget = { readonly kind: "CLASSIFY"; readonly major: number; readonly minor: number };
export type AuditTarget = { readonly kind: "AUDIT"; readonly type: string };
export type TraceTarget = { readonly kind: "TRACE" };
export type ChecksumTarget = { readonly kind: "CHECKSUM" };

const AUDIT_TYPES: readonly string[] = ["accept", "drop", "reject"];

export const classifyTarget: TargetModule<ClassifyTarget> = {
  name: "CLASSIFY",
  options: { "--set-class": { args: 1 } },
  hooks: (1 << NF_INET_FORWARD) | (1 << NF_INET_LOCAL_OUT) | (1 << NF_INET_POST_ROUTING),
  tables: ["mangle"],
  parse(o) {
    const text = o.need("--set-class");
    const [, major = "", minor = ""] = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(text) ?? [];
    if (major === "") o.fail(`option --set-class: "${text}" is not MAJOR:MINOR`);
    return { kind: "CLASSIFY", major: Number.parseInt(major, 16), minor: Number.parseInt(minor, 16) };
  },
  print: (t) => ` --set-class ${[t.major, t.minor].map((n) => n.toString(16).padStart(4, "0")).join(":")}`,
  run: () => CONTINUE,
};

export const auditTarget: TargetModule<AuditTarget> = {
  name: "AUDIT",
  options: { "--type": { args: 1 } },
  parse(o) {
    const type = o.need("--type");
    if (!AUDIT_TYPES.includes(type)) o.fail(`option --type: "${type}" is not one of ${AUDIT_TYPES.join(", ")}`);
    return { kind: "AUDIT", type };
  },
  print: (t) => ` --type ${t.type}`,
  run: () => CONTINUE,
};

export const traceTarget: TargetModule<TraceTarget> = {
  name: "TRACE",
  options: {},
  tables: ["raw"],
  parse: () => ({ kind: "TRACE" }),
  print: () => "",
  run: () => CONTINUE,
};

export const checksumTarget: TargetModule<ChecksumTarget> = {
  name: "CHECKSUM",
  options: { "--checksum-fill": { args: 0 } },
  tables: ["mangle"],
  parse(o) {
    if (!o.has("--checksum-fill")) o.fail("option --checksum-fill is required");
    return { kind: "CHECKSUM" };
  },
  print: () => " --checksum-fill",
  run(_t, p) {
    if (p.proto === PROTO_UDP) completeChecksum(p.skb);
    return CONTINUE;
  },
};
