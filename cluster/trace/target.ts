/** The words for ends of a trace: `pod/a`, `deploy/web`, `svc/web:80`, `node/node-1:30080`, `external`, an address, a name. */
import { formatIp, isKey6, parseIp } from "../../dataplane/wire/ip-key.ts";
import { InputError } from "../manifests/input-error.ts";

export type TargetKind = "Pod" | "Service" | "Node" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job";

export type Target =
  | {
      readonly type: "object";
      readonly kind: TargetKind;
      readonly namespace: string;
      readonly name: string;
      /** A number or a port's name; "" if none was given. */
      readonly port: string;
    }
  | {
      readonly type: "address";
      readonly address: string;
      readonly port: string;
      /** How one would write the address and the port that it may have been meant for: "fd00::1:53" is both. */
      readonly or?: string;
    }
  | { readonly type: "name"; readonly name: string; readonly port: string }
  | { readonly type: "external"; readonly port: string };

/** kubectl's short and plural names as well. */
const KINDS: Readonly<Record<string, TargetKind>> = {
  pod: "Pod",
  pods: "Pod",
  po: "Pod",
  svc: "Service",
  service: "Service",
  services: "Service",
  node: "Node",
  nodes: "Node",
  no: "Node",
  deploy: "Deployment",
  deployment: "Deployment",
  deployments: "Deployment",
  sts: "StatefulSet",
  statefulset: "StatefulSet",
  statefulsets: "StatefulSet",
  ds: "DaemonSet",
  daemonset: "DaemonSet",
  daemonsets: "DaemonSet",
  rs: "ReplicaSet",
  replicaset: "ReplicaSet",
  job: "Job",
  jobs: "Job",
};

const EXPECTED =
  "pod/NAME, deploy/NAME, svc/NAME:PORT, node/NAME, external, an address ([ADDRESS]:PORT for IPv6) or a DNS name";

/** Reads an end of a trace. `KIND/NAMESPACE/NAME` overrides `namespace`. Throws InputError naming the argument. */
export function parseTarget(text: string, argument: string, namespace: string): Target {
  const bad = (found: string, expected = EXPECTED): InputError =>
    new InputError({ file: "command line", line: 0, field: argument, found, expected });
  // An IPv6 address has colons of its own, unless brackets hold them.
  const bare = parseIp(text.replace(/^\[(.*)\]$/, "$1"));
  if (bare !== undefined && isKey6(bare)) {
    const [, shorter = "", last = ""] = /^([^[]*):([0-9]{1,5})$/.exec(text) ?? [];
    const or = parseIp(shorter) === undefined ? {} : { or: `[${shorter}]:${last}` };
    return { type: "address", address: formatIp(bare), port: "", ...or };
  }
  const colon = text.lastIndexOf(":");
  const head = colon < 0 ? text : text.slice(0, colon);
  const port = colon < 0 ? "" : text.slice(colon + 1);
  if (colon >= 0 && !/^(?:[0-9]{1,5}|[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?)$/.test(port)) {
    throw bad(JSON.stringify(text), "a port number or a port name after the colon");
  }
  if (/^[0-9]+$/.test(port) && (Number(port) < 1 || Number(port) > 65535)) throw bad(port, "a port from 1 to 65535");
  if (head === "external" || head === "internet") return { type: "external", port };
  const address = parseIp(/^\[.*:.*\]$/.test(head) ? head.slice(1, -1) : head);
  if (address !== undefined) return { type: "address", address: formatIp(address), port };
  if (/^[0-9.]+$/.test(head) || head.includes(":")) throw bad(JSON.stringify(text));
  const parts = head.split("/");
  if (parts.length === 1) {
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9.])?$/i.test(head)) throw bad(JSON.stringify(text));
    return { type: "name", name: head, port };
  }
  const kind = KINDS[(parts[0] ?? "").toLowerCase()];
  if (kind === undefined || parts.length > 3) throw bad(JSON.stringify(text));
  const name = parts[parts.length - 1] ?? "";
  if (name === "") throw bad(JSON.stringify(text));
  return { type: "object", kind, namespace: parts.length === 3 ? (parts[1] ?? "") : namespace, name, port };
}
