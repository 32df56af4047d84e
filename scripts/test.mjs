// npm test: install what is missing (as root on Debian also the tools that the kernel tests need), build, lint, run every
// test. What cannot run here is listed by name with its reason at the end (test/support/skip-reporter.ts).
import { spawnSync } from "node:child_process";
import { ensureInstalled, root, run, runOrExit } from "./ensure-installed.mjs";

const TOOLS = {
  ip: "iproute2",
  iptables: "iptables",
  nft: "nftables",
  tshark: "tshark",
  tcpdump: "tcpdump",
  ethtool: "ethtool",
  ipset: "ipset",
  podman: "podman",
  crun: "crun",
  ctr: "containerd",
  runc: "runc",
  busybox: "busybox-static",
};

function has(command) {
  return spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status === 0;
}

function installTools() {
  const missing = Object.entries(TOOLS).filter(([command]) => !has(command));
  if (missing.length === 0 || process.getuid?.() !== 0 || !has("apt-get")) return;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  run("apt-get", ["update", "-qq"], { env, stdio: ["ignore", "ignore", "inherit"] });
  run("apt-get", ["install", "-y", "-qq", ...missing.map(([, name]) => name)], {
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
}

ensureInstalled();
installTools();
await import("./build.mjs");
const bin = (name) => `${root}node_modules/.bin/${name}`;
runOrExit(bin("tsc"), ["-p", "tsconfig.json", "--noEmit"]);
runOrExit(bin("biome"), ["ci", "--colors=off", "."]);
process.exitCode = run(bin("vitest"), ["run", ...process.argv.slice(2)]);
