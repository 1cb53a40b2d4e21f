/**
 * A `Cassette` records what a model answers, in a file, and plays it back, so
 * that tests, examples and CI run the whole program without a key, a network or
 * a bill, and get the same every time.
 *
 * The file is JSON lines, one for each recorded call: the model, the request,
 * their hash, which of several equal requests it was (`n`, from 0), and the
 * deltas of the answer in the chunks they came in. It is meant to be read,
 * reviewed and kept with the code.
 *
 * @since 0.1.0
 */
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as Policy from "@effect-dspy/core/Policy"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Metric from "effect/Metric"
import * as ParseResult from "effect/ParseResult"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Redaction from "./internal/redaction.ts"
import { spanEvent } from "./internal/spanEvent.ts"

// =============================================================================
// The file
// =============================================================================

/**
 * A cassette that cannot be used: the file is missing, cannot be read or
 * written, or one of its lines is not a recording.
 *
 * @since 0.1.0
 * @category errors
 */
export class CassetteError extends Schema.TaggedError<CassetteError>("@effect-dspy/providers/Cassette/CassetteError")(
  "CassetteError",
  { path: Schema.String, description: Schema.String }
) {
  override get message(): string {
    return `Cassette ${this.path}: ${this.description}`
  }
}

/**
 * One line of the file. `deltas` are the chunks of the stream, an answer that
 * was not streamed being one; `error` is how it failed, if it did.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Recording = Schema.Struct({
  hash: Schema.String,
  n: Schema.NonNegativeInt,
  model: Schema.String,
  request: LanguageModel.Request,
  deltas: Schema.Array(Schema.Array(LanguageModel.Delta)),
  error: Schema.optional(LanguageModelError.LanguageModelError)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Recording extends Schema.Schema.Type<typeof Recording> {}

const Line = Schema.parseJson(Recording)

const lineEnd = 10

// The recordings of a file. The end of a line that was never finished, by a process that was killed, is none.
const parse = (path: string, bytes: Uint8Array): Effect.Effect<ReadonlyArray<Recording>, CassetteError> =>
  Effect.forEach(
    new TextDecoder().decode(bytes.subarray(0, bytes.lastIndexOf(lineEnd) + 1)).split("\n").slice(0, -1),
    (line, index) => {
      const refuse = (why: string) =>
        new CassetteError({ path, description: `line ${index + 1} ${why}; remove the line, or record the file anew` })
      return Either.match(Schema.decodeEither(Line)(line), {
        // Where it is wrong, without what stands there, which may be anything.
        onLeft: (error) => Effect.fail(refuse(`is not a recording${placeOf(error)}`)),
        onRight: (recording) =>
          recording.hash === hashOf(recording.model, recording.request)
            ? Effect.succeed(recording)
            : Effect.fail(refuse("has a hash that does not fit its request"))
      })
    }
  )

const placeOf = (error: ParseResult.ParseError): string => {
  const [problem] = ParseResult.ArrayFormatter.formatErrorSync(error)
  return problem === undefined || problem.path.length === 0 ? "" : ` (at ${problem.path.join(".")})`
}

const hashOf = (model: string, request: LanguageModel.Request): string => Json.hash({ model, request })

// =============================================================================
// Secrets
// =============================================================================

type Chunks = ReadonlyArray<ReadonlyArray<LanguageModel.Delta>>

// A secret may be cut by the chunks: then the answer is kept in one.
const cleanDeltas = (redact: Redaction.Redact, deltas: Chunks): Chunks => {
  const clean = (delta: LanguageModel.Delta): LanguageModel.Delta => {
    const cleaned = redact(LanguageModel.Delta)(delta)
    if (delta._tag !== "TextDelta" || cleaned._tag !== "TextDelta" || cleaned.text === delta.text) return cleaned
    // Its tokens spell what was removed.
    const { logprobs: _, ...rest } = cleaned
    return rest
  }
  const cleaned = deltas.map((chunk) => chunk.map(clean))
  const whole = joined(deltas).map(clean)
  return Json.canonical(saidIn(whole)) === Json.canonical(saidIn(joined(cleaned))) ? cleaned : [whole]
}

// Beside the tokens, which are left out of some deltas only.
const saidIn = (deltas: ReadonlyArray<LanguageModel.Delta>): ReadonlyArray<unknown> =>
  deltas.map((delta) => delta._tag === "TextDelta" ? { ...delta, logprobs: undefined } : delta)

// Each text in one piece, where its first one was.
const joined = (deltas: Chunks): ReadonlyArray<LanguageModel.Delta> => {
  const whole: Array<LanguageModel.Delta> = []
  const places = new Map<string, number>()
  for (const delta of deltas.flat()) {
    if (delta._tag === "Restarted") places.clear()
    const key = keyOf(delta)
    const place = key === undefined ? undefined : places.get(key)
    const first = place === undefined ? undefined : whole[place]
    if (place !== undefined && first !== undefined) whole[place] = join(first, delta)
    else {
      if (key !== undefined) places.set(key, whole.length)
      whole.push(delta)
    }
  }
  return whole
}

const keyOf = (delta: LanguageModel.Delta): string | undefined => {
  switch (delta._tag) {
    case "TextDelta":
    case "ReasoningDelta":
      return `${delta._tag} ${delta.index}`
    case "ToolCallDelta":
      return `${delta._tag} ${delta.index} ${delta.call}`
    default:
      return undefined
  }
}

const join = (first: LanguageModel.Delta, next: LanguageModel.Delta): LanguageModel.Delta => {
  if (first._tag === "TextDelta" && next._tag === "TextDelta") {
    const logprobs = [...(first.logprobs ?? []), ...(next.logprobs ?? [])]
    return { ...first, text: first.text + next.text, ...(logprobs.length === 0 ? undefined : { logprobs }) }
  }
  if (first._tag === "ReasoningDelta" && next._tag === "ReasoningDelta") {
    return { ...first, text: first.text + next.text }
  }
  if (first._tag === "ToolCallDelta" && next._tag === "ToolCallDelta") {
    const name = next.name === undefined ? first.name : (first.name ?? "") + next.name
    return {
      ...first,
      ...(next.id === undefined ? undefined : { id: next.id }),
      ...(name === undefined ? undefined : { name }),
      arguments: first.arguments + next.arguments
    }
  }
  return next
}

const chunksOf = (response: LanguageModel.Response): Effect.Effect<Chunks> =>
  Effect.map(Stream.runCollect(LanguageModel.unfold(response)), (deltas) => [Chunk.toReadonlyArray(deltas)])

// =============================================================================
// The policy
// =============================================================================

/**
 * What is asked of the model, and what of the file:
 *
 * - `strict`: nothing is asked of the model. A request that is not recorded
 *   fails with `NotFound`, from the provider `cassette`. This is for CI.
 * - `replay`: what is recorded is played back; the rest is asked, and added.
 * - `record`: everything is asked, and the file is written anew.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "strict" | "replay" | "record"

/**
 * What `Cassette` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The file; its directory must exist. */
  readonly path: string
  /** Default `strict`. */
  readonly mode?: Mode | undefined
  /**
   * Texts and patterns that must not get into the file; each is replaced by
   * `<redacted>`, in requests and answers, wherever anything can be said, also
   * where it is escaped in JSON, however often: words of the format, such as
   * roles, tags and finish reasons, stay. What looks like a key of a well-known
   * provider always is. Keys by which a provider is called are no part of a
   * request, and never in it.
   */
  readonly redact?: ReadonlyArray<string | RegExp | Redacted.Redacted> | undefined
}

