/**
 * A lease: which attachment holds an address, and its text as the reference host-local plugin keeps it
 * (`CONTAINERID\r\nIFNAME`; files of very old versions hold the container id alone).
 */

/** One attachment: a container's interface. */
export type Owner = { readonly containerId: string; readonly ifname: string };
export type Lease = {
  readonly ip: string;
  /** Undefined where the record cannot be read, as after a crash: the address is taken, by nobody. */
  readonly owner: Owner | undefined;
};

const LINE_BREAK = "\r\n";

export function formatOwner(owner: Owner): string {
  return `${owner.containerId.trim()}${LINE_BREAK}${owner.ifname}`;
}

export function parseOwner(text: string): Owner | undefined {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const containerId = lines[0] ?? "";
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerId)) return undefined;
  return { containerId, ifname: lines[1] ?? "" };
}

/** Whether a lease's owner is this attachment; a record without an interface belongs to all of the container. */
export function isOwner(recorded: Owner | undefined, owner: Owner): boolean {
  return (
    recorded !== undefined &&
    recorded.containerId === owner.containerId &&
    (recorded.ifname === owner.ifname || recorded.ifname === "")
  );
}
