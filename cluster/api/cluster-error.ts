/** What makes a cluster impossible to build: settings that contradict each other or do not suffice. */
import { formatPath, type Path } from "./issue.ts";
import { type KubeObject, keyOf } from "./meta.ts";

export type ClusterErrorReason =
  | "CidrInvalid"
  | "CidrExhausted"
  | "CidrOverlap"
  | "AddressOutOfRange"
  | "FamilyMissing"
  | "AddressInUse"
  | "PortInUse"
  | "PortsExhausted";

export class ClusterError extends Error {
  override readonly name: string = "ClusterError";
  readonly reason: ClusterErrorReason;
  /** The object and field it is about, where there is one: its origin has the line. */
  readonly object: KubeObject | null;
  readonly path: Path;
  /** The message without them. */
  readonly detail: string;
  constructor(reason: ClusterErrorReason, message: string, object: KubeObject | null = null, path: Path = []) {
    super(
      object === null
        ? message
        : `${object.kind} ${keyOf(object)}: ${path.length === 0 ? "" : `${formatPath(path)}: `}${message}`,
    );
    this.reason = reason;
    this.object = object;
    this.path = path;
    this.detail = message;
  }
}
