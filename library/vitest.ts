/**
 * Matchers for Vitest: `import "podwire/vitest"` once, then
 *
 *   const traced = await cluster.trace("pod/a", "svc/web:80");
 *   expect(traced).toBeDelivered();
 *   expect(traced).toPassThrough("flannel.1");
 *   expect(traced).toBeDroppedBy("KUBE-SERVICES");
 */
import { expect } from "vitest";
import { hostPort } from "../cluster/api/ip.ts";
import { passesThrough } from "../cluster/trace/passes.ts";
import { renderTree } from "../cluster/trace/render-tree.ts";
import type { TraceResult } from "../cluster/trace/result.ts";
import type { Traced } from "../cluster/trace/tracing.ts";

interface TraceMatchers<R = unknown> {
  /** The packet reached a receiver; with a name ("web-1", "default/web-1", an address), that one. */
  toBeDelivered(to?: string): R;
  /** It was refused, with an answer. */
  toBeRejected(): R;
  /** It passed a node, device, hook, chain or object ("Service default/web"). */
  toPassThrough(what: string): R;
  /** It was dropped or rejected, by this drop reason, chain or text. */
  toBeDroppedBy(what: string): R;
}

declare module "vitest" {
  // biome-ignore lint/suspicious/noExplicitAny: the type parameter must be declared as Vitest declares it
  interface Assertion<T = any> extends TraceMatchers<T> {}
  interface AsymmetricMatchersContaining extends TraceMatchers {}
}

type Outcome = { readonly pass: boolean; readonly message: () => string };

function resultOf(received: unknown): Traced {
  const traced = received as Traced;
  if (traced?.result?.hops !== undefined) return traced;
  const result = received as TraceResult;
  if (result?.hops !== undefined) return { result, title: "", pcapng: null };
  throw new TypeError("expected what Cluster.trace answers");
}

function outcome(traced: Traced, pass: boolean, what: string): Outcome {
  return {
    pass,
    message: () => `expected the packet ${pass ? "not " : ""}to ${what}\n\n${renderTree(traced.result, traced.title)}`,
  };
}

expect.extend({
  toBeDelivered(received: unknown, to?: string): Outcome {
    const traced = resultOf(received);
    const { verdict, deliveredTo: d } = traced.result;
    const names = d === null ? [] : [d.name, `${d.namespace}/${d.name}`, d.ip, hostPort(d.ip, d.port ?? 0)];
    const pass = verdict === "delivered" && (to === undefined || names.includes(to));
    return outcome(traced, pass, to === undefined ? "be delivered" : `be delivered to ${to}`);
  },
  toBeRejected(received: unknown): Outcome {
    const traced = resultOf(received);
    return outcome(traced, traced.result.verdict === "rejected", "be rejected");
  },
  toPassThrough(received: unknown, what: string): Outcome {
    const traced = resultOf(received);
    return outcome(traced, passesThrough(traced.result, what), `pass ${what}`);
  },
  toBeDroppedBy(received: unknown, what: string): Outcome {
    const traced = resultOf(received);
    const { verdict, reason } = traced.result;
    const blamed = reason !== null && (reason.code.includes(what) || reason.text.includes(what));
    return outcome(traced, verdict !== "delivered" && blamed, `be dropped by ${what}`);
  },
});
