import * as Budget from "@effect-dspy/core/Budget"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Policy from "@effect-dspy/core/Policy"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import { Error as PlatformError, FileSystem } from "@effect/platform"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Clock, Effect, Layer, Metric, Redacted, Scope, Stream } from "effect"
import * as BudgetPolicy from "../src/BudgetPolicy.ts"
import * as Cassette from "../src/Cassette.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as UsageLedger from "../src/UsageLedger.ts"
import * as FaultServer from "./FaultServer.ts"
import { spanEvents } from "./policing.ts"

// Delays of milliseconds, for calls that overtake each other.
const realClock = Clock.make()

const asking = (content: string): LanguageModel.Request => ({ messages: [{ role: "user", content }] })

const text = (text: string): LanguageModel.Delta => ({ _tag: "TextDelta", index: 0, text })
const finish: LanguageModel.Delta = { _tag: "Finish", index: 0, reason: "stop" }
const completed: LanguageModel.Delta = { _tag: "Completed", usage: { inputTokens: 5 }, model: "test/m" }

// A path in a directory that is there for the test.
const newFile = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => Effect.map(fs.makeTempDirectoryScoped(), (directory) => `${directory}/test.cassette.jsonl`)
)

const read = (path: string) => Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path))

const lines = (path: string) =>
  Effect.map(read(path), (text) => text.split("\n").slice(0, -1).map((line): Cassette.Recording => JSON.parse(line)))

// A cassette around a model, for as long as it is used.
const using = <A, E, R>(
  model: LanguageModel.Service,
  options: Cassette.Options,
  use: (model: LanguageModel.Service) => Effect.Effect<A, E, R>
) => Effect.scoped(Effect.flatMap(Cassette.make(options)(model), use))

const offline = LanguageModel.make({
  id: "test/m",
  generate: () => Effect.dieMessage("the model was asked"),
  stream: () => Stream.dieMessage("the model was asked")
})

const scripted = (script: TestLanguageModel.Script) =>
  Effect.map(TestLanguageModel.make(script, { id: "test/m" }), ({ model }) => model)

const ask = (model: LanguageModel.Service, content: string) =>
  Effect.map(model.generate(asking(content)), ({ outputs }) => outputs[0]?.text)

const chunksOf = (model: LanguageModel.Service, request: LanguageModel.Request) =>
  Effect.map(
    Stream.runCollect(Stream.chunks(model.stream(request))),
    (chunks) => Chunk.toReadonlyArray(chunks).map(Chunk.toReadonlyArray)
  )