/**
 * Counts calls, tagged by `model` and by `outcome`: `played` back, `asked` of the
 * model, or `missed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const calls = Metric.counter("effect_dspy_cassette_calls", {
  description: "Calls that were played back, asked of the model, or missed in a recording",
  incremental: true
})

/**
 * Records and plays back. Apply it first, nearest to the model, so that the
 * other policies do what they always do; one file serves one model.
 *
 * A request is known by everything in it and by the model's `id`, after the
 * secrets are removed. If it is asked several times, the n-th time gets the
 * n-th recording, counted from when the model is made; equal requests that are
 * under way together are told apart by when they began. A recording of a stream
 * answers a call that is not streamed, and the other way round. Usage is played
 * back too, and no answer is `cached` that was not when it was recorded: budgets
 * and ledgers count what they counted then, or a program that a budget ends
 * would go on to what nobody has recorded.
 *
 * Recorded are complete answers, and failures of which the request itself is the
 * cause (`InvalidRequest`, `RequestTooLarge`, `ContextWindowExceeded`,
 * `ContentFiltered`). Rate limits, broken streams and the like are not: played
 * back, a call that was retried succeeds at once.
 *
 * Each recording is appended as soon as it is complete. When the Layer is closed
 * the file of a `record` is put in the order in which the calls began, in one
 * step, so that recording again shows what has changed and nothing else.
 *
 * A recording that cannot be written fails the call, from the provider
 * `cassette` and not to be tried again (`Permission`; `MalformedResponse` if the
 * model answered what is no answer), and so does every one after it: who records
 * is not to learn of a gap when the file is played back.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Policy from "@effect-dspy/core/Policy"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Cassette from "@effect-dspy/providers/Cassette"
 * import { FileSystem } from "@effect/platform"
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Effect } from "effect"
 *
 * const ask = (content: string) =>
 *   Effect.map(LanguageModel.generate({ messages: [{ role: "user", content }] }), ({ outputs }) => outputs[0]?.text)
 *
 * const program = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const path = `${yield* fs.makeTempDirectoryScoped()}/hello.cassette.jsonl`
 *   const model = (script: TestLanguageModel.Script, mode: Cassette.Mode) =>
 *     TestLanguageModel.layer(script).pipe(Policy.apply(Cassette.make({ path, mode })))
 *
 *   yield* ask("hi").pipe(Effect.provide(model([TestLanguageModel.text("hello")], "record")))
 *
 *   // A model that would fail, if it was asked.
 *   const offline = model([], "strict")
 *   assert.strictEqual(yield* Effect.provide(ask("hi"), offline), "hello")
 *   const error = yield* Effect.flip(Effect.provide(ask("bye"), offline))
 *   assert.match(error.message, /record it with mode "replay"/)
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Policy.Policy<CassetteError, FileSystem.FileSystem | Scope.Scope> => (inner) =>
  Effect.map(open(options), (tapes): LanguageModel.Service => {
    const redact = Redaction.make(options.redact ?? [])
    const cleanRequest = redact(LanguageModel.Request)
    const cleanError = redact(LanguageModelError.LanguageModelError)
    const strict = (options.mode ?? "strict") === "strict"
    const take = (request: LanguageModel.Request): Effect.Effect<Take, LanguageModelError.LanguageModelError> =>
      Effect.suspend(() => {
        const take = tapes.next(inner.id, cleanRequest(request))
        const event = (outcome: "played" | "asked" | "missed") =>
          Effect.zipRight(
            Metric.increment(Metric.tagged(Metric.tagged(calls, "model", inner.id), "outcome", outcome)),
            spanEvent(`cassette.${outcome}`, { hash: take.hash, n: take.n })
          )
        if (take.known !== undefined) return Effect.as(event("played"), take)
        return strict
          ? Effect.zipRight(event("missed"), Effect.fail(missing(options.path, inner.id, take)))
          : Effect.as(event("asked"), take)
      })
    const keep = (take: Take, deltas: Chunks, error?: LanguageModelError.LanguageModelError) =>
      Effect.gen(function*() {
        const encoded = yield* Schema.encode(Recording)({
          hash: take.hash,
          n: take.n,
          model: inner.id,
          request: take.request,
          deltas: cleanDeltas(redact, deltas),
          ...(error === undefined ? undefined : { error })
        })
        yield* tapes.add(
          take,
          JSON.stringify(encoded.error === undefined ? encoded : { ...encoded, error: cleanError(encoded.error) })
        )
      }).pipe(
        Effect.catchTags({
          ParseError: (error) =>
            Effect.fail(unkept(
              inner.id,
              new LanguageModelError.MalformedResponse({
                kind: "shape",
                description: `${options.path} cannot hold what the model answered${placeOf(error)}`
              })
            )),
          CassetteError: ({ message }) =>
            Effect.fail(unkept(inner.id, new LanguageModelError.Permission({ description: message })))
        })
      )
    const asked = (request: LanguageModel.Request, take: Take) =>
      inner.generate(request).pipe(
        Effect.tap((response) => Effect.flatMap(chunksOf(response), (deltas) => keep(take, deltas))),
        Effect.tapError((error) => lasting(error) ? keep(take, [], error) : Effect.void)
      )
    const streamed = (request: LanguageModel.Request, take: Take) =>
      Stream.suspend(() => {
        const deltas: Array<ReadonlyArray<LanguageModel.Delta>> = []
        return inner.stream(request).pipe(
          Stream.mapChunksEffect((chunk) => {
            if (Chunk.isEmpty(chunk)) return Effect.succeed(chunk)
            deltas.push(Chunk.toReadonlyArray(chunk))
            return Chunk.some(chunk, (delta) => delta._tag === "Completed")
              ? Effect.as(keep(take, deltas), chunk)
              : Effect.succeed(chunk)
          }),
          Stream.tapError((error) => lasting(error) ? keep(take, deltas, error) : Effect.void)
        )
      })
    return {
      ...inner,
      generate: (request) =>
        Effect.flatMap(
          take(request),
          (take) => take.known === undefined ? asked(request, take) : LanguageModel.fold(played(take.known), inner.id)
        ),
      stream: (request) =>
        Stream.unwrap(
          Effect.map(take(request), (take) => take.known === undefined ? streamed(request, take) : played(take.known))
        )
    }
  })

const played = (
  { deltas, error }: Recording
): Stream.Stream<LanguageModel.Delta, LanguageModelError.LanguageModelError> => {
  const chunks = Stream.fromChunks(...deltas.map((chunk) => Chunk.fromIterable(chunk)))
  return error === undefined ? chunks : Stream.concat(chunks, Stream.fail(error))
}

const lasting = ({ reason }: LanguageModelError.LanguageModelError): boolean => {
  switch (reason._tag) {
    case "InvalidRequest":
    case "RequestTooLarge":
    case "ContextWindowExceeded":
    case "ContentFiltered":
      return true
    default:
      return false
  }
}

const unkept = (model: string, reason: LanguageModelError.Reason): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({ reason, provider: "cassette", model })

const missing = (path: string, model: string, take: Take): LanguageModelError.LanguageModelError =>
  LanguageModelError.make({
    reason: new LanguageModelError.NotFound({
      description: `${path} has ${
        take.recorded === 0 ? "no recording" : `only ${take.recorded} recording${take.recorded === 1 ? "" : "s"}`
      } of this request (${take.hash.slice(0, 12)}); record it with mode "replay", where the model can be reached`
    }),
    provider: "cassette",
    model,
    attempts: 0
  })

// One call, as the file knows it.
interface Take {
  readonly hash: string
  readonly n: number
  readonly request: LanguageModel.Request
  /** How many calls began before it. */
  readonly position: number
  readonly recorded: number
  readonly known: Recording | undefined
}

