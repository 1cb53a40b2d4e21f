import * as QuickJsSandbox from "@effect-dspy/providers/QuickJsSandbox"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { vi } from "vitest"

// As it is for those who have not installed the optional peer.
vi.mock("../src/internal/load.ts", () => ({
  load: async (specifier: string) =>
    specifier === "node:module"
      ? {
        createRequire: () => ({
          resolve: (name: string) => {
            throw new Error(`Cannot find module '${name}'`)
          }
        })
      }
      : await import(specifier)
}))

it.effect("without quickjs-wasi it says what to install", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Effect.scoped(Layer.build(QuickJsSandbox.layer)))
    assert.strictEqual(
      error.message,
      "quickjs-wasi cannot be loaded; install it: npm install quickjs-wasi (Cannot find module 'quickjs-wasi')"
    )
    assert.isFalse(error.recoverable)
  }))
