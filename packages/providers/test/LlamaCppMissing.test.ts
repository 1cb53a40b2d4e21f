import * as LlamaCpp from "@effect-dspy/providers/LlamaCpp"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, vi } from "vitest"

// As it is for those who have not installed the optional peer.
vi.mock("../src/internal/load.ts", () => ({
  load: (specifier: string) =>
    specifier.startsWith("node:") ? import(specifier) : Promise.reject(new Error(`Cannot find package '${specifier}'`))
}))

const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "llama-")), "a.gguf")
fs.writeFileSync(file, "GGUF")
afterAll(() => fs.rmSync(path.dirname(file), { recursive: true }))

it.effect("without node-llama-cpp it says what to install", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(LlamaCpp.make({ file }))
    assert.strictEqual(
      error.message,
      "llama-cpp/a: InvalidRequest: node-llama-cpp cannot be loaded; install it: npm install node-llama-cpp " +
        "(Cannot find package 'node-llama-cpp')"
    )
  }).pipe(Effect.scoped))
