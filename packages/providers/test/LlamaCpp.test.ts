import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as LlamaCpp from "@effect-dspy/providers/LlamaCpp"
import { assert, describe, it, layer } from "@effect/vitest"
import {
  Chunk,
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Random,
  Ref,
  Scope,
  Stream
} from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll } from "vitest"
import { gguf } from "./gguf.ts"

// Native, and an optional peer: where it cannot be loaded, this says so and nothing is tested.
const missing = await import("node-llama-cpp").then(
  ({ getLlama }) => getLlama({ gpu: false, build: "never", skipDownload: true, dryRun: true }).then(() => undefined)
).catch((cause: unknown) => String(cause))
if (missing !== undefined) console.warn(`node-llama-cpp does not run here, LlamaCpp is not tested: ${missing}`)

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "llama-"))
afterAll(() => fs.rmSync(folder, { recursive: true }))

const write = (name: string, bytes: Uint8Array): string => {
  const file = path.join(folder, name)
  fs.writeFileSync(file, bytes)
  return file
}

const file = write("tiny.gguf", gguf({ seed: 7 }))
const tiny = { file, gpu: false, threads: 1 }

const user = (content: string): LanguageModel.Request["messages"][number] => ({ role: "user", content })
const ask = (settings: LanguageModel.Settings = {}, content = "Hello wörld"): LanguageModel.Request => ({
  messages: [{ role: "system", content: "Be brief." }, user(content)],
  settings: { temperature: 1, seed: 3, maxTokens: 24, ...settings }
})

const textOf = ({ outputs }: LanguageModel.Response): string => outputs[0]?.text ?? ""

const reasonOf = <A>(
  effect: Effect.Effect<A, LanguageModelError.LanguageModelError, Scope.Scope>
): Effect.Effect<LanguageModelError.LanguageModelError, A> => Effect.flip(Effect.scoped(effect))

