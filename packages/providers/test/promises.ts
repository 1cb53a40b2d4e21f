/**
 * What every provider promises on the wire, whatever its dialect: each function
 * declares the tests of one promise.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Effect,
  Either,
  Exit,
  Fiber,
  type Layer,
  Logger,
  LogLevel,
  Redacted,
  Stream,
  Tracer
} from "effect"
import { inspect } from "node:util"
import * as FaultServer from "./FaultServer.ts"

// =============================================================================
// A model over a scripted server
// =============================================================================

/** A provider's constructor, as far as it is the same for all. */
export interface Make {
  (options: {
    readonly model: string
    readonly baseUrl: string
    readonly apiKey: Redacted.Redacted
    readonly headers?: { readonly [name: string]: string | Redacted.Redacted }
  }): Effect.Effect<LanguageModel.Service, never, HttpClient.HttpClient>
}

export type Handler = FaultServer.Script | ((request: FaultServer.Recorded, n: number) => FaultServer.Script)

export const canary = "sk-canary-0123456789abcdef0123456789abcdef"

/** Uses a model that a scripted server answers for. */
export const over = (make: Make, model: string) =>
<A, E>(
  handler: Handler,
  use: (model: LanguageModel.Service, server: FaultServer.FaultServer) => Effect.Effect<A, E>,
  options: {
    readonly client?: Layer.Layer<HttpClient.HttpClient>
    readonly headers?: { readonly [name: string]: string | Redacted.Redacted }
  } = {}
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(typeof handler === "function" ? handler : () => handler)
    const made = yield* make({
      model,
      baseUrl: server.url,
      apiKey: Redacted.make(canary),
      ...(options.headers === undefined ? undefined : { headers: options.headers })
    })
    return yield* use(made, server)
  }).pipe(Effect.scoped, Effect.provide(options.client ?? NodeHttpClient.layerUndici))

export type Over = ReturnType<typeof over>

export const question: LanguageModel.Request = {
  messages: [{ role: "user", content: "What is the capital of France?" }]
}

export const collect = (model: LanguageModel.Service, request = question) =>
  Effect.map(Stream.runCollect(model.stream(request)), Chunk.toReadonlyArray)

/** Everything a stream delivered, and how it ended. */
export const observe = (model: LanguageModel.Service, request = question) =>
  Effect.gen(function*() {
    const deltas: Array<LanguageModel.Delta> = []
    const end = yield* Effect.either(
      Stream.runForEach(model.stream(request), (delta) => Effect.sync(() => deltas.push(delta)))
    )
    return { deltas, end }
  })

export const textOf = (deltas: ReadonlyArray<LanguageModel.Delta>): string =>
  deltas.map((delta) => delta._tag === "TextDelta" ? delta.text : "").join("")

// A request that carries a number to the server, however the dialect writes a prompt.
const numbered = (n: number): LanguageModel.Request => ({ messages: [{ role: "user", content: `<${n}>` }] })

const numberOf = (request: FaultServer.Recorded): number => Number(/<(\d+)>/.exec(request.body)?.[1])

const eachNumber = <A, E>(count: number, run: (n: number) => Effect.Effect<A, E>) =>
  Effect.forEach(Array.from({ length: count }, (_, n) => n), run, { concurrency: 16 })

// =============================================================================
// Promises
// =============================================================================

/**
 * A connection that ends at any byte of a stream gives the whole answer or a
 * failure with what had arrived. `text` is the whole text of `recorded`.
 */
export const isNeverSilentlyCut = (over: Over, recorded: string, text: string): void => {
  const scripts = {
    "close-delimited": FaultServer.sse(recorded),
    chunked: FaultServer.sseChunked(...recorded.split(/(?<=\n\n)/))
  }
  for (const [framing, script] of Object.entries(scripts)) {
    for (const end of [FaultServer.fin, FaultServer.rst]) {
      it.live(
        `${end._tag} at every byte of a ${framing} stream is never a silent success`,
        () =>
          over((request) => FaultServer.cutAt(script, numberOf(request) + 1, end), (model) =>
            Effect.gen(function*() {
              const size = FaultServer.sizeOf(script)
              const outcomes = yield* eachNumber(size, (n) => observe(model, numbered(n)))
              let successes = 0
              for (const [offset, { deltas, end }] of outcomes.entries()) {
                const got = textOf(deltas)
                if (Either.isRight(end)) {
                  successes++
                  assert.strictEqual(got, text, `offset ${offset}`)
                  assert.deepStrictEqual(deltas.slice(-2).map((delta) => delta._tag), ["Finish", "Completed"])
                } else {
                  const { reason, retryable } = end.left
                  assert.include(["Transport", "StreamTruncated", "StreamFailed"], reason._tag, `offset ${offset}`)
                  assert.isTrue(text.startsWith(got), `offset ${offset}`)
                  if (got !== "") assert.notStrictEqual(reason._tag, "Transport", `offset ${offset}`)
                  if (reason._tag === "StreamTruncated" || reason._tag === "StreamFailed") {
                    assert.strictEqual(reason.partial, got, `offset ${offset}`)
                  }
                  assert.isTrue(retryable)
                  assert.isFalse(deltas.some((delta) => delta._tag === "Completed"))
                }
              }
              assert.isTrue(Either.isRight(outcomes.at(-1)!.end))
              assert.isAbove(successes, 0)
              assert.isBelow(successes, size / 2)
            })),
        60_000
      )
    }
  }
}

