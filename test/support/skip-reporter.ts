/** Lists what did not run, by name and with the reason: a skipped test must not read as a passed one. */
import type { Reporter, TestModule } from "vitest/node";

export class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines: string[] = [];
    let passed = 0;
    let failed = 0;
    for (const module of modules) {
      if (module.errors().length > 0) failed++;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") passed++;
        else if (result.state === "failed") failed++;
        else if (result.state === "skipped") {
          lines.push(`  ${module.relativeModuleId} > ${test.fullName}: ${result.note ?? "see its name"}`);
        }
      }
    }
    if (lines.length > 0) console.log(`not run on this machine (${lines.length}):\n${lines.join("\n")}`);
    console.log(`${passed} passed, ${failed} failed, ${lines.length} skipped`);
  }
}
