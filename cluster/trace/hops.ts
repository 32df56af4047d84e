/** Turns what happened to a packet into hops: one for each step worth telling, rules of one hook under one number. */
import type { NetNs } from "../../dataplane/netns/netns.ts";
import type { TracedRule } from "../../dataplane/skb/trace.ts";
import { dropReasonName } from "../../dataplane/wire/drop-reason.ts";
import { effectiveRules } from "./effective-rules.ts";
import type { Hop } from "./result.ts";
import { type Event, formatTuple, type Track } from "./tracer.ts";

/** What a trace needs to know of the cluster to name things. */
export type Names = {
  /** Tell every rule that matched, not just those that did something. */
  readonly allRules: boolean;
  /** "host", or "pod default/web-1". */
  placeOf(ns: NetNs): string;
  /** The object behind a rule: "Service default/web, web.yaml:12"; "" if none. */
  originOfRule(node: string, rule: TracedRule): string;
  /** The object behind a route: "flannel lease of node-2"; "" if none. */
  originOfRoute(node: string, route: string): string;
};

/** A hop and the number of the event that it tells. */
export type ToldHop = Hop & { readonly event: number };

/** Hops are numbered from 1. */
export function hopsOf(track: Track, names: Names): ToldHop[] {
  const hops: ToldHop[] = [];
  let n = 0;
  for (const [i, event] of track.events.entries()) {
    const made = hopsOfEvent(event, track.events[i + 1], names);
    if (made.length === 0) continue;
    n++;
    for (const hop of made) hops.push({ ...hop, n, event: i });
  }
  return hops;
}

function hopsOfEvent(event: Event, next: Event | undefined, names: Names): Hop[] {
  const { ns, step, tuple } = event;
  const packet = formatTuple(tuple);
  const at = { n: 0, node: ns.node, netns: names.placeOf(ns), packet };
  switch (step.step) {
    case "socket":
      return [{ ...at, device: "", step: "socket", action: step.text }];
    case "route": {
      const origin = names.originOfRoute(ns.node, step.text);
      return [{ ...at, device: "", step: "route", action: origin === "" ? step.text : `${step.text}   ${origin}` }];
    }
    case "neighbor":
      return [{ ...at, device: step.dev, step: "neighbor", action: step.text }];
    case "out":
      // A bridge and a tunnel say more in their next step.
      if (step.kind === "bridge" || step.kind === "vxlan") return [];
      return [{ ...at, device: step.dev, step: "out", action: step.text === "" ? "out" : `out, ${step.text}` }];
    case "in":
      if (next?.step.step === "bridge" || (next?.step.step === "hook" && next.ns === ns && isPort(event, next)))
        return [];
      return [{ ...at, device: step.dev, step: "in", action: "in" }];
    case "bridge":
      return [{ ...at, device: step.dev, step: "bridge", action: step.text }];
    case "encap":
      return [{ ...at, device: step.dev, step: "encap", action: step.text }];
    case "decap":
      return [{ ...at, device: step.dev, step: "decap", action: step.text }];
    case "fragment":
      return [{ ...at, device: step.dev, step: "fragment", action: step.text }];
    case "deliver":
      return [{ ...at, device: "", step: "deliver", action: step.text }];
    case "drop":
      return [{ ...at, device: "", step: "drop", action: dropText(step.reason, step.text) }];
    case "hook": {
      const rules = names.allRules ? step.rules : effectiveRules(step.rules);
      if (rules.length === 0) {
        // Later packets of a connection are rewritten without asking the rules again.
        return step.nat === ""
          ? []
          : [{ ...at, device: step.dev, step: step.hook, action: `conntrack ${step.ctState}, ${step.nat}` }];
      }
      return rules.map((rule) => ({
        ...at,
        device: step.dev,
        step: step.hook,
        action: targetOf(rule.text),
        rule: { ...rule, origin: names.originOfRule(ns.node, rule) },
      }));
    }
  }
}

/** A frame that came in by a bridge port is told by the bridge. */
function isPort(event: Event, next: Event): boolean {
  const dev = event.step.step === "in" ? event.ns.dev(event.step.dev) : undefined;
  return dev?.master !== null && dev !== undefined && next.ns === event.ns;
}

function dropText(reason: number, text: string): string {
  const name = dropReasonName(reason);
  return text === name ? name : `${name}: ${text}`;
}

/** What a rule does: the word after -j or -g; a policy names itself. */
function targetOf(text: string): string {
  return /(?:^|\s)-[jg] (\S+)/.exec(text)?.[1] ?? text;
}
