/**
 * What a call of a CNI plugin takes, ours against another suite's, in alternation in one run: wall time, as a runtime sees
 * it. All happens in throw-away namespaces. The ratio is of the medians: below 1 ours is faster.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bridge, hostLocal } from "../cli/conformance/case.ts";
import { type Answer, Lab, must, show } from "../cli/conformance/lab.ts";
import type { JsonObject } from "../plugins/cni/types.ts";
import { type Metric, median } from "./measure.ts";

export type CniBench = {
  readonly ours: string;
  readonly other: string;
  readonly rounds: number;
  readonly progress: (what: string) => void;
};

const AT_ONCE = 20;
const MANY_LEASES = 4000;
const VERSION = "1.0.0";

type Times = Map<string, number[]>;

function ms(since: bigint): number {
  return Number(process.hrtime.bigint() - since) / 1e6;
}

function note(times: Times, what: string, value: number): void {
  const known = times.get(what);
  if (known === undefined) times.set(what, [value]);
  else known.push(value);
}

function timed(lab: Lab, times: Times, what: string, plugin: string, command: string, conf: JsonObject): JsonObject {
  const since = process.hrtime.bigint();
  const answer = lab.call(plugin, command, conf);
  note(times, what, ms(since));
  must(answer.status === 0, `${what}: ${show(answer)}`);
  return answer.json;
}

function pair(lab: Lab, times: Times, what: string, plugin: string, conf: JsonObject): void {
  const prevResult = timed(lab, times, `${what} ADD`, plugin, "ADD", conf);
  timed(lab, times, `${what} DEL`, plugin, "DEL", { ...conf, prevResult });
}

function portmap(prevResult: JsonObject): JsonObject {
  const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
  return { cniVersion: VERSION, name: "net", type: "portmap", runtimeConfig, prevResult };
}

function one(lab: Lab, times: Times): void {
  timed(lab, times, "VERSION", "bridge", "VERSION", { cniVersion: VERSION });
  pair(lab, times, "bridge", "bridge", bridge(lab, { cniVersion: VERSION }));
  pair(lab, times, "bridge ipMasq", "bridge", bridge(lab, { cniVersion: VERSION, ipMasq: true }));
  const plain = bridge(lab, { cniVersion: VERSION });
  const prevResult = lab.good("bridge", "ADD", plain);
  const ports = portmap(prevResult);
  timed(lab, times, "portmap ADD", "portmap", "ADD", ports);
  timed(lab, times, "portmap DEL", "portmap", "DEL", ports);
  lab.good("bridge", "DEL", { ...plain, prevResult });
  const ipam = hostLocal(lab, { ranges: [[{ subnet: "10.64.0.0/16" }]] });
  pair(lab, times, `host-local with ${MANY_LEASES} leases`, "host-local", {
    cniVersion: VERSION,
    name: "many",
    type: "host-local",
    ipam,
  });
}

/** Leases as any suite keeps them. */
function plant(lab: Lab): void {
  const dir = join(lab.dir, "leases", "many");
  mkdirSync(dir, { recursive: true });
  for (let i = 0; i < MANY_LEASES; i++) {
    const ip = `10.64.${1 + (i >> 8)}.${i & 0xff}`;
    writeFileSync(join(dir, ip), `container-${i}\r\neth0`);
  }
}

async function together(lab: Lab, times: Times, pods: readonly string[]): Promise<void> {
  const conf = bridge(lab, { cniVersion: VERSION, name: "together", ipMasq: true });
  let results: readonly JsonObject[] = [];
  for (const command of ["ADD", "DEL"]) {
    const since = process.hrtime.bigint();
    const answers: readonly Answer[] = await Promise.all(
      pods.map((CNI_NETNS, i) => {
        const prevResult = results[i];
        const own = prevResult === undefined ? conf : { ...conf, prevResult };
        return lab.start("bridge", command, own, { CNI_NETNS, CNI_CONTAINERID: `t${i}` });
      }),
    );
    note(times, `${AT_ONCE} at once, ipMasq, ${command}`, ms(since));
    for (const answer of answers) must(answer.status === 0, `${command} at once: ${show(answer)}`);
    results = answers.map((answer) => answer.json);
  }
}

export async function benchCni({ ours, other, rounds, progress }: CniBench): Promise<Metric[]> {
  const labs = [await Lab.open(ours), await Lab.open(other)] as const;
  const times: readonly [Times, Times] = [new Map(), new Map()];
  try {
    const pods: string[][] = [[], []];
    for (const [side, lab] of labs.entries()) {
      plant(lab);
      for (let i = 0; i < AT_ONCE; i++) pods[side]?.push(await lab.backend.addNetns(`pod-${i}`));
    }
    for (let round = 0; round <= rounds; round++) {
      progress(round === 0 ? "a first round that does not count" : `round ${round} of ${rounds}`);
      for (const side of [0, 1] as const) {
        one(labs[side], times[side]);
        await together(labs[side], times[side], pods[side] ?? []);
      }
      if (round === 0) for (const side of times) side.clear();
    }
  } finally {
    for (const lab of labs) await lab.close();
  }
  return [...times[0]].map(([what, values]) => {
    const [mine, theirs] = [median(values), median(times[1].get(what) ?? [])];
    const round = (value: number): number => Math.round(value * 100) / 100;
    return {
      metric: `cni ${what}`,
      value: round(mine / theirs),
      unit: "ratio",
      ours: `${round(mine)} ms`,
      other: `${round(theirs)} ms`,
      rounds,
    };
  });
}
