/** What a test needs of the machine. A test that cannot run is skipped with the reason, which the run lists at its end. */
import { spawnSync } from "node:child_process";

function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status === 0;
}

function canMakeNetns(): boolean {
  return spawnSync("unshare", ["-n", "true"], { stdio: "ignore" }).status === 0;
}

/** The reason why something is missing, or null: "root", "netns", or the name of a command. */
export function missing(...needs: readonly string[]): string | null {
  for (const need of needs) {
    if (need === "root") {
      if (process.getuid?.() !== 0) return "needs root";
    } else if (need === "netns") {
      if (process.getuid?.() !== 0 || !canMakeNetns()) return "needs the right to make network namespaces";
    } else if (!has(need)) return `needs the command ${need}`;
  }
  return null;
}
