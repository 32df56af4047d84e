/**
 * `podwire up`: run the cluster until interrupted, with one unix socket a node for CNI executables. Virtual time follows
 * the wall clock here, and nowhere else.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { type BackendServer, serve } from "../../backend/socket-server.ts";
import type { Cluster } from "../../cluster/cluster.ts";
import { buildCluster, type ClusterFlags, withClusterOptions } from "../cluster-options.ts";
import { OK } from "../exit.ts";
import { table } from "../print.ts";

type Flags = ClusterFlags & { readonly run: string };

/** How often virtual time catches up with the wall clock, in milliseconds. */
const TICK = 10;

export const DEFAULT_RUN_DIR = "podwire.run";

export function upCommand(end: (code: number) => void): Command {
  return withClusterOptions(new Command("up"))
    .description("run the cluster until interrupted, and serve CNI executables on a socket for each node")
    .option("--run <dir>", "directory for the sockets and sandbox files", DEFAULT_RUN_DIR)
    .action(async (flags: Flags) => end(await up(flags)));
}

async function up(flags: Flags): Promise<number> {
  const cluster = await buildCluster(flags);
  const dir = resolve(flags.run);
  mkdirSync(join(dir, "netns"), { recursive: true, mode: 0o700 });
  const servers: BackendServer[] = [];
  const stopClock = followWallClock(cluster);
  try {
    for (const node of cluster.nodes.values()) servers.push(await serve(node.backend, join(dir, `${node.name}.sock`)));
    process.stdout.write(statusText(cluster, dir));
    await interrupted();
  } finally {
    stopClock();
    for (const server of servers) await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
  return OK;
}

function followWallClock(cluster: Cluster): () => void {
  const { loop } = cluster.world;
  const offset = loop.time - performance.now();
  const timer = setInterval(() => loop.run({ deadline: performance.now() + offset }), TICK);
  return () => clearInterval(timer);
}

function interrupted(): Promise<void> {
  return new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => done());
  });
}

function statusText(cluster: Cluster, dir: string): string {
  const rows = [...cluster.nodes.values()].map(({ name, ips }) => {
    const pods = cluster.store.list("Pod", { node: name });
    return [name, ips.join(", "), `${pods.length} pods`, join(dir, `${name}.sock`)];
  });
  return `${table([["NODE", "ADDRESS", "PODS", "SOCKET"], ...rows])}\nready; end with Ctrl-C\n`;
}
