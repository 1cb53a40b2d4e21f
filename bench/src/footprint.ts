/**
 * What a program that makes one prediction brings along: the time to import it
 * in a cold process, and its size bundled, minified and compressed.
 */
import * as esbuild from "esbuild"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { gzipSync } from "node:zlib"
import { median, table } from "./fixture/measure.ts"

const programs: Readonly<Record<string, string>> = {
  "effect-dspy": `
    import * as Predict from "@effect-dspy/core/Predict"
    import * as OpenAiCompatible from "@effect-dspy/providers/OpenAiCompatible"
    import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
    import * as Effect from "effect/Effect"
    import * as Layer from "effect/Layer"
    const answer = Predict.make("question -> answer")
    export const program = answer({ question: "?" }).pipe(Effect.provide(
      OpenAiCompatible.layer({ model: "m" }).pipe(Layer.provide(FetchHttpClient.layer))
    ))`,
  ax: `
    import { ai as axAi, ax } from "@ax-llm/ax"
    export const program = () => ax("question:string -> answer:string")
      .forward(axAi({ name: "openai", apiKey: "none" }), { question: "?" })`,
  ai: `
    import { generateObject } from "ai"
    import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
    import { z } from "zod"
    export const program = () => generateObject({
      model: createOpenAICompatible({ name: "x", baseURL: "http://localhost/v1" })("m"),
      schema: z.object({ answer: z.string() }), prompt: "?" })`,
  openai: `
    import OpenAI from "openai"
    export const program = () => new OpenAI({ apiKey: "none" }).chat.completions.create({ model: "m", messages: [] })`
}

// Inside the folder, so that node finds the libraries as it would for a user.
const folder = fs.mkdtempSync(path.join(import.meta.dirname, "../node_modules/.footprint-"))

const bundle = (name: string, contents: string, whole: boolean) =>
  esbuild.buildSync({
    stdin: { contents, resolveDir: import.meta.dirname, loader: "ts" },
    outfile: path.join(folder, `${name}.${whole ? "bundle" : "module"}.mjs`),
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minify: whole,
    legalComments: "none",
    banner: whole
      ? {
        js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);"
      }
      : {},
    // As installed: our packages as JavaScript, everything else from node_modules.
    ...(whole ? {} : { external: ["effect/*", "@effect/*", "@ax-llm/*", "ai", "@ai-sdk/*", "zod", "openai"] })
  })

const cold = (file: string | undefined): number => {
  const start = performance.now()
  const { status, stderr } = spawnSync(process.execPath, file === undefined ? ["-e", "0"] : [file], {
    encoding: "utf8"
  })
  if (status !== 0) throw new Error(stderr.slice(-1000))
  return performance.now() - start
}

try {
  const times = new Map<string, Array<number>>([["", []]])
  for (const [name, contents] of Object.entries(programs)) {
    bundle(name, contents, false)
    bundle(name, contents, true)
    times.set(name, [])
    times.set(`${name} bundled`, [])
  }
  const rounds = 15
  for (let round = -1; round < rounds; round++) {
    for (const [name, values] of times) {
      const time = cold(
        name === ""
          ? undefined
          : path.join(folder, name.endsWith(" bundled") ? `${name.slice(0, -8)}.bundle.mjs` : `${name}.module.mjs`)
      )
      if (round >= 0) values.push(time)
    }
  }
  const bare = median(times.get("")!)
  console.log(`node itself starts in ${bare.toFixed(0)} ms, which is taken off; median of ${rounds} interleaved rounds`)
  table(
    ["", "import", "import bundled", "min", "min+gzip"],
    Object.keys(programs).map((name) => {
      const bytes = fs.readFileSync(path.join(folder, `${name}.bundle.mjs`))
      return [
        name,
        `${(median(times.get(name)!) - bare).toFixed(0)} ms`,
        `${(median(times.get(`${name} bundled`)!) - bare).toFixed(0)} ms`,
        `${(bytes.length / 1024).toFixed(0)} KB`,
        `${(gzipSync(bytes, { level: 9 }).length / 1024).toFixed(0)} KB`
      ]
    })
  )
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
