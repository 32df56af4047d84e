/**
 * CNI errors: the codes of the specification (section 5, "Error"), ours from 100 on, and how other failures become one.
 */
import { NetlinkError } from "../../dataplane/netns/rtnl-ops.ts";
import { StoreError } from "../../ipam/store.ts";

export const INCOMPATIBLE_VERSION = 1;
export const UNSUPPORTED_FIELD = 2;
export const UNKNOWN_CONTAINER = 3;
export const BAD_ENV = 4;
export const IO_FAILURE = 5;
export const BAD_JSON = 6;
export const BAD_CONFIG = 7;
export const BAD_NETNS = 8;
export const TRY_AGAIN = 11;
export const UNAVAILABLE = 50;
export const UNAVAILABLE_LIMITED = 51;
/** The data plane refused an operation, or something unforeseen happened. */
export const FAILED = 100;
/** The interface or the lease that ADD should make exists. */
export const EXISTS = 101;
/** No address left, or the wanted one is not to be had. */
export const NO_ADDRESS = 102;
/** Nothing serves this sandbox path. */
export const NO_BACKEND = 103;
/** CHECK found something else than ADD left. */
export const NOT_AS_ADDED = 104;
/** A plugin cannot be found, or did not answer as plugins do. */
export const BAD_PLUGIN = 105;

export class CniError extends Error {
  override readonly name: string = "CniError";
  readonly code: number;
  readonly msg: string;
  readonly details: string;
  constructor(code: number, msg: string, details: string = "", options?: ErrorOptions) {
    super(details === "" ? msg : `${msg}: ${details}`, options);
    this.code = code;
    this.msg = msg;
    this.details = details;
  }
}

function codeOf(error: unknown): number {
  if (error instanceof StoreError) return error.code === "LOCKED" ? TRY_AGAIN : IO_FAILURE;
  if (error instanceof NetlinkError) return FAILED;
  // what node:fs throws: an errno name and the system call
  if (error instanceof Error && "syscall" in error && "errno" in error) return IO_FAILURE;
  return FAILED;
}

export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  const msg = error instanceof Error ? error.message : String(error);
  const details =
    error instanceof NetlinkError ? `${error.code}${error.failed ? ` in ${JSON.stringify(error.failed)}` : ""}` : "";
  return new CniError(codeOf(error), msg, details, { cause: error });
}

/** Several failures of one call that went on after each, as GC does. Nothing to report: nothing thrown. */
export function throwAll(errors: readonly unknown[]): void {
  const [first, ...rest] = errors.map(toCniError);
  if (first === undefined) return;
  if (rest.length === 0) throw first;
  throw new CniError(
    first.code,
    `${first.msg} (and ${rest.length} more)`,
    [first, ...rest].map((e) => e.message).join("; "),
  );
}

export function errorJson(error: CniError, cniVersion: string): string {
  const { code, msg, details } = error;
  return JSON.stringify(details === "" ? { cniVersion, code, msg } : { cniVersion, code, msg, details });
}