describe.skipIf(missing !== undefined)("LlamaCpp", () => {
  layer(LlamaCpp.layer(tiny))("one model", (it) => {
    it.effect("writes the same for the same seed, whole and streamed, and other things for other seeds", () =>
      Effect.gen(function*() {
        const whole = yield* LanguageModel.generate(ask())
        const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(LanguageModel.stream(ask())))
        const texts = deltas.flatMap((delta) => delta._tag === "TextDelta" ? [delta.text] : [])
        assert.isAbove(texts.length, 3)
        assert.isAbove(textOf(whole).length, 3)
        assert.strictEqual(texts.join(""), textOf(whole))
        assert.strictEqual(deltas.at(-1)?._tag, "Completed")
        assert.notStrictEqual(textOf(yield* LanguageModel.generate(ask({ seed: 4 }))), textOf(whole))
      }))

    it.effect("draws a seed of its own when none is given: samples at the same time differ", () =>
      Effect.gen(function*() {
        const samples = yield* Effect.forEach([1, 2, 3], () => LanguageModel.generate(ask({ seed: undefined })))
        assert.strictEqual(new Set(samples.map(textOf)).size, 3)
      }).pipe(Effect.withRandom(Random.make("seed"))))

    it.effect("without a temperature the likeliest is written, whatever the seed", () =>
      Effect.gen(function*() {
        const greedy = (seed: number) => LanguageModel.generate(ask({ temperature: undefined, seed }))
        assert.strictEqual(textOf(yield* greedy(1)), textOf(yield* greedy(2)))
        const narrow = yield* LanguageModel.generate(ask({ topP: 0.001 }))
        assert.strictEqual(textOf(narrow), textOf(yield* greedy(1)))
        const only = yield* LanguageModel.generate(ask({ extensions: { topK: 1 } }))
        assert.strictEqual(textOf(only), textOf(narrow))
      }))

    it.effect("stops at maxTokens, which is no end, and says how many there were", () =>
      Effect.gen(function*() {
        const first = yield* LanguageModel.generate(ask({ maxTokens: 5 }, "No one has asked this"))
        assert.strictEqual(first.outputs[0]?.finishReason, "length")
        assert.strictEqual(first.usage.outputTokens, 5)
        assert.strictEqual(first.model, "tiny")
        const { cachedInputTokens: known = 0, inputTokens = 0 } = first.usage
        assert.isBelow(known, inputTokens - "No one has asked this".length)
        const again = yield* LanguageModel.generate(ask({ maxTokens: 5 }, "No one has asked this"))
        assert.strictEqual(again.usage.inputTokens, first.usage.inputTokens)
        assert.strictEqual(again.usage.cachedInputTokens, inputTokens - 1)
      }))

    it.effect("stops before a text to stop at", () =>
      Effect.gen(function*() {
        const whole = textOf(yield* LanguageModel.generate(ask({ maxTokens: 60 })))
        const stop = whole.slice(8, 10)
        const { outputs } = yield* LanguageModel.generate(ask({ maxTokens: 60, stop: [stop] }))
        assert.deepStrictEqual(outputs, [
          { text: whole.slice(0, whole.indexOf(stop)), toolCalls: [], finishReason: "stop" }
        ])
      }))

    it.effect("keeps to a JSON Schema, and to JSON", () =>
      Effect.gen(function*() {
        const schema = {
          type: "object",
          properties: { team: { enum: ["billing", "technical"] }, urgent: { type: "boolean" } },
          required: ["team", "urgent"],
          additionalProperties: false
        }
        const fitting = yield* LanguageModel.generate({
          ...ask({ maxTokens: 200 }),
          responseFormat: { _tag: "JsonSchema", name: "triage", schema, strict: true }
        })
        assert.strictEqual(fitting.outputs[0]?.finishReason, "stop")
        const { team, urgent } = JSON.parse(textOf(fitting))
        assert.include(["billing", "technical"], team)
        assert.isBoolean(urgent)
        const any = yield* LanguageModel.generate({
          ...ask({ maxTokens: 40 }),
          responseFormat: { _tag: "JsonObject" }
        })
        assert.strictEqual(textOf(any).trimStart()[0], "{")
      }))

    const cases: ReadonlyArray<readonly [string, LanguageModel.Request, RegExp]> = [
      ["tools", { ...ask(), tools: [{ name: "weather", parameters: {} }] }, /takes no tools/],
      ["tool turns", { messages: [{ role: "tool", toolCallId: "1", content: "rain" }] }, /takes no tools/],
      [
        "images",
        { messages: [{ role: "user", content: [{ _tag: "Image", url: "https://a.b/c.png" }] }] },
        /takes no images/
      ],
      ["several answers", ask({ n: 2 }), /one answer/],
      ["log probabilities", ask({ logprobs: 1 }), /logprobs/],
      ["reasoning effort", ask({ reasoningEffort: "high" }), /reasoningEffort/],
      ["no tokens", ask({ maxTokens: 0 }), /maxTokens/],
      ["unknown extensions", ask({ extensions: { mirostat: 2 } }), /minP and topK, not mirostat/],
      ["extensions of another type", ask({ extensions: { topK: "many" } }), /not topK/]
    ]
    it.effect.each(cases)("%s are refused", ([, request, words]) =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(LanguageModel.generate(request))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
        assert.match(error.message, words)
        assert.strictEqual(error.attempts, 0)
      }))

    it.effect("a prompt that does not fit the context fails, and the next one is answered", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(LanguageModel.generate(ask({}, "word ".repeat(200))))
        assert.strictEqual(error.reason._tag, "ContextWindowExceeded")
        assert.match(error.message, /the prompt has 1\d\d\d tokens, and with an answer at most 512 fit/)
        yield* LanguageModel.generate(ask())
      }))

    it.effect("an answer that fills the context ends there", () =>
      Effect.gen(function*() {
        const { outputs, usage } = yield* LanguageModel.generate(ask({ maxTokens: 100_000 }, "word ".repeat(80)))
        assert.strictEqual(outputs[0]?.finishReason, "length")
        assert.isAtMost((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0), 512)
      }))
  })

  // Long enough for a test that waits for its end to fail.
  const endless = ask({ maxTokens: 200_000 })
  const long = write("long.gguf", gguf({ seed: 7, context: 256 * 1024 }))
  layer(LlamaCpp.layer({ ...tiny, file: long }))("an answer without end", (it) => {
    it.effect("one that is interrupted stops, and leaves its sequence to the next", () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()

        const fiber = yield* Effect.fork(
          Stream.runForEach(LanguageModel.stream(endless), () => Deferred.succeed(begun, undefined))
        )
        yield* Deferred.await(begun)
        const waiting = yield* Effect.fork(LanguageModel.generate(ask()))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(waiting)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
        const { usage } = yield* LanguageModel.generate(ask())
        assert.strictEqual(usage.outputTokens, 24)
      }))

    it.effect("a stream that its reader leaves stops too", () =>
      Effect.gen(function*() {
        const some = yield* Stream.runCollect(Stream.take(LanguageModel.stream(endless), 2))
        assert.strictEqual(some.length, 2)
        yield* LanguageModel.generate(ask())
      }))
  })

  // As many models have it: thoughts before the answer, and conversations that it does not take.
  const template = "{% if messages | length > 9 %}{{ raise_exception('too many turns') }}{% endif %}" +
    "{% for m in messages %}[{{ m.role }}] {{ m.content.split('</think>')[-1] }}\n{% endfor %}" +
    "{% if add_generation_prompt %}[assistant] {% endif %}"
  const thinking = write(
    "thinking.gguf",
    gguf({ seed: 7, template, says: ["\u2581", "<think>", "h", "m", "</think>", "y", "e", "s", "</s>"] })
  )
  layer(LlamaCpp.layer({ ...tiny, file: thinking }))("a model with a template of its own", (it) => {
    const greedy = ask({ temperature: undefined })

    it.effect("a conversation that it does not take fails, and the next one is answered", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(LanguageModel.generate({
          messages: Array.from({ length: 6 }, () => [user("Hi"), { role: "assistant", content: "Hello" } as const])
            .flat()
        }))
        assert.match(error.message, /InvalidRequest: the model's template cannot render .*too many turns/)
        assert.strictEqual(textOf(yield* LanguageModel.generate(greedy)), "yes")
      }))

    it.effect("what it thinks is apart from what it says, and its end is one", () =>
      Effect.gen(function*() {
        const { outputs, usage } = yield* LanguageModel.generate(greedy)
        assert.deepStrictEqual(outputs, [{ text: "yes", reasoning: "hm", toolCalls: [], finishReason: "stop" }])
        assert.strictEqual(usage.outputTokens, 8)
        const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(LanguageModel.stream(greedy)))
        assert.deepStrictEqual(
          new Set(deltas.map(({ _tag }) => _tag)),
          new Set(["ReasoningDelta", "TextDelta", "Finish", "Completed"])
        )
      }))
  })

  describe("several sequences", () => {
    it.live("calls that are more wait for their turn, and all are answered", () =>
      Effect.gen(function*() {
        const prompts = Array.from({ length: 12 }, (_, i) => ask({ seed: i, maxTokens: 30 }, `Question ${i}`))
        const model = yield* LlamaCpp.make({ ...tiny, sequences: 3 })
        const running = yield* Ref.make({ now: 0, most: 0 })
        const answers = yield* Effect.forEach(prompts, (request) =>
          model.stream(request).pipe(
            // The first delta of a call says that its turn has come.
            Stream.mapAccumEffect(false, (begun, delta) =>
              Effect.as(
                begun
                  ? Effect.void
                  : Ref.update(running, ({ most, now }) => ({ now: now + 1, most: Math.max(most, now + 1) })),
                [true, delta] as const
              )),
            (deltas) => LanguageModel.fold(deltas, model.id),
            Effect.ensuring(Ref.update(running, ({ most, now }) => ({ most, now: now - 1 })))
          ), { concurrency: "unbounded" })
        assert.strictEqual((yield* Ref.get(running)).most, 3)
        // Some end by themselves before the 30th token.
        assert.isTrue(answers.every(({ usage: { outputTokens = 0 } }) => outputTokens > 0 && outputTokens <= 30))
        assert.strictEqual(new Set(answers.map(textOf)).size, 12)
      }).pipe(Effect.scoped))
  })

  describe("the file", () => {
    it.effect("one that is missing, is something else, or was cut is told apart", () =>
      Effect.gen(function*() {
        const none = yield* reasonOf(LlamaCpp.make({ ...tiny, file: path.join(folder, "none.gguf") }))
        assert.strictEqual(none.message, `llama-cpp/none: NotFound: there is no file ${folder}/none.gguf; set \`file\``)
        const other = yield* reasonOf(LlamaCpp.make({ ...tiny, file: write("other.gguf", Buffer.from("PK")) }))
        assert.match(other.message, /InvalidRequest: .* is no model in the format GGUF/)
        const cut = yield* reasonOf(
          LlamaCpp.make({ ...tiny, file: write("cut.gguf", gguf({ seed: 7 }).subarray(0, 200_000)) })
        )
        assert.match(cut.message, /InvalidRequest: llama.cpp cannot run .*; is the file whole/)
        const empty = yield* reasonOf(LlamaCpp.make({ ...tiny, file: folder }))
        assert.match(empty.message, /InvalidRequest/)
      }))

    it.effect("options that make no sense are refused before anything is loaded", () =>
      Effect.forEach(
        [{ sequences: 0 }, { contextSize: 1.5 }, { threads: 0 }, { file: "" }],
        (wrong) =>
          Effect.map(reasonOf(LlamaCpp.make({ ...tiny, file: "missing", ...wrong })), ({ message, reason }) => {
            assert.strictEqual(reason._tag, "InvalidRequest")
            assert.include(message, Object.keys(wrong).join())
          })
      ))

    it.effect("a context beyond what it was trained for is refused", () =>
      Effect.map(
        reasonOf(LlamaCpp.make({ ...tiny, contextSize: 600 })),
        ({ message }) => assert.match(message, /trained for a context of 512 tokens/)
      ))

    // What this would take is more than most machines have.
    it.live.skipIf(os.totalmem() > 64e9)("too little memory is no capacity", () =>
      Effect.gen(function*() {
        const context = 40_000_000
        const wide = write("wide.gguf", gguf({ seed: 7, context }))
        const error = yield* reasonOf(LlamaCpp.make({ ...tiny, file: wide, contextSize: context }))
        assert.strictEqual(error.reason._tag, "Overloaded")
        assert.match(error.message, /not enough memory .*; set a smaller `contextSize` or fewer `sequences`/)
      }), 60_000)

    it.live("its memory is free again when the scope closes", () =>
      Effect.gen(function*() {
        // Each of these has a context of 128 MB.
        const large = {
          ...tiny,
          file: write("large.gguf", gguf({ seed: 7, context: 512 * 1024 })),
          contextSize: 512 * 1024
        }
        const use = Effect.scoped(Effect.flatMap(LlamaCpp.make(large), (model) =>
          Effect.zipRight(
            model.generate(ask({ maxTokens: 2 })),
            Effect.sync(() => process.memoryUsage.rss())
          )))
        const open = yield* use
        const before = process.memoryUsage.rss()
        assert.isAbove(open - before, 64e6)
        yield* use
        yield* use
        assert.isBelow(process.memoryUsage.rss() - before, 128e6)
      }), 30_000)

    it.live("loading can be interrupted", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const fiber = yield* Effect.fork(Scope.extend(LlamaCpp.make(tiny), scope))
        yield* Effect.sleep("5 millis")
        const exit = yield* Fiber.interrupt(fiber)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isInterrupted(exit))
      }))

    it.effect("is known by its file, and takes as many calls at once as it has sequences", () =>
      Effect.gen(function*() {
        const model = yield* LlamaCpp.make({ ...tiny, sequences: 3 })
        assert.strictEqual(model.id, "llama-cpp/tiny")
        assert.strictEqual(model.endpoint, `${fs.realpathSync(file)}#${fs.statSync(file).size}`)
        assert.deepStrictEqual(model.capabilities, {
          ...LanguageModel.defaultCapabilities,
          responseFormat: "jsonSchema",
          concurrency: 3
        })
      }).pipe(Effect.scoped))

    it.effect("its options may come from the configuration", () =>
      Effect.gen(function*() {
        const model = Layer.build(LlamaCpp.layerConfig({
          file: Config.string("MODEL_FILE"),
          gpu: Config.succeed(false),
          threads: Config.succeed(1)
        }))
        const { id } = Context.get(yield* model, LanguageModel.LanguageModel)
        assert.strictEqual(id, "llama-cpp/tiny")
      }).pipe(Effect.scoped, Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["MODEL_FILE", file]])))))
  })
})