interface Tapes {
  readonly next: (model: string, request: LanguageModel.Request) => Take
  readonly add: (take: Take, line: string) => Effect.Effect<void, CassetteError>
}

const open = (
  { mode = "strict", path }: Options
): Effect.Effect<Tapes, CassetteError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    if (mode === "strict" && !(yield* fs.exists(path))) {
      return yield* new CassetteError({
        path,
        description: "there is no such file; record it with mode \"record\", where the model can be reached"
      })
    }
    const file = mode === "strict" ? undefined : yield* fs.open(path, { flag: mode === "record" ? "w" : "a+" })
    const bytes = yield* fs.readFile(path)
    const complete = bytes.lastIndexOf(lineEnd) + 1
    if (file !== undefined && complete < bytes.length) yield* file.truncate(complete)

    const tapes = new Map<string, { readonly recordings: Array<Recording>; asked: number }>()
    const tape = (hash: string) => {
      let found = tapes.get(hash)
      if (found === undefined) tapes.set(hash, found = { recordings: [], asked: 0 })
      return found
    }
    for (const recording of yield* parse(path, bytes)) tape(recording.hash).recordings.push(recording)
    for (const { recordings } of tapes.values()) recordings.sort((a, b) => a.n - b.n)

    const lock = yield* Effect.makeSemaphore(1)
    // Behind half a line nothing can be appended.
    let full: CassetteError | undefined
    const lines: Array<readonly [position: number, line: string]> = []
    let position = 0
    if (mode === "record") {
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const ordered = lines.sort(([a], [b]) => a - b).map(([, line]) => `${line}\n`).join("")
          return Effect.zipRight(fs.writeFileString(`${path}.new`, ordered), fs.rename(`${path}.new`, path))
        }).pipe(Effect.catchAll((error) => Effect.logError(`Cassette ${path} could not be put in order`, error)))
      )
    }
    return {
      next: (model, request) => {
        const hash = hashOf(model, request)
        const { recordings } = tape(hash)
        const n = tape(hash).asked++
        return { hash, n, request, position: position++, recorded: recordings.length, known: recordings[n] }
      },
      add: (take, line) =>
        Effect.suspend((): Effect.Effect<void, CassetteError | PlatformError> => {
          if (full !== undefined) return Effect.fail(full)
          if (mode === "record") lines.push([take.position, line])
          return file === undefined ? Effect.void : file.writeAll(encoder.encode(`${line}\n`))
        }).pipe(
          Effect.catchAll((error) =>
            Effect.fail(
              full ??= new CassetteError({ path, description: `an answer could not be written: ${error.message}` })
            )
          ),
          lock.withPermits(1),
          Effect.uninterruptible
        )
    } satisfies Tapes
  }).pipe(
    Effect.catchTags({
      BadArgument: (error) => Effect.fail(new CassetteError({ path, description: error.message })),
      SystemError: (error) => Effect.fail(new CassetteError({ path, description: error.message }))
    })
  )

const encoder = new TextEncoder()
