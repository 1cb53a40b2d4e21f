import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Config, ConfigProvider, Console, Effect, Fiber, Logger, Option, Redacted, Stream } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as ClaudeCli from "../src/ClaudeCli.ts"
import { spanEvents } from "./policing.ts"

// What a child must not get, unless it is on the list.
const environment = process.env

const executable = path.join(import.meta.dirname, "fixtures", "fakeClaude.mjs")

const ask = (content: string): LanguageModel.Request => ({ messages: [{ role: "user", content }] })

// Linux keeps what nobody has waited for as a zombie, which runs no more.
const alive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

const workplace = Effect.acquireRelease(
  Effect.sync(() => {
    const home = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-cli-")))
    const directory = path.join(home, "work")
    fs.mkdirSync(directory)
    const file = path.join(home, "pids")
    const pids = () => fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split("\n").map(Number) : []
    return { home, directory, file, pids }
  }),
  ({ home, pids }) =>
    Effect.sync(() => {
      for (const pid of pids()) if (alive(pid)) process.kill(pid, "SIGKILL")
      fs.rmSync(home, { recursive: true, force: true })
    })
)

// The fake in a folder of its own, and the processes that it has started.
const behaving = (behaviour: string, options: Partial<ClaudeCli.Options> = {}) =>
  Effect.gen(function*() {
    const { directory, file, pids } = yield* workplace
    const model = yield* ClaudeCli.make({
      directory,
      executable,
      ...options,
      environment: { BEHAVIOUR: behaviour, PIDS: file, ...options.environment }
    })
    return { model, directory, pids, orphans: () => pids().filter(alive) }
  })

const reasonOf = (behaviour: string, options: Partial<ClaudeCli.Options> = {}, content = "hi") =>
  Effect.gen(function*() {
    const { model, orphans, pids } = yield* behaving(behaviour, options)
    const error = yield* Effect.flip(model.generate(ask(content)))
    assert.isAbove(pids().length, 0)
    assert.deepStrictEqual(orphans(), [])
    return error
  })

const until = (holds: () => boolean) =>
  Effect.repeat(Effect.delay(Effect.sync(holds), "10 millis"), { until: (held) => held })