/**
 * However a stream is cut into packets, its deltas are the same.
 */
export const isTheSameInAnyPieces = (over: Over, recorded: string): void => {
  for (const [spelling, text] of Object.entries({ LF: recorded, CRLF: `\uFEFF${recorded.replaceAll("\n", "\r\n")}` })) {
    it.live(`every split of a stream gives the same deltas, ${spelling}`, () => {
      const body = FaultServer.bytes(text)
      const [head] = FaultServer.sse()
      return over(
        (request) => [head!, ...FaultServer.split(body, [numberOf(request)])],
        (model) =>
          Effect.gen(function*() {
            const outcomes = yield* eachNumber(body.length, (n) => collect(model, numbered(n)))
            for (const [offset, deltas] of outcomes.entries()) {
              assert.deepStrictEqual(deltas, outcomes[0], `offset ${offset}`)
            }
            assert.isAbove(outcomes[0]!.length, 2)
          })
      )
    }, 60_000)
  }
}

/**
 * An interrupted call closes its connection, wherever it stands. `begun` is the
 * beginning of a stream.
 */
export const isClosedWhenInterrupted = (over: Over, begun: string): void => {
  it.live("connections are closed when a call is interrupted, at any point", () =>
    Effect.gen(function*() {
      const scripts: ReadonlyArray<FaultServer.Script> = [
        [FaultServer.stall],
        [FaultServer.head(200), FaultServer.write("{\"a"), FaultServer.stall],
        [FaultServer.head(500), FaultServer.stall],
        [...FaultServer.sse(begun), FaultServer.stall]
      ]
      for (const script of scripts) {
        for (
          const ask of [
            (model: LanguageModel.Service) => Effect.asVoid(model.generate(question)),
            (model: LanguageModel.Service) => Stream.runDrain(model.stream(question))
          ]
        ) {
          yield* over(script, (model, server) =>
            Effect.gen(function*() {
              const fiber = yield* Effect.fork(ask(model))
              const request = yield* server.next
              yield* Effect.sleep(20)
              assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
              yield* request.closed
            }))
        }
      }
    }), 20_000)
}

/**
 * The key and the prompt are in no error, log, span or printout. `scripts` are
 * further answers to try, made of the key and the prompt: a whole one that took
 * 12 tokens, and one that does not say why the model stopped, among them.
 */
export const keepsSecrets = (
  over: Over,
  scripts: (canary: string, prompt: string) => ReadonlyArray<FaultServer.Script>
): void => {
  it.live("the key and the prompt are in no error, log, span or printout", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make((entry) => {
        lines.push(inspect(entry.message, { depth: 20 }), Cause.pretty(entry.cause), inspect(entry.annotations))
      })
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          return {
            _tag: "Span",
            spanId: "1",
            traceId: "1",
            sampled: true,
            name,
            parent,
            context,
            links,
            kind,
            attributes,
            status: { _tag: "Started", startTime },
            attribute: (key, value) => {
              attributes.set(key, value)
              lines.push(`${name} ${key} ${inspect(value)}`)
            },
            event: (name, _, attributes) => lines.push(`${name} ${inspect(attributes)}`),
            addLinks: () => {},
            end: (_, exit) => lines.push(`${name} ended ${inspect(exit, { depth: 20 })}`)
          }
        },
        context: (f) => f()
      })
      const prompt = "a prompt that nobody should ever read in a log"
      const request: LanguageModel.Request = { messages: [{ role: "user", content: prompt }] }
      const all: ReadonlyArray<FaultServer.Script> = [
        ...scripts(canary, prompt),
        FaultServer.json(401, { error: { message: `bad key ${canary} for ${prompt}` } }),
        FaultServer.json(400, { error: { message: prompt } }),
        FaultServer.html(500),
        [FaultServer.rst],
        [FaultServer.head(200), FaultServer.write("{"), FaultServer.delay(5), FaultServer.rst],
        FaultServer.sse(`event: error\ndata: ${canary} ${prompt}\n\n`)
      ]
      yield* Effect.gen(function*() {
        for (const script of all) {
          for (const client of [NodeHttpClient.layerUndici, FetchHttpClient.layer]) {
            yield* over(script, (model) =>
              Effect.gen(function*() {
                lines.push(inspect(model, { depth: 20, showHidden: true }))
                for (const ask of [Effect.asVoid(model.generate(request)), Stream.runDrain(model.stream(request))]) {
                  const exit = yield* Effect.exit(ask)
                  lines.push(inspect(exit, { depth: 20, showHidden: true }), JSON.stringify(exit))
                  if (Exit.isFailure(exit)) yield* Effect.logError("failed", exit.cause)
                }
              }), { client, headers: { "x-tenant": Redacted.make(`${canary}-header`) } })
          }
        }
      }).pipe(
        Effect.withTracer(tracer),
        Logger.withMinimumLogLevel(LogLevel.All),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      const written = lines.join("\n")
      assert.include(written, "gen_ai.request.model")
      assert.include(written, "gen_ai.usage.input_tokens 12")
      assert.include(written, "did not say why")
      assert.include(written, "error.type 'Authentication'")
      assert.notInclude(written, canary)
      assert.notInclude(written, prompt)
      assert.notInclude(written, btoa(canary).slice(0, 40))
    }), 20_000)
}
