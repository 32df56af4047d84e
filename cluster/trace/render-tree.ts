/** A trace as a story for people: one block a node and namespace, one line a step, the packet where it changed. */
import { hostPort } from "../api/ip.ts";
import type { Hop, TraceResult } from "./result.ts";

/** Colours, or the text as it is. */
export type Paint = {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly note: (text: string) => string;
};

const SAME = (text: string): string => text;
export const PLAIN: Paint = { bold: SAME, dim: SAME, good: SAME, bad: SAME, note: SAME };

export function renderTree(result: TraceResult, title: string, paint: Paint = PLAIN): string {
  const lines = [paint.bold(`${result.flow}   ${title}`), ""];
  renderHops(lines, result.hops, paint);
  if (result.reply.hops.length > 0) {
    lines.push("", paint.bold("reply"));
    renderHops(lines, result.reply.hops, paint);
  }
  if (lines.at(-1) !== "") lines.push("");
  lines.push(...verdictLines(result, paint));
  return `${lines.join("\n")}\n`;
}

function renderHops(lines: string[], hops: readonly Hop[], paint: Paint): void {
  const steps = groupSteps(hops);
  const width = Math.max(0, ...steps.map((s) => label(s[0] as Hop).length));
  let place = "";
  let packet = hops[0]?.packet ?? "";
  for (const step of steps) {
    const first = step[0] as Hop;
    const here = `${first.node}  ${first.netns}`;
    if (here !== place) lines.push(paint.bold(here));
    place = here;
    const margin = `${String(first.n).padStart(4)}  ${label(first).padEnd(width)}  `;
    const blank = " ".repeat(margin.length);
    const texts = first.rule === undefined ? [first.action] : ruleLines(step);
    for (const [i, text] of texts.entries()) lines.push((i === 0 ? margin : blank) + text);
    if (first.packet !== packet) lines.push(blank + paint.note(`► ${first.packet}`));
    packet = first.packet;
  }
}

/** Hops that share a number stand together. */
function groupSteps(hops: readonly Hop[]): Hop[][] {
  const steps: Hop[][] = [];
  for (const hop of hops) {
    const last = steps.at(-1);
    if (last !== undefined && last[0]?.n === hop.n) last.push(hop);
    else steps.push([hop]);
  }
  return steps;
}

/** A device step is known by its device, another by its name. */
function label(hop: Hop): string {
  const byDevice = hop.step === "in" || hop.step === "out" || hop.step === "bridge" || hop.step === "encap";
  return byDevice || hop.step === "decap" ? hop.device : hop.step;
}

function ruleLines(step: readonly Hop[]): string[] {
  const heads = step.map(
    (h) => `${h.rule?.table} ${h.rule?.chain} ${h.rule?.number === 0 ? "policy" : h.rule?.number}`,
  );
  const texts = step.map((h) => withoutComment(h.rule?.text ?? ""));
  const headWidth = Math.max(...heads.map((h) => h.length));
  const textWidth = Math.min(72, Math.max(...texts.map((t) => t.length)));
  return step.map((h, i) => {
    const origin = h.rule?.origin === step[i - 1]?.rule?.origin ? "" : (h.rule?.origin ?? "");
    const line = `${(heads[i] as string).padEnd(headWidth)}   ${texts[i]}`;
    return origin === "" ? line : `${line.padEnd(headWidth + 3 + textWidth)}   ${origin}`;
  });
}

/** The comment says what the origin says better, and `-p tcp -m tcp` says it twice. */
function withoutComment(text: string): string {
  return text
    .replace(/-m comment --comment ("(?:[^"\\]|\\.)*"|\S+) ?/g, "")
    .replace(/-p (\w+) -m \1 /, "-p $1 ")
    .trim();
}

function verdictLines(result: TraceResult, paint: Paint): string[] {
  const lines: string[] = [];
  const to = result.deliveredTo;
  if (result.verdict === "delivered" && to !== null) {
    const where = `${to.kind} ${to.namespace === "" ? "" : `${to.namespace}/`}${to.name}`;
    const port = to.port === null ? to.ip : hostPort(to.ip, to.port);
    if (to.kind === "Device") {
      const masq = result.masqueraded ? ", masqueraded" : "";
      lines.push(paint.good(`✔ leaves by ${to.name} for ${port}${masq}`), rulesLine(result, paint));
      return lines;
    }
    const seen = result.masqueraded ? ", which sees the source masqueraded" : "";
    const back =
      result.reply.verdict === "delivered"
        ? "; the reply came back"
        : result.reply.verdict === "none"
          ? "; no reply was sent"
          : "; the reply was lost";
    const on = to.kind === "Node" || to.node === "" ? "" : ` on ${to.node}`;
    lines.push(paint.good(`✔ delivered to ${where}${on}, ${port}${seen}${back}${replySource(result)}`));
  } else {
    const reason = result.reason;
    const hop = reason === null || reason.hop === 0 ? "" : ` at step ${reason.hop}`;
    const why = reason === null ? "" : `, ${reason.code}${reason.text === "" ? "" : `: ${reason.text}`}`;
    lines.push(paint.bad(`✘ ${result.verdict}${hop}${why}`));
    if (reason?.advice !== undefined) lines.push(`  to allow it: ${reason.advice}`);
  }
  lines.push(rulesLine(result, paint));
  return lines;
}

function rulesLine(result: TraceResult, paint: Paint): string {
  const { examined, linear } = result.rules;
  const walk = linear === examined ? "" : ` (a linear walk: ${linear})`;
  return paint.dim(`  ${examined} rule${examined === 1 ? "" : "s"} examined${walk}`);
}

/** Where the answer seems to come from, as the sender sees it. */
function replySource(result: TraceResult): string {
  if (result.reply.verdict !== "delivered") return "";
  const last = result.reply.hops.at(-1)?.packet ?? "";
  const source = last.split(" → ")[0];
  return source === undefined || source === "" ? "" : ` from ${source}`;
}
