/** Did the packet go that way? Used by `via` in packet-trace tests and by the matcher `toPassThrough`. */
import type { Hop, TraceResult } from "./result.ts";

/** Whether a forward hop is at, by or caused by `what`: a node, a device, a hook, a chain, or an object ("Service default/web"). */
export function passesThrough(result: TraceResult, what: string): boolean {
  return result.hops.some((hop) => hopIs(hop, what));
}

function hopIs(hop: Hop, what: string): boolean {
  if (hop.node === what || hop.device === what || hop.step === what || hop.netns === what) return true;
  const rule = hop.rule;
  if (rule === undefined) return hop.action.includes(what);
  return rule.chain === what || rule.table === what || rule.text.includes(what) || rule.origin.startsWith(what);
}
