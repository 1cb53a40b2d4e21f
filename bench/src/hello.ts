/**
 * Proves that the workspace of the benchmarks holds together: everything to be measured loads on this Node, and ours and
 * the benchmark's own code share one copy of `effect`.
 */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { AxAI } from "@ax-llm/ax"
import * as Signature from "@effect-dspy/core/Signature"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { generateText } from "ai"
import { Layer, Schema } from "effect"
import * as esbuild from "esbuild"
import assert from "node:assert"
import { createRequire } from "node:module"
import OpenAI from "openai"
import { Pool } from "undici"

const ours = createRequire(import.meta.resolve("@effect-dspy/core/Signature"))
const here = createRequire(import.meta.url)
assert.strictEqual(ours.resolve("effect"), here.resolve("effect"))
assert.ok(Layer.isLayer(NodeHttpClient.layerUndici))
assert.ok(Schema.isSchema(Signature.make({ input: {}, output: { answer: Schema.String } }).input))

for (const loaded of [createOpenAICompatible, AxAI, generateText, OpenAI, Pool, esbuild.build]) {
  assert.strictEqual(typeof loaded, "function")
}

console.log(`node ${process.version}: everything to be measured loads`)