describe("ClaudeCli", () => {
  it.scopedLive("asks by standard input, streams, and reports session, tokens and cost", () =>
    Effect.gen(function*() {
      const { model, orphans } = yield* behaving("answer", { model: "sonnet" })
      const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(model.stream(ask("hello"))))
      assert.deepStrictEqual(deltas.map(({ _tag }) => _tag), [
        "ReasoningDelta",
        "TextDelta",
        "TextDelta",
        "Finish",
        "Completed"
      ])
      const response = yield* model.generate(ask("hello"))
      assert.deepStrictEqual(response, {
        outputs: [{ text: "You said hello", reasoning: "hm", toolCalls: [], finishReason: "stop" }],
        usage: { inputTokens: 20, outputTokens: 5, cachedInputTokens: 10, cost: 0.25 },
        model: "claude-test-1",
        requestId: "session-1"
      })
      assert.strictEqual(model.id, "claude-cli/sonnet")
      assert.strictEqual(model.capabilities.streaming, true)
      assert.strictEqual(model.capabilities.tools, false)
      assert.deepStrictEqual(orphans(), [])
    }))

  it.scopedLive("hands on a conversation as one text, the system's part first", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("answer")
      const text = (messages: LanguageModel.Request["messages"]) =>
        Effect.map(model.generate({ messages }), (response) => response.outputs[0]?.text)
      assert.strictEqual(
        yield* text([
          { role: "system", content: "Be brief." },
          { role: "user", content: [{ _tag: "Text", text: "2 + 2" }, { _tag: "Text", text: "?" }] }
        ]),
        "You said Be brief.\n\n2 + 2?"
      )
      const long = yield* text([
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
        { role: "user", content: "c" },
        { role: "system", content: "s" }
      ])
      assert.match(
        long ?? "",
        /^You said s\n\n.*<user>\na\n<\/user>\n\n<assistant>\nb\n<\/assistant>\n\n<user>\nc\n<\/user>$/s
      )
    }))

  it.scopedLive("gives it its folder, its arguments and the environment that is allowed, and no more", () =>
    Effect.gen(function*() {
      environment["CANARY"] = "a-secret-of-ours"
      const { directory, model } = yield* behaving("report", {
        model: "opus",
        tools: ["Read", "mcp__files__list"],
        environment: { ANTHROPIC_API_KEY: Redacted.make("sk-canary"), EXTRA: "$(id)" }
      })
      const report = JSON.parse((yield* model.generate(ask("hi"))).outputs[0]!.text)
      delete environment["CANARY"]
      assert.strictEqual(report.directory, directory)
      assert.deepStrictEqual(report.arguments, [
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--tools",
        "Read,mcp__files__list",
        "--allowedTools",
        "Read,mcp__files__list",
        "--model",
        "opus"
      ])
      assert.strictEqual(report.environment.PATH, environment["PATH"])
      assert.strictEqual(report.environment.ANTHROPIC_API_KEY, "sk-canary")
      assert.strictEqual(report.environment.EXTRA, "$(id)")
      assert.notInclude(JSON.stringify(report), "a-secret-of-ours")
      const names = new Set([
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "TZ",
        "ANTHROPIC_API_KEY",
        "EXTRA",
        "BEHAVIOUR",
        "PIDS"
      ])
      assert.deepStrictEqual(Object.keys(report.environment).filter((name) => !names.has(name)), [])
    }))

  it.scopedLive("prompts are data, whatever they are and however long", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("answer")
      const corpus = [
        "--model",
        "-c",
        "$(touch pwned)",
        "`id`",
        "a\nb",
        "a\0b",
        "; rm -rf .",
        "' \" \\",
        "ü😀\u2028",
        "😀".repeat(500_000)
      ]
      for (const prompt of corpus) {
        assert.strictEqual((yield* model.generate(ask(prompt))).outputs[0]?.text, `You said ${prompt}`)
      }
      const empty = yield* model.generate(ask(""))
      assert.strictEqual(empty.outputs[0]?.text, "You said ")
      const { model: deaf } = yield* behaving("deaf")
      const unread = yield* deaf.generate(ask("x".repeat(2 ** 21)))
      assert.strictEqual(unread.outputs[0]?.text, "Did not listen.")
    }))

  it.scopedLive("options that could be taken for something else are refused before anything is run", () =>
    Effect.gen(function*() {
      const { directory, file, pids } = yield* workplace
      const refused: ReadonlyArray<Partial<ClaudeCli.Options>> = [
        { model: "--dangerously-skip-permissions" },
        { model: "-c" },
        { model: "" },
        { model: "a\0b" },
        { executable: "-e" },
        { executable: "" },
        { directory: "-" },
        { directory: "a\0b" },
        ...["-c", "--x", "", "Bash,Edit", "Bash(rm:*)", "a b", "a\0", "$(id)"].map((tool) => ({ tools: [tool] })),
        { environment: { "A=B": "c" } },
        { environment: { "": "c" } },
        { environment: { A: "b\0c" } },
        { environment: { A: Redacted.make("b\0c") } }
      ]
      for (const options of refused) {
        const error = yield* Effect.flip(
          ClaudeCli.make({ directory, executable, ...options, environment: { PIDS: file, ...options.environment } })
        )
        assert.strictEqual(error.reason._tag, "InvalidRequest", JSON.stringify(options))
      }
      assert.deepStrictEqual(pids(), [])
      // What a shell would read is one argument here.
      const { model } = yield* behaving("report", { model: "a b; $(touch pwned) \n`id`" })
      const report = JSON.parse((yield* model.generate(ask("hi"))).outputs[0]!.text)
      assert.strictEqual(report.arguments.at(-1), "a b; $(touch pwned) \n`id`")
      assert.notInclude(fs.readdirSync(report.directory), "pwned")
    }))

  it.scopedLive("what it cannot be asked is refused, and what it cannot be told is said once", () =>
    Effect.gen(function*() {
      const { model, pids } = yield* behaving("answer")
      const requests: ReadonlyArray<Partial<LanguageModel.Request>> = [
        { tools: [{ name: "look", parameters: {} }] },
        { responseFormat: { _tag: "JsonObject" } },
        { settings: { n: 2 } },
        { messages: [{ role: "user", content: [{ _tag: "Image", url: "https://a.test/b.png" }] }] }
      ]
      for (const request of requests) {
        const error = yield* Effect.flip(model.generate({ ...ask("hi"), ...request }))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
      }
      assert.deepStrictEqual(pids(), [])

      const warnings: Array<string> = []
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ message }) => void warnings.push(String(message)))
      )
      const settings = { temperature: 0, maxTokens: undefined, rollout: "1" }
      yield* Effect.repeatN(model.generate({ ...ask("hi"), settings }), 1).pipe(Effect.provide(logger))
      assert.deepStrictEqual(warnings, ["claude-cli/default takes no settings; ignored: temperature"])
    }))

  it.scopedLive("of a run with tools the last message is the answer; what came before is void", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("tools")
      const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(model.stream(ask("hi"))))
      assert.deepStrictEqual(deltas.map((delta) => delta._tag === "TextDelta" ? delta.text : delta._tag), [
        "Let me look.",
        "Restarted",
        "It is 4.",
        "Finish",
        "Completed"
      ])
      const response = yield* LanguageModel.fold(Stream.fromIterable(deltas), model.id)
      assert.strictEqual(response.outputs[0]?.text, "It is 4.")
      assert.strictEqual(response.outputs[0]?.finishReason, "length")
      const { model: whole } = yield* behaving("whole")
      assert.strictEqual((yield* whole.generate(ask("hi"))).outputs[0]?.text, "All at once.")
    }))

  it.scopedLive("colours, progress and warnings around the events do no harm", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("noise")
      assert.strictEqual((yield* model.generate(ask("hi"))).outputs[0]?.text, "Heard.")
      const { model: complaining } = yield* behaving("complaining")
      assert.strictEqual((yield* complaining.generate(ask("hi"))).outputs[0]?.text, "Said it.")
    }))

  it.scopedLive("an answer that breaks off is none", () =>
    Effect.gen(function*() {
      const half = yield* reasonOf("half")
      assert.deepStrictEqual({ ...half.reason }, { _tag: "StreamTruncated", partial: "The answer is" })
      assert.strictEqual(half.requestId, "session-1")
      const malformed = yield* reasonOf("malformed")
      assert.strictEqual(malformed.reason._tag === "StreamFailed" && malformed.reason.kind, "malformedFrame")
      assert.strictEqual(malformed.reason._tag === "StreamFailed" && malformed.reason.partial, "The")
      const silent = yield* reasonOf("silent")
      assert.strictEqual(silent.reason._tag === "MalformedResponse" && silent.reason.kind, "empty")
      const excuse = yield* reasonOf("excuse")
      assert.strictEqual(excuse.reason._tag === "MalformedResponse" && excuse.reason.kind, "shape")
      assert.include(excuse.message, "Execution error")
    }))

  it.scopedLive("how it ended is told: a code, a signal, a version that knows no such option", () =>
    Effect.gen(function*() {
      const prompt = "the secret plan of the company"
      const failing = yield* reasonOf(
        "failing",
        { environment: { ANTHROPIC_API_KEY: Redacted.make("sk-canary") } },
        prompt
      )
      assert.strictEqual(failing.reason._tag === "Transport" && failing.reason.code, "EXIT_3")
      assert.include(failing.message, "boom")
      assert.notInclude(JSON.stringify(failing), "sk-canary")
      assert.notInclude(JSON.stringify(failing), prompt)
      const dying = yield* reasonOf("dying")
      assert.strictEqual(dying.reason._tag === "Transport" && dying.reason.code, "SIGKILL")
      const old = yield* reasonOf("old")
      assert.strictEqual(old.reason._tag, "InvalidRequest")
      assert.include(old.message, "up to date")
      assert.isFalse(old.retryable)
    }))

  it.scopedLive("what it reports as an error is the error that it is", () =>
    Effect.gen(function*() {
      const expected: { readonly [behaviour: string]: LanguageModelError.Reason["_tag"] } = {
        login: "Authentication",
        "error:login": "Authentication",
        "error:limit": "QuotaExhausted",
        "error:rate": "RateLimited",
        "error:overloaded": "Overloaded",
        "error:long": "ContextWindowExceeded",
        "error:turns": "InvalidRequest",
        "error:other": "StreamFailed"
      }
      for (const [behaviour, tag] of Object.entries(expected)) {
        assert.strictEqual((yield* reasonOf(behaviour)).reason._tag, tag, behaviour)
      }
    }))

  it.scopedLive("a program or a folder that is not there is named", () =>
    Effect.gen(function*() {
      const { directory, home } = yield* workplace
      const reason = (options: Partial<ClaudeCli.Options>) =>
        ClaudeCli.make({ directory, executable, ...options }).pipe(
          Effect.flatMap((model) => model.generate(ask("hi"))),
          Effect.flip
        )
      const missing = yield* reason({ executable: "no-such-claude" })
      assert.strictEqual(missing.reason._tag, "NotFound")
      assert.include(missing.message, "no-such-claude")
      const nowhere = yield* reason({ directory: path.join(home, "nowhere") })
      assert.strictEqual(nowhere.reason._tag, "InvalidRequest")
      assert.include(nowhere.message, "nowhere")
      const plain = path.join(home, "plain")
      fs.writeFileSync(plain, "", { mode: 0o600 })
      assert.strictEqual((yield* reason({ executable: plain })).reason._tag, "Permission")
    }))

  it.scopedLive("it writes in time or not at all", () =>
    Effect.gen(function*() {
      const timeouts = { firstOutput: "10 seconds", idle: "10 seconds", total: "10 seconds" } as const
      const phase = (behaviour: string, shorter: ClaudeCli.Options["timeouts"]) =>
        Effect.map(
          reasonOf(behaviour, { timeouts: { ...timeouts, ...shorter } }),
          ({ reason }) => reason._tag === "Timeout" ? reason.phase : reason._tag
        )
      assert.strictEqual(yield* phase("terminal", { firstOutput: "1 second" }), "firstByte")
      assert.strictEqual(yield* phase("stalled", { idle: "100 millis" }), "idle")
      assert.strictEqual(yield* phase("dripping", { total: "2 seconds" }), "total")
      // A reader that takes its time does not use up that of the program.
      const { model } = yield* behaving("answer", { timeouts: { ...timeouts, total: "5 seconds" } })
      const slow = Stream.mapEffect(
        model.stream(ask("hi")),
        (delta) => Effect.delay(Effect.succeed(delta), "10 millis")
      )
      assert.isAbove(Chunk.size(yield* Stream.runCollect(slow)), 3)
    }))

  it.scopedLive("nothing is lost when it ends while nobody reads", () =>
    Effect.gen(function*() {
      const { model, orphans } = yield* behaving("answer")
      let waited = false
      const deltas = yield* Stream.runCollect(Stream.mapChunksEffect(model.stream(ask("hi")), (chunk) =>
        Effect.gen(function*() {
          if (!waited) yield* until(() => orphans().length === 0)
          waited = true
          return chunk
        })))
      const last = Chunk.last(deltas)
      assert.strictEqual(last._tag === "Some" ? last.value._tag : undefined, "Completed")
    }))

  it.scopedLive("a flood is stopped, in lines or without", () =>
    Effect.gen(function*() {
      const flood = yield* reasonOf("flood")
      assert.deepStrictEqual({ ...flood.reason }, { _tag: "ResponseTooLarge", limit: 64 * 1024 * 1024 })
      const endless = yield* reasonOf("endless")
      assert.deepStrictEqual({ ...endless.reason }, { _tag: "ResponseTooLarge", limit: 16 * 1024 * 1024 })
    }))

  it.scopedLive("is read no faster than its reader reads", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("flood")
      const before = process.memoryUsage().rss
      const fiber = yield* Effect.fork(
        Stream.runForEachChunk(Stream.chunks(model.stream(ask("hi"))), () => Effect.never)
      )
      yield* Effect.sleep("500 millis")
      assert.isBelow(process.memoryUsage().rss - before, 64 * 2 ** 20)
      yield* Fiber.interrupt(fiber)
    }))

  it.scopedLive("what it leaves behind ends with it", () =>
    Effect.gen(function*() {
      const { model, orphans, pids } = yield* behaving("lingering")
      assert.strictEqual((yield* model.generate(ask("hi"))).outputs[0]?.text, "Done.")
      yield* until(() => orphans().length === 0)
      assert.strictEqual(pids().length, 2)
      const { model: staying, orphans: stayed } = yield* behaving("staying")
      assert.strictEqual((yield* staying.generate(ask("hi"))).outputs[0]?.text, "Done.")
      assert.deepStrictEqual(stayed(), [])
    }))

  it.scopedLive("a pipe that somebody else holds open is not waited for", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("escaping")
      const error = yield* Effect.flip(model.generate(ask("hi")))
      assert.strictEqual(error.reason._tag, "StreamTruncated")
    }))

  it.scopedLive("interruption ends it and all that it has started, also those that do not listen", () =>
    Effect.gen(function*() {
      for (const behaviour of ["family", "stubborn"]) {
        const { model, orphans } = yield* behaving(behaviour)
        let begun = false
        const fiber = yield* Effect.fork(
          Stream.runForEach(model.stream(ask("hi")), () => Effect.sync(() => void (begun = true)))
        )
        yield* until(() => begun) // by then all of them are up, and listen to signals or do not
        assert.isAbove(orphans().length, 1)
        yield* Fiber.interrupt(fiber)
        yield* until(() => orphans().length === 0)
      }
      // A reader that has had enough ends it, too.
      const { model, orphans } = yield* behaving("dripping")
      yield* Stream.runHead(model.stream(ask("hi")))
      assert.deepStrictEqual(orphans(), [])
    }))

  // For longer: RUNS=1000 npx vitest run packages/providers/test/ClaudeCli.test.ts -t "many calls"
  it.scopedLive("many calls at a time leave no process behind", () =>
    Effect.gen(function*() {
      const total = Number(environment["RUNS"] ?? 12)
      const kinds = ["answer", "lingering", "family", "stubborn", "half", "dying", "stalled", "flood"]
      const models = yield* Effect.forEach(kinds, (kind) => behaving(kind))
      yield* Effect.forEach(
        Array.from({ length: total }, (_, n) => models[n % models.length]!),
        ({ model }, n) => Effect.timeoutOption(Effect.exit(model.generate(ask("hi"))), 200 + (n * 97) % 500),
        { concurrency: 4 }
      )
      yield* until(() => models.every(({ orphans }) => orphans().length === 0))
      if (environment["RUNS"] !== undefined) {
        const started = models.reduce((sum, { pids }) => sum + pids().length, 0)
        yield* Console.log(`${total} calls, ${started} processes, 0 orphans`)
      }
    }), 60_000 + Number(environment["RUNS"] ?? 0) * 3000)

  it.scopedLive("ends when the process that called it is killed", () =>
    Effect.gen(function*() {
      const { directory, file, pids } = yield* workplace
      const script = path.join(import.meta.dirname, "fixtures", "claudeParent.ts")
      const parent = spawn(process.execPath, ["--import", "tsx", script, directory, file], { stdio: "inherit" })
      yield* Effect.addFinalizer(() => Effect.sync(() => parent.kill("SIGKILL")))
      yield* until(() => pids().length === 2 && pids().every(alive))
      parent.kill("SIGKILL")
      yield* until(() => !pids().some(alive)).pipe(Effect.timeout("10 seconds"))
    }), 60_000)

  it.scopedLive("is configured by the program's configuration", () =>
    Effect.gen(function*() {
      const { directory } = yield* workplace
      const model = yield* Effect.provide(
        LanguageModel.LanguageModel,
        ClaudeCli.layerConfig({
          directory: Config.string("FOLDER"),
          executable: Config.succeed(executable),
          model: Config.option(Config.string("MODEL")).pipe(Config.map(Option.getOrUndefined))
        })
      ).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["FOLDER", directory]]))))
      assert.strictEqual((yield* model.generate(ask("hi"))).outputs[0]?.text, "You said hi")
    }))

  it.scopedLive("secrets and prompts are in no span", () =>
    Effect.gen(function*() {
      const { model } = yield* behaving("answer", { environment: { ANTHROPIC_API_KEY: Redacted.make("sk-canary") } })
      const events = yield* spanEvents(model.generate(ask("a prompt to keep")))
      assert.notInclude(JSON.stringify(events), "keep")
    }))
})