describe("Cassette", () => {
  it.scoped("plays back what it recorded: whole answers, streams in their chunks, usage, and one as the other", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const chunks = [[text("a"), text("b")], [text("c")], [finish, completed]]
      const model = LanguageModel.make({
        id: "test/m",
        generate: () => Effect.succeed(LanguageModel.text("whole", "test/m", { outputTokens: 3 })),
        stream: () =>
          Stream.fromChunks<LanguageModel.Delta>(...chunks.map((chunk) => Chunk.fromIterable(chunk)), Chunk.empty())
      })
      yield* using(model, { path, mode: "record" }, (model) =>
        Effect.gen(function*() {
          yield* model.generate(asking("one"))
          yield* chunksOf(model, asking("two"))
          yield* model.generate(asking("three"))
          yield* chunksOf(model, asking("four"))
        }))
      yield* using(offline, { path }, (model) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(
            yield* model.generate(asking("one")),
            LanguageModel.text("whole", "test/m", { outputTokens: 3 })
          )
          assert.deepStrictEqual(yield* chunksOf(model, asking("two")), chunks)
          assert.deepStrictEqual(
            (yield* LanguageModel.fold(model.stream(asking("three")), "test/m")).outputs[0]?.text,
            "whole"
          )
          assert.deepStrictEqual((yield* model.generate(asking("four"))).usage, { inputTokens: 5 })
        }))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("budgets and ledgers around it count what they counted when it was recorded", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const answer = TestLanguageModel.withUsage(TestLanguageModel.text("hello"), { inputTokens: 5, outputTokens: 2 })
      const counted = (model: LanguageModel.Service, options: Cassette.Options) =>
        using(model, options, (model) =>
          Effect.gen(function*() {
            const budget = yield* Budget.make({ calls: 2, tokens: 1_000_000 })
            const ledger = yield* UsageLedger.make()
            const metered = yield* UsageLedger.policy(yield* BudgetPolicy.fromBudget(budget)(model)).pipe(
              Effect.provideService(UsageLedger.UsageLedger, ledger)
            )
            yield* metered.generate(asking("one"))
            yield* Stream.runDrain(metered.stream(asking("two")))
            const refused = yield* Effect.flip(metered.generate(asking("three")))
            const { calls, inputTokens, outputTokens } = UsageLedger.total(yield* ledger.snapshot)
            return { refused: refused.reason._tag, left: yield* budget.remaining, calls, inputTokens, outputTokens }
          }))
      const recorded = yield* counted(yield* scripted([answer, answer]), { path, mode: "record" })
      assert.strictEqual(recorded.refused, "BudgetExceeded")
      assert.strictEqual(recorded.calls, 2)
      assert.deepStrictEqual(yield* counted(offline, { path }), recorded)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("strict asks nothing: a miss says what to do, and so does a file that is not there", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const absent = yield* Effect.flip(using(offline, { path }, () => Effect.void))
      assert.strictEqual(absent._tag, "CassetteError")
      assert.include(absent.message, "record it with mode \"record\"")
      const model = yield* scripted(() => TestLanguageModel.text("hello"))
      yield* using(model, { path, mode: "record" }, (model) => ask(model, "hi"))
      yield* using(offline, { path, mode: "strict" }, (model) =>
        Effect.gen(function*() {
          const request: LanguageModel.Request = { ...asking("hi"), settings: { temperature: 0.5 } }
          const asked = yield* Effect.flip(model.generate(request))
          const streamed = yield* Effect.flip(Stream.runDrain(model.stream(request)))
          for (const error of [asked, streamed]) {
            assert.deepInclude(error, { provider: "cassette", attempts: 0, retryable: false })
            assert.strictEqual(error.reason._tag, "NotFound")
            assert.include(error.message, `${path} has no recording of this request`)
          }
          const events = yield* spanEvents(ask(model, "hi"))
          assert.deepStrictEqual(events.map(({ name }) => name), ["cassette.played"])
          const counted = (outcome: string) =>
            Effect.map(
              Metric.value(Metric.tagged(Metric.tagged(Cassette.calls, "model", "test/m"), "outcome", outcome)),
              ({ count }) => count
            )
          const [played, missed] = [yield* counted("played"), yield* counted("missed")]
          assert.isAtLeast(played, 1)
          assert.isAtLeast(missed, 2)
          assert.include((yield* Effect.flip(ask(model, "hi"))).message, "only 1 recording of this request")
        }))
      // Another model has not answered it.
      const error = yield* Effect.flip(using({ ...offline, id: "test/other" }, { path }, (model) => ask(model, "hi")))
      assert.strictEqual(error._tag, "LanguageModelError")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("equal requests get their recordings in the order in which they were asked, also at the same time", () =>
    Effect.gen(function*() {
      const all = (model: LanguageModel.Service) =>
        Effect.forEach(["same", "same", "same"], (content) => ask(model, content), { concurrency: "unbounded" })
      const expected = ["answer 0", "answer 1", "answer 2"]
      for (const mode of ["record", "replay"] as const) {
        const path = yield* newFile
        // The later a call begins, the earlier it is answered.
        const model = yield* scripted((_request, n) =>
          TestLanguageModel.delayed(TestLanguageModel.text(`answer ${n}`), 60 - n * 20)
        )
        assert.deepStrictEqual(yield* Effect.withClock(using(model, { path, mode }, all), realClock), expected)
        assert.deepStrictEqual(yield* using(offline, { path }, all), expected)
        assert.deepStrictEqual((yield* lines(path)).map(({ n }) => n), mode === "record" ? [0, 1, 2] : [2, 1, 0])
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("replay asks and adds what it does not have, and is strict afterwards", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const asked: Array<string> = []
      const model = yield* scripted((request) => {
        asked.push(String(request.messages[0]?.content))
        return TestLanguageModel.text(`answer ${asked.length}`)
      })
      const replay = (contents: ReadonlyArray<string>) =>
        using(model, { path, mode: "replay" }, (model) => Effect.forEach(contents, (content) => ask(model, content)))
      assert.deepStrictEqual(yield* replay(["a", "b"]), ["answer 1", "answer 2"])
      assert.deepStrictEqual(yield* replay(["b", "a", "c", "a"]), ["answer 2", "answer 1", "answer 3", "answer 4"])
      assert.deepStrictEqual(asked, ["a", "b", "c", "a"])
      const strict = using(offline, { path }, (model) =>
        Effect.forEach(["a", "a", "b", "c"], (content) =>
          ask(model, content)))
      assert.deepStrictEqual(yield* strict, ["answer 1", "answer 4", "answer 2", "answer 3"])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("record writes the file anew, in the order of the calls, whatever order they end in", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const record = (delays: ReadonlyArray<number>) =>
        Effect.gen(function*() {
          const model = yield* scripted((_request, n) =>
            TestLanguageModel.delayed(TestLanguageModel.text("hello"), delays[n] ?? 0)
          )
          yield* using(model, { path, mode: "record" }, (model) =>
            Effect.forEach(delays, (_, index) =>
              ask(model, `question ${index}`), { concurrency: "unbounded" }))
          return yield* read(path)
        }).pipe((effect) =>
          Effect.withClock(effect, realClock)
        )
      const first = yield* record([0, 20, 40])
      assert.strictEqual(first.split("\n").length, 4)
      assert.strictEqual(yield* record([40, 20, 0]), first)
      assert.strictEqual((yield* record([0])).split("\n").length, 2)
      const fs = yield* FileSystem.FileSystem
      assert.isFalse(yield* fs.exists(`${path}.new`))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("each recording is in the file before its answer is used: what was paid for survives the process", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const model = yield* scripted(() => TestLanguageModel.text("hello"))
      const scope = yield* Scope.make()
      const recording = yield* Scope.extend(Cassette.make({ path, mode: "record" })(model), scope)
      yield* ask(recording, "one")
      yield* Stream.runDrain(recording.stream(asking("two")))
      // The scope is never closed, as by `kill -9`; and the last line was not finished.
      const fs = yield* FileSystem.FileSystem
      yield* fs.writeFileString(path, `${yield* read(path)}{"hash":"12`)
      assert.strictEqual(yield* using(offline, { path }, (model) => ask(model, "one")), "hello")
      yield* using(model, { path, mode: "replay" }, (model) => ask(model, "three"))
      assert.strictEqual((yield* lines(path)).length, 3)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("records complete answers and failures that the request is the cause of, nothing else", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const tooLong = new LanguageModelError.ContextWindowExceeded({ description: "too long" })
      const filtered = LanguageModelError.make({
        reason: new LanguageModelError.ContentFiltered({ description: "no" }),
        provider: "test",
        model: "test/m"
      })
      const model = yield* scripted([
        TestLanguageModel.fail("Overloaded"),
        TestLanguageModel.text("second attempt"),
        TestLanguageModel.fail(tooLong),
        TestLanguageModel.deltas([text("never finished")]),
        TestLanguageModel.deltas([text("a"), text("left"), finish, completed]),
        TestLanguageModel.deltas(Stream.concat(Stream.make(text("a")), Stream.fail(filtered)))
      ])
      const program = (model: LanguageModel.Service) =>
        Effect.gen(function*() {
          const answer = yield* Effect.retry(ask(model, "retried"), { times: 1 })
          const error = yield* Effect.flip(ask(model, "long"))
          return { answer, reason: error.reason }
        })
      const streamed = (model: LanguageModel.Service) =>
        Effect.gen(function*() {
          const seen: Array<LanguageModel.Delta> = []
          const end = yield* Effect.flip(
            Stream.runForEach(model.stream(asking("filtered")), (delta) => Effect.sync(() => seen.push(delta)))
          )
          return { seen, reason: end.reason }
        })
      const [first, last] = yield* using(model, { path, mode: "record" }, (model) =>
        Effect.gen(function*() {
          const first = yield* program(model)
          yield* Stream.runDrain(model.stream(asking("truncated")))
          yield* Stream.runHead(model.stream(asking("left")))
          return [first, yield* streamed(model)] as const
        }))
      assert.deepStrictEqual(
        (yield* lines(path)).map(({ request }) => request.messages[0]?.content),
        ["retried", "long", "filtered"]
      )
      yield* using(offline, { path }, (model) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* program(model), first)
          assert.deepStrictEqual(yield* streamed(model), last)
          assert.strictEqual(last.reason._tag, "ContentFiltered")
        }))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("refuses a file that was tampered with, and says where", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const fs = yield* FileSystem.FileSystem
      const model = yield* scripted(() => TestLanguageModel.text("hello"))
      yield* using(model, { path, mode: "record" }, (model) => Effect.zipRight(ask(model, "one"), ask(model, "two")))
      const good = yield* read(path)
      for (const bad of [good.replace("\"two\"", "\"three\""), good.replace("\"Completed\"", "\"Finished\""), "{}\n"]) {
        yield* fs.writeFileString(path, bad)
        const error = yield* Effect.flip(using(offline, { path }, () => Effect.void))
        assert.strictEqual(error._tag, "CassetteError")
        assert.match(error.message, bad === "{}\n" ? /line 1 is not a recording \(at hash\)/ : /line [12] /)
        assert.notInclude(error.message, "hello")
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a recording that cannot be written fails the call, and every one after it", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const noSpace = new PlatformError.SystemError({ reason: "Unknown", module: "FileSystem", method: "writeAll" })
      let room = true
      const filling: FileSystem.FileSystem = {
        ...fs,
        open: (path, options) =>
          Effect.map(fs.open(path, options), (file) =>
            Object.assign(Object.create(file), {
              writeAll: (bytes: Uint8Array) =>
                Effect.suspend(() => {
                  if (room) return file.writeAll(bytes)
                  room = true
                  return Effect.zipRight(file.writeAll(bytes.subarray(0, 10)), Effect.fail(noSpace))
                })
            }))
      }
      const path = yield* newFile
      const model = yield* scripted(() => TestLanguageModel.text("hello"))
      const errors = yield* using(model, { path, mode: "replay" }, (model) =>
        Effect.gen(function*() {
          yield* ask(model, "kept")
          room = false
          const first = yield* Effect.flip(Stream.runDrain(model.stream(asking("lost"))))
          return [first, yield* Effect.flip(ask(model, "later"))]
        })).pipe(Effect.provideService(FileSystem.FileSystem, filling))
      for (const error of errors) {
        assert.deepInclude(error, { provider: "cassette", retryable: false })
        assert.include(error.message, `${path}: an answer could not be written`)
      }
      // What was kept before can be used, also beside half a line.
      assert.strictEqual(yield* using(offline, { path }, (model) => ask(model, "kept")), "hello")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("an answer that fits no answer is an error, not the end of the program", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const model = LanguageModel.make({
        id: "test/m",
        generate: () => Effect.succeed(LanguageModel.text("hello", "test/m", { inputTokens: Number.NaN }))
      })
      const error = yield* using(model, { path, mode: "record" }, (model) => Effect.flip(ask(model, "hi")))
      assert.strictEqual(error.reason._tag, "MalformedResponse")
      assert.include(error.message, "cannot hold what the model answered (at deltas.0.2.usage.inputTokens)")
    }).pipe(Effect.provide(NodeContext.layer)))

  describe("secrets", () => {
    // Every kind of part, and every place in which a secret can be.
    const request = (secret: string): LanguageModel.Request => ({
      messages: [
        { role: "system", content: secret },
        { role: "user", content: [{ _tag: "Text", text: secret }, { _tag: "Image", url: secret, detail: "auto" }] },
        {
          role: "assistant",
          content: "",
          toolCalls: [{ id: "1", name: "tool", arguments: JSON.stringify({ secret }) }],
          continuation: { type: "system", [secret]: [secret] }
        },
        { role: "tool", content: "auto", toolCallId: "1" }
      ],
      settings: { reasoningEffort: "high", stop: [secret], extensions: { stop: secret } },
      tools: [{ name: "tool", description: secret, parameters: { type: "object" } }],
      toolChoice: "auto",
      responseFormat: { _tag: "JsonSchema", name: "stop", schema: { description: secret }, strict: true }
    })

    const answer = (pieces: ReadonlyArray<string>): ReadonlyArray<LanguageModel.Delta> => [
      ...pieces.map((text): LanguageModel.Delta => ({ _tag: "ReasoningDelta", index: 0, text })),
      ...pieces.map((text): LanguageModel.Delta => ({
        _tag: "TextDelta",
        index: 0,
        text,
        logprobs: [{ token: text, logprob: -1 }]
      })),
      ...pieces.map((text): LanguageModel.Delta => ({ _tag: "ToolCallDelta", index: 0, call: 0, arguments: text })),
      { _tag: "CitationDelta", index: 0, citation: { quote: pieces.join(""), location: [pieces.join("")] } },
      { _tag: "Finish", index: 0, reason: "toolCalls" },
      { _tag: "Completed", usage: { inputTokens: 5 }, model: "test/m", requestId: "stop" }
    ]

    // Patterns that hit every word the format has a meaning for, and each single character.
    const hostile = [
      /TextDelta|ReasoningDelta|ToolCallDelta|CitationDelta|Finish|Completed|JsonSchema|Text|Image/,
      /stop|toolCalls|auto|high|contentFilter|unknown/,
      /system|user|assistant|tool/,
      "ContentFiltered",
      "LanguageModelError",
      "1",
      /[a-z]/,
      /./,
      /^/
    ]

    const modelOf = (deltas: ReadonlyArray<LanguageModel.Delta>, error?: LanguageModelError.LanguageModelError) =>
      LanguageModel.make({
        id: "test/m",
        capabilities: { images: true },
        stream: () => {
          const chunks = Stream.fromChunks(...deltas.map((delta) => Chunk.of(delta)))
          return error === undefined ? chunks : Stream.concat(chunks, Stream.fail(error))
        }
      })

    const filtered = LanguageModelError.make({
      reason: new LanguageModelError.ContentFiltered({ description: "Rosebud is secret" }),
      provider: "test",
      model: "test/m"
    })

    it.scoped("no pattern hits what the format is made of", () =>
      Effect.gen(function*() {
        for (const pattern of hostile) {
          const path = yield* newFile
          const deltas = answer(["stop", "1"])
          const record = (deltas: ReadonlyArray<LanguageModel.Delta>, content: string, error?: typeof filtered) =>
            using(modelOf(deltas, error), { path, mode: "replay", redact: [pattern] }, (model) =>
              Effect.exit(Stream.runDrain(model.stream({ ...request("x"), messages: asking(content).messages }))))
          yield* record(deltas, "whole")
          yield* record(deltas.slice(0, 3), "failed", filtered)
          const [first, second] = yield* using(
            offline,
            { path, redact: [pattern] },
            (model) =>
              Effect.all([
                LanguageModel.fold(model.stream({ ...request("x"), messages: asking("whole").messages }), "test/m"),
                Effect.flip(model.generate({ ...request("x"), messages: asking("failed").messages }))
              ])
          )
          assert.strictEqual(first.outputs[0]?.finishReason, "toolCalls", String(pattern))
          assert.deepStrictEqual(first.usage, { inputTokens: 5 })
          assert.strictEqual(second.reason._tag, "ContentFiltered", String(pattern))
        }
      }).pipe(Effect.provide(NodeContext.layer)))

    it.scoped("a secret is found wherever it is, cut anywhere, also in an answer that failed", () =>
      Effect.gen(function*() {
        const secret = "Rosebud"
        for (let cut = 1; cut < secret.length; cut++) {
          const path = yield* newFile
          const pieces = ["It is ", secret.slice(0, cut), secret.slice(cut), "."]
          for (const error of [undefined, filtered]) {
            const deltas = error === undefined ? answer(pieces) : answer(pieces).slice(0, pieces.length * 3)
            yield* using(modelOf(deltas, error), { path, mode: "replay", redact: [secret] }, (model) =>
              Effect.exit(
                Stream.runDrain(
                  model.stream({ ...request(secret), settings: { rollout: error === undefined ? "a" : "b" } })
                )
              ))
          }
          const kept = yield* lines(path)
          assert.lengthOf(kept, 2)
          const text = JSON.stringify(kept)
          assert.notInclude(text, secret)
          // Not in pieces either.
          for (const { deltas } of kept) {
            assert.notInclude(deltas.flat().map((delta) => "text" in delta ? delta.text : "").join(""), secret)
            assert.notInclude(JSON.stringify(deltas), `"token":"${secret.slice(0, cut)}"`)
          }
          const whole = yield* using(
            offline,
            { path, redact: [secret] },
            (model) => model.generate({ ...request(secret), settings: { rollout: "a" } })
          )
          assert.strictEqual(whole.outputs[0]?.text, "It is <redacted>.")
          assert.strictEqual(whole.outputs[0]?.toolCalls[0]?.arguments, "It is <redacted>.")
        }
      }).pipe(Effect.provide(NodeContext.layer)))
  })

  it.scoped("what only begins like a key, over and over, takes no time", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      // At the square of its length this would be minutes.
      const text = "sk-".repeat(200_000)
      const model = yield* scripted([TestLanguageModel.text(text)])
      yield* using(model, { path, mode: "record" }, (model) => ask(model, "hi"))
      const again = yield* using(offline, { path }, (model) => ask(model, "hi"))
      assert.isTrue(again === text)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a secret of several lines is found in JSON as well, where it is spelled another way", () =>
    Effect.gen(function*() {
      const path = yield* newFile
      const secret = `-----BEGIN KEY-----\nhid"den\\\n-----END KEY-----`
      const inner = JSON.stringify({ secret })
      const model = yield* scripted([
        TestLanguageModel.toolCalls([{ name: "sign", arguments: { key: secret, inner } }])
      ])
      yield* using(
        model,
        { path, mode: "record", redact: [Redacted.make(secret)] },
        (model) => model.generate(asking(JSON.stringify({ key: secret })))
      )
      assert.notInclude(yield* read(path), "hid")
      const [recording] = yield* lines(path)
      assert.strictEqual(recording?.request.messages[0]?.content, `{"key":"<redacted>"}`)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("however often it is escaped, in whatever spelling, and what a pattern says is one", () =>
    Effect.gen(function*() {
      const secret = `hid"den\\\nkeß`
      const pattern = /"pin": "\d{4}"\n/
      const said = (text: string) => `${secret} ${text} "pin": "4711"\n`
      let spelled = said("once")
      for (let depth = 0; depth < 8; depth++) {
        for (const content of [spelled, spelled.replaceAll("ß", "\\u00df")]) {
          const path = yield* newFile
          yield* using(
            yield* scripted([TestLanguageModel.text(content)]),
            { path, mode: "record", redact: [Redacted.make(secret), pattern] },
            (model) => model.generate(asking(content))
          )
          const [recording] = yield* lines(path)
          assert.strictEqual(recording?.request.messages[0]?.content, "<redacted> once <redacted>")
          assert.notMatch(yield* read(path), /hid|4711/)
        }
        spelled = JSON.stringify(spelled).slice(1, -1)
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  describe("against a server", () => {
    const canary = "sk-canary-0123456789abcdef0123456789abcdef"
    const secret = "Rosebud-77"

    const chunk = (content: string, finish: string | null = null) =>
      FaultServer.event({ model: "m-1", choices: [{ index: 0, delta: { content }, finish_reason: finish }] })

    // An answer that repeats the key, once whole and once cut in two, and a word that the user keeps secret.
    const answer = FaultServer.sse(
      chunk(`[[ ## answer ## ]]\nThe key is ${canary}, `),
      chunk(canary.slice(0, 20)),
      chunk(`${canary.slice(20)} and ${secret}\n`, "stop"),
      FaultServer.event("[DONE]")
    )

    const predict = Predict.make("question -> answer")

    it.live("a program that was recorded runs offline, and no secret is in the file", () =>
      Effect.gen(function*() {
        const path = yield* newFile
        const server = yield* FaultServer.make(() => answer)
        const layer = (mode: Cassette.Mode, baseUrl: string) =>
          OpenAiCompatible.layer({
            model: "m",
            id: "test/m",
            baseUrl,
            apiKey: Redacted.make(canary)
          }).pipe(
            Layer.provide(NodeHttpClient.layerUndici),
            Policy.apply(Cassette.make({ path, mode, redact: [Redacted.make(secret), /hunter\d/] }))
          )
        const program = Effect.gen(function*() {
          const model = yield* LanguageModel.LanguageModel
          const whole = yield* LanguageModel.fold(
            model.stream(asking(`My key is ${canary}, my words are ${secret} and hunter2.`)),
            "test/m"
          )
          return { whole, ...(yield* predict({ question: "What is it?" })) }
        })
        const live = yield* Effect.provide(program, layer("record", server.url))
        assert.include(live.answer, canary)
        assert.strictEqual(server.requests.length, 2)
        const text = yield* read(path)
        for (const hidden of [canary, canary.slice(0, 20), canary.slice(20), secret, "hunter2"]) {
          assert.notInclude(text, hidden)
        }
        const replayed = yield* Effect.provide(program, layer("strict", "http://127.0.0.1:9"))
        assert.strictEqual(replayed.answer, "The key is <redacted>, <redacted> and <redacted>")
        assert.strictEqual(server.requests.length, 2)
      }).pipe(Effect.scoped, Effect.provide(NodeContext.layer)))
  })
})
