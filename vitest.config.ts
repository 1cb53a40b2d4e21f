import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["packages/*/test/**/*.test.ts"],
    setupFiles: ["./vitest.setup.ts"],
    sequence: { concurrent: true },
    typecheck: {
      enabled: true,
      include: ["packages/*/typetest/**/*.test-d.ts"],
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
