/** Changing rules that other calls change too: plan from what is there, apply, and plan again if that was refused. */
import type { Backend } from "../../backend/ops.ts";
import { NetlinkError, type RtnlOp } from "../../dataplane/netns/rtnl-ops.ts";

const ATTEMPTS = 8;

/** Plans from the rules as they are and applies; plans again if another call changed them in between. */
export async function replan(backend: Backend, plan: () => Promise<readonly RtnlOp[]>): Promise<void> {
  let before = JSON.stringify(await plan());
  for (let attempt = 1; ; attempt++) {
    const ops = JSON.parse(before) as readonly RtnlOp[];
    if (ops.length === 0) return;
    try {
      await backend.apply(ops);
      return;
    } catch (error) {
      const now = JSON.stringify(await plan());
      if (attempt >= ATTEMPTS || !(error instanceof NetlinkError) || now === before) throw error;
      before = now;
    }
  }
}

/** Operations that are refused as a whole where the rules are not as expected; false then. */
export async function tryExact(backend: Backend, ops: readonly RtnlOp[]): Promise<boolean> {
  try {
    await backend.apply(ops);
    return true;
  } catch (error) {
    if (error instanceof NetlinkError) return false;
    throw error;
  }
}
