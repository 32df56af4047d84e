/** `podwire exec POD -- COMMAND`: ping, curl, wget and nslookup inside an emulated pod. */
import { Command } from "commander";
import { buildCluster, type ClusterFlags, withClusterOptions } from "../cluster-options.ts";

export function execCommand(end: (code: number) => void): Command {
  return withClusterOptions(new Command("exec"))
    .description("run a network tool inside a pod: ping, curl, wget, nslookup")
    .argument("<pod>", "pod/NAME, deploy/NAME or a pod's name")
    .argument("<command...>", "what to run, after --")
    .action(async (pod: string, argv: string[], flags: ClusterFlags) => end(await exec(pod, argv, flags)));
}

/** The exit code is the tool's own, as `kubectl exec` gives it. */
async function exec(pod: string, argv: readonly string[], flags: ClusterFlags): Promise<number> {
  const cluster = await buildCluster(flags);
  const { stdout, stderr, exitCode } = cluster.exec(pod, argv, { namespace: flags.namespace });
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return exitCode;
}
