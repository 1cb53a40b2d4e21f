import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts"],
    setupFiles: ["./vitest.setup.ts"],
    // Files run side by side in their own processes; inside a file tests run one after the other, so that a test may
    // count, spy or measure without its neighbours. `describe.concurrent` is there for tests that wait on real sockets.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    typecheck: {
      enabled: true,
      include: ["packages/*/typetest/**/*.test-d.ts"],
      // No project references: they would need a build before the first test of a bare checkout.
      tsconfig: "./tsconfig.typetest.json"
    },
    coverage: {
      provider: "v8",
      include: ["packages/*/src/**/*.ts"],
      exclude: ["packages/*/src/index.ts"],
      reporter: ["text", "html"]
    }
  }
})
