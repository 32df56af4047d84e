// The first run: install what is missing, build, and trace a pod that calls a Service on another node.
import { root, run } from "./ensure-installed.mjs";

await import("./build.mjs");
console.log("");
const args = [
  "trace",
  "deploy/frontend",
  "svc/backend:80",
  "-f",
  "examples/shop",
  "--nodes",
  "3",
  "--pcap",
  "trace.pcapng",
];
console.log(`$ ./podwire ${args.join(" ")}\n`);
process.exitCode = run(process.execPath, [`${root}dist/podwire.mjs`, ...args]);
