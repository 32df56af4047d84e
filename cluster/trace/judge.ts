/** From what was observed to what is told: verdict, reason, receiver, and the hops both ways. */
import { dropReasonName } from "../../dataplane/wire/drop-reason.ts";
import { formatIp, formatIpPort } from "../../dataplane/wire/ip-key.ts";
import { hopsOf, type Names, type ToldHop } from "./hops.ts";
import type { Observed } from "./probe.ts";
import type { Endpoint, Hop, Reason, TraceResult, Verdict } from "./result.ts";
import { type Event, formatTuple, type Track } from "./tracer.ts";

export type Question = {
  readonly protocol: string;
  readonly source: Endpoint;
  readonly address: number;
  readonly port: number;
};

export type Judged = {
  readonly result: TraceResult;
  readonly forward: readonly ToldHop[];
  readonly reply: readonly ToldHop[];
};

/** `receiver` names who has a namespace's address. */
export function judge(
  observed: Observed,
  question: Question,
  names: Names,
  receiver: (event: Event) => Endpoint,
): Judged {
  const forward = observed.forward === null ? [] : hopsOf(observed.forward, names);
  const reply = observed.reply === null ? [] : hopsOf(observed.reply, names);
  const first = observed.forward?.events[0];
  const arrived = observed.forward?.last("deliver");
  const answer = replyVerdict(observed, reply);
  const held = observed.heldByRelay === true;
  const verdict = held ? "rejected" : verdictOf(observed, arrived !== undefined, answer);
  const result: TraceResult = {
    flow: `${question.protocol.toUpperCase()} ${flowText(first, question)}`,
    verdict,
    reason: verdict === "delivered" ? null : reasonOf(observed, verdict, forward, reply),
    source: question.source,
    deliveredTo: arrived === undefined || held ? null : receiver(arrived),
    masqueraded: arrived !== undefined && first !== undefined && arrived.tuple.src !== first.tuple.src,
    hops: forward.map(plain),
    reply: { verdict: answer, hops: reply.map(plain) },
    rules: countRules(observed.forward),
  };
  return { result, forward, reply };
}

function flowText(first: Event | undefined, { address, port, source }: Question): string {
  if (first !== undefined) return formatTuple(first.tuple);
  const to = port === 0 ? formatIp(address) : formatIpPort(address, port);
  return `${source.ip} → ${to}`;
}

function replyVerdict(observed: Observed, reply: readonly Hop[]): Verdict | "none" {
  if (observed.reply === null || reply.length === 0) return "none";
  return observed.reply.last("deliver") === undefined ? "dropped" : "delivered";
}

const REFUSALS: readonly string[] = ["ECONNREFUSED", "EHOSTUNREACH", "ECONNRESET", "ENOPROTOOPT"];

/** Refused with an answer is rejected; what just vanishes, or loses its answer, is dropped. */
function verdictOf(observed: Observed, arrived: boolean, answer: Verdict | "none"): Verdict {
  if (arrived) return answer === "dropped" || (answer === "none" && observed.error !== null) ? "dropped" : "delivered";
  const refused = REFUSALS.includes(observed.error ?? "");
  return answer === "delivered" && refused && !expired(observed) ? "rejected" : "dropped";
}

/** A TTL that ran out is no refusal, though somebody says so. */
function expired(observed: Observed): boolean {
  return observed.reply?.events[0]?.step.step === "socket" && /time/i.test(observed.reply.events[0].step.text);
}

function reasonOf(
  observed: Observed,
  verdict: Verdict,
  forward: readonly ToldHop[],
  reply: readonly ToldHop[],
): Reason {
  if (observed.heldByRelay === true)
    return {
      code: "NO_ENDPOINT",
      text: "kube-proxy took the connection and had no endpoint for it",
      hop: forward.at(-1)?.n ?? 0,
    };
  const drop = observed.forward?.last("drop");
  if (drop !== undefined && drop.step.step === "drop") return dropReason(drop.step, forward, "");
  const lost = observed.reply?.last("drop");
  if (lost !== undefined && lost.step.step === "drop") return dropReason(lost.step, reply, "the reply: ");
  if (observed.error !== null) return { code: observed.error, text: errorText(observed.error), hop: 0 };
  return {
    code: "ETIMEDOUT",
    text: `${verdict === "dropped" ? "the packet" : "it"} was neither delivered nor answered`,
    hop: 0,
  };
}

function dropReason(
  step: { readonly reason: number; readonly text: string },
  hops: readonly ToldHop[],
  prefix: string,
): Reason {
  const code = dropReasonName(step.reason);
  const at = hops.at(-1)?.n ?? 0;
  const rule = hops.findLast((h) => h.rule !== undefined && h.n >= at - 1)?.rule;
  if (code.endsWith("NETFILTER_DROP") && rule !== undefined) {
    const text = `${prefix}${rule.table} ${rule.chain} ${rule.number === 0 ? "policy" : rule.number} ${rule.text}`;
    const advice = adviceFor(rule.text);
    return { code, text, hop: at, ...(advice === null ? {} : { advice }) };
  }
  return { code, text: `${prefix}${step.text === code ? "" : step.text}`, hop: at };
}

/** kube-proxy says in the comment what is wrong. */
function adviceFor(rule: string): string | null {
  const noEndpoints = /--comment "?([^" ]+) has no (local )?endpoints"?/.exec(rule);
  if (noEndpoints === null) return null;
  const local = noEndpoints[2] === undefined ? "" : " on this node";
  return `a ready pod${local} that the selector of Service ${noEndpoints[1]?.split(":")[0]} matches`;
}

const ERRORS: Readonly<Record<string, string>> = {
  ENETUNREACH: "no route from the source",
  EHOSTUNREACH: "the host cannot be reached",
  ECONNREFUSED: "refused",
  ENOPROTOOPT: "the receiver speaks no SCTP",
  EADDRINUSE: "no free port at the source",
};

function errorText(code: string): string {
  return ERRORS[code] ?? "";
}

function countRules(track: Track | null): { examined: number; linear: number } {
  let examined = 0;
  let linear = 0;
  for (const { step } of track?.events ?? []) {
    if (step.step !== "hook") continue;
    examined += step.examined;
    linear += step.linear;
  }
  return { examined, linear };
}

function plain({ event: _event, ...hop }: ToldHop): Hop {
  return hop;
}
