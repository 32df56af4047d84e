/**
 * Which leases nobody holds any more: those of attachments that the runtime no longer lists (CNI 1.1.0, GC), and
 * records that cannot be read.
 */
import { isOwner, type Lease, type Owner } from "./lease.ts";

export function staleLeases(leases: readonly Lease[], valid: readonly Owner[]): readonly Lease[] {
  const byContainer = new Map<string, Owner[]>();
  for (const owner of valid) {
    const known = byContainer.get(owner.containerId);
    if (known === undefined) byContainer.set(owner.containerId, [owner]);
    else known.push(owner);
  }
  return leases.filter((lease) => {
    const candidates = lease.owner === undefined ? undefined : byContainer.get(lease.owner.containerId);
    return candidates === undefined || !candidates.some((owner) => isOwner(lease.owner, owner));
  });
}
