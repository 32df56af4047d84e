import { defineConfig, type ViteUserConfig } from "vitest/config";
import { SkipReporter } from "./test/support/skip-reporter.ts";

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["node_modules/**", "dist/**"],
    pool: "threads",
    reporters: ["default", new SkipReporter()],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});

export default config;
