/** The curves of a lookup benchmark as SVG, both axes logarithmic: what grows with the ruleset rises, what does not is flat. */
import { FIRST_PACKET } from "./lookups.ts";
import type { Metric } from "./measure.ts";

const WIDTH = 760;
const HEIGHT = 480;
const LEFT = 80;
const RIGHT = 190;
const TOP = 50;
const BOTTOM = 60;
const COLOURS: readonly string[] = ["#c0392b", "#2471a3", "#1e8449", "#7d3c98", "#b7950b"];

type Point = { readonly x: number; readonly y: number };

/** First packets to the last Service of the ruleset. */
export function plotLookups(metrics: readonly Metric[]): string {
  const curves = new Map<string, Point[]>();
  for (const m of metrics) {
    if (m.metric !== FIRST_PACKET || m.position !== "last") continue;
    const name = String(m.engine);
    const points = curves.get(name) ?? [];
    points.push({ x: Number(m.services), y: Math.max(1, m.value) });
    curves.set(name, points);
  }
  const all = [...curves.values()].flat();
  const xs = decades(all.map((p) => p.x));
  const ys = decades(all.map((p) => p.y));
  const place = (value: number, from: number, to: number, start: number, end: number): number =>
    start + ((Math.log10(value) - from) / (to - from)) * (end - start);
  const x = (v: number): number => place(v, xs.from, xs.to, LEFT, WIDTH - RIGHT);
  const y = (v: number): number => place(v, ys.from, ys.to, HEIGHT - BOTTOM, TOP);
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="28" font-size="16">First packet of a flow to the last Service</text>`,
  ];
  for (let d = xs.from; d <= xs.to; d++) {
    const at = fixed(x(10 ** d));
    out.push(line(at, TOP, at, HEIGHT - BOTTOM));
    out.push(
      `<text x="${at}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${(10 ** d).toLocaleString("en")}</text>`,
    );
  }
  for (let d = ys.from; d <= ys.to; d++) {
    const at = fixed(y(10 ** d));
    out.push(line(LEFT, at, WIDTH - RIGHT, at));
    out.push(`<text x="${LEFT - 8}" y="${at + 4}" text-anchor="end">${duration(10 ** d)}</text>`);
  }
  out.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 16}" text-anchor="middle">Services of two endpoints</text>`,
  );
  for (const [i, [name, points]] of [...curves].entries()) {
    const colour = COLOURS[i % COLOURS.length] ?? "#000000";
    const path = points.map((p) => `${fixed(x(p.x))},${fixed(y(p.y))}`);
    out.push(`<polyline points="${path.join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const p of points) out.push(`<circle cx="${fixed(x(p.x))}" cy="${fixed(y(p.y))}" r="3.5" fill="${colour}"/>`);
    const at = TOP + 14 + i * 22;
    out.push(`<rect x="${WIDTH - RIGHT + 20}" y="${at - 9}" width="16" height="4" fill="${colour}"/>`);
    out.push(`<text x="${WIDTH - RIGHT + 44}" y="${at}">${name}</text>`);
  }
  return `${out.join("\n")}\n</svg>\n`;
}

/** The powers of ten around some values, at least one apart. */
function decades(values: readonly number[]): { readonly from: number; readonly to: number } {
  const from = Math.floor(Math.log10(Math.min(...values, 1e9)));
  const to = Math.ceil(Math.log10(Math.max(...values, 1)));
  return { from, to: Math.max(to, from + 1) };
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#dddddd"/>`;
}

function duration(ns: number): string {
  if (ns >= 1e6) return `${ns / 1e6} ms`;
  return ns >= 1e3 ? `${ns / 1e3} µs` : `${ns} ns`;
}

function fixed(n: number): number {
  return Number(n.toFixed(1));
}
