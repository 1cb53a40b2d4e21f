/**
 * The `claude` command line as a language model: a program that is logged in as
 * its user, run once for each call in a folder of your choice.
 *
 * It is a model for programs that run where somebody has `claude` at hand but
 * no API key, or that want what it can do with the files of a folder. It takes
 * text and gives text: sampling settings, tools of ours, images and response
 * formats it does not know.
 *
 * @since 0.1.0
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as fault from "./internal/fault.ts"
import * as genAi from "./internal/genAi.ts"
import * as process from "./internal/spawn.ts"
import { count, isObject, isText } from "./internal/wire.ts"

// =============================================================================
// Options
// =============================================================================

/**
 * What `ClaudeCli` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The folder that it runs in, and may use if it has tools. */
  readonly directory: string
  /** As in `--model`, such as `sonnet`; default is what its user chose. */
  readonly model?: string | undefined
  /** Which of its own tools it may use, unasked, such as `Read`; none by default. */
  readonly tools?: ReadonlyArray<string> | undefined
  /** The program, found in `PATH`; default `claude`. */
  readonly executable?: string | undefined
  /**
   * Variables it gets. Of ours it gets `PATH`, `HOME`, the user's name, the
   * language, the time zone and the temporary folder only.
   */
  readonly environment?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /**
   * How long it may take to write anything at all (2 minutes), to write more (5
   * minutes) and for all of it (30 minutes). The time that its reader takes does
   * not count.
   */
  readonly timeouts?: {
    readonly firstOutput?: Duration.DurationInput | undefined
    readonly idle?: Duration.DurationInput | undefined
    readonly total?: Duration.DurationInput | undefined
  } | undefined
  /** The name users know; default `claude-cli/<model>`. */
  readonly id?: string | undefined
}

// Why an option cannot be handed to the program, if it cannot.
const problem = (options: Options): string | undefined => {
  const { directory, environment = {}, executable, model, tools = [] } = options
  for (const [name, value] of Object.entries({ directory, executable, model })) {
    if (value === undefined) continue
    if (value === "" || value.startsWith("-")) return `\`${name}\` must not be empty or begin with "-"`
    if (value.includes("\0")) return `\`${name}\` must not contain NUL`
  }
  const tool = tools.find((tool) => !/^[A-Za-z][\w-]*$/.test(tool))
  if (tool !== undefined) return `\`tools\` must be names such as "Read", not ${JSON.stringify(tool.slice(0, 40))}`
  for (const [name, value] of Object.entries(environment)) {
    const text = Redacted.isRedacted(value) ? Redacted.value(value) : value
    if (!/^[A-Za-z_]\w*$/.test(name)) return "`environment` has a name that is none"
    if (text.includes("\0")) return `\`environment.${name}\` must not contain NUL`
  }
  return undefined
}

// What a request asks for that the program does not know, if anything.
const refusal = (request: LanguageModel.Request): string | undefined => {
  if ((request.tools?.length ?? 0) > 0) return "the command line takes no tools of ours; use ReAct over another model"
  if (request.responseFormat !== undefined) return "the command line takes no response format"
  if ((request.settings?.n ?? 1) > 1) return "the command line gives one answer; ask again with another rollout"
  return undefined
}

// Where a sample comes from is nothing that is sent.
const settingsOf = ({ settings = {} }: LanguageModel.Request): ReadonlyArray<string> =>
  Object.entries(settings).flatMap(([name, value]) => value === undefined || name === "rollout" ? [] : [name])

const textOf = ({ content }: LanguageModel.Message): string =>
  typeof content === "string"
    ? content
    : content.map((part) => part._tag === "Text" ? part.text : "").join("")

// One text for a conversation: the program takes one question.
const render = ({ messages }: LanguageModel.Request): string => {
  const system = messages.filter(({ role }) => role === "system").map(textOf)
  const turns = messages.filter(({ role }) => role !== "system")
  const [only] = turns
  const conversation = turns.length === 1 && only?.role === "user"
    ? [textOf(only)]
    : [
      "This is the conversation so far. Give the next turn of the assistant, and nothing else.",
      ...turns.map((turn) => `<${turn.role}>\n${textOf(turn)}\n</${turn.role}>`)
    ]
  return [...system, ...conversation].join("\n\n")
}

// =============================================================================
// What it writes
// =============================================================================

// Colours, cursor movements and titles.
// oxlint-disable-next-line no-control-regex -- these characters are what it is about
const ansi = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?)/g

const plain = (text: string): string => (text.includes("\u001b") ? text.replaceAll(ansi, "") : text).trim()

const maxOutput = 64 * 1024 * 1024
const maxLine = 16 * 1024 * 1024

const finishReasons: { readonly [reason: string]: LanguageModel.FinishReason } = {
  end_turn: "stop",
  stop_sequence: "stop",
  max_tokens: "length",
  refusal: "refusal"
}

interface WireEvent {
  readonly type?: unknown
  readonly subtype?: unknown
  readonly session_id?: unknown
  readonly model?: unknown
  readonly event?: unknown
  readonly parent_tool_use_id?: unknown
  readonly is_error?: unknown
  readonly api_error_status?: unknown
  readonly result?: unknown
  readonly errors?: unknown
  readonly stop_reason?: unknown
  readonly total_cost_usd?: unknown
  readonly usage?: unknown
}
interface WireStreamEvent {
  readonly type?: unknown
  readonly delta?: unknown
}
interface WireDelta {
  readonly type?: unknown
  readonly text?: unknown
  readonly thinking?: unknown
  readonly stop_reason?: unknown
}
interface WireUsage {
  readonly input_tokens?: unknown
  readonly output_tokens?: unknown
  readonly cache_read_input_tokens?: unknown
  readonly cache_creation_input_tokens?: unknown
}

// Cached tokens are not among the input tokens there, but they are here.
const usageOf = (event: WireEvent): LanguageModel.Usage => {
  const usage: WireUsage = isObject(event.usage) ? event.usage : {}
  const fresh = count(usage.input_tokens)
  const read = count(usage.cache_read_input_tokens)
  const written = count(usage.cache_creation_input_tokens)
  const output = count(usage.output_tokens)
  const cost = event.total_cost_usd
  return {
    ...(fresh === undefined ? undefined : { inputTokens: fresh + (read ?? 0) + (written ?? 0) }),
    ...(output === undefined ? undefined : { outputTokens: output }),
    ...(read === undefined ? undefined : { cachedInputTokens: read }),
    ...(typeof cost === "number" && Number.isFinite(cost) && cost >= 0 ? { cost } : undefined)
  }
}

// Its words come from many versions and places; the status, if there is one, says most.
const reasonOf = (said: string, status: unknown, clean: (words: string) => string): LanguageModelError.Reason => {
  const code = typeof status === "number" ? status : Number(/API Error:? \(?(\d{3})/i.exec(said)?.[1])
  const description = clean(said.trim()) || "it does not say why"
  if (/\/login|\blog ?in\b|\blogged (in|out)\b|\bapi key\b|\boauth\b|credentials|authenticat/i.test(said)) {
    return new LanguageModelError.Authentication({
      description: `${description}; log in by running \`claude\` once, or give it ANTHROPIC_API_KEY`
    })
  }
  if (/usage limit|credit balance|spending (cap|limit)|out of extra usage/i.test(said)) {
    return new LanguageModelError.QuotaExhausted({ description })
  }
  if (/prompt is too long|context (window|limit)/i.test(said)) {
    return new LanguageModelError.ContextWindowExceeded({ description })
  }
  if (/unknown (option|argument)|invalid (option|argument|model)/i.test(said)) {
    return new LanguageModelError.InvalidRequest({ description: `${description}; is \`claude\` up to date?` })
  }
  return Number.isInteger(code) && code >= 400
    ? fault.reasonOf({ status: code, said: { message: said }, clean })
    : new LanguageModelError.StreamFailed({ kind: "errorEvent", partial: "", description })
}

// One run of the program, as far as it has been read.
class Reader {
  readonly #clean: (words: string) => string
  readonly #model: string
  readonly #decoder = new TextDecoder()
  #total = 0
  // The unfinished line, in pieces so that a line in a thousand chunks is joined once.
  #line: Array<string> = []
  #lineLength = 0
  #noise: Array<string> = []
  #text = ""
  #afresh = false
  #finish: LanguageModel.FinishReason | undefined
  #reportedModel: string | undefined
  session: string | undefined
  completed = false

  constructor(model: string, clean: (words: string) => string) {
    this.#model = model
    this.#clean = clean
  }

  get partial(): string {
    return this.#text
  }

  // The last of what it said that is no event.
  get noise(): string {
    return plain(this.#noise.join("\n"))
  }

  push(bytes: Uint8Array, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    this.#total += bytes.length
    if (this.#total > maxOutput) return new LanguageModelError.ResponseTooLarge({ limit: maxOutput })
    const text = this.#decoder.decode(bytes, { stream: true })
    let start = 0
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const rest = text.slice(start, end)
      start = end + 1
      let line = rest
      if (this.#lineLength > 0) {
        line = this.#line.join("") + rest
        this.#line = []
        this.#lineLength = 0
      } else if (rest === "") continue
      const reason = this.#take(line, out)
      if (reason !== undefined || this.completed) return reason
    }
    if (start < text.length) {
      this.#line.push(text.slice(start))
      this.#lineLength += text.length - start
    }
    return this.#lineLength > maxLine ? new LanguageModelError.ResponseTooLarge({ limit: maxLine }) : undefined
  }

  // The last line may have no end.
  end(out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    const line = this.#line.join("")
    this.#line = []
    try {
      JSON.parse(line)
    } catch {
      this.#note(line)
      return undefined
    }
    return this.#take(line, out)
  }

  #note(line: string): void {
    if (line.trim() === "") return
    this.#noise.push(line.slice(0, 500))
    if (this.#noise.length > 40) this.#noise.splice(0, 20)
  }

  #take(line: string, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    const clear = plain(line)
    if (!clear.startsWith("{")) {
      this.#note(line)
      return undefined
    }
    let event: unknown
    try {
      event = JSON.parse(clear)
    } catch {
      return new LanguageModelError.StreamFailed({
        kind: "malformedFrame",
        partial: this.#text,
        description: "a line that looks like an event is not JSON"
      })
    }
    return isObject(event) ? this.#event(event, out) : undefined
  }

  #event(event: WireEvent, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    if (isText(event.session_id)) this.session = event.session_id
    switch (event.type) {
      case "system":
        if (isText(event.model)) this.#reportedModel = event.model
        return undefined
      case "stream_event":
        // What its own helpers write is not the answer.
        if (isObject(event.event) && !isText(event.parent_tool_use_id)) this.#partial(event.event, out)
        return undefined
      case "result":
        return this.#result(event, out)
      default:
        return undefined
    }
  }

  #partial(event: WireStreamEvent, out: Array<LanguageModel.Delta>): void {
    // Only the last message is the answer; those before went with the use of a tool.
    if (event.type === "message_start") this.#afresh = this.#text !== ""
    if (!isObject(event.delta)) return
    const delta: WireDelta = event.delta
    if (isText(delta.stop_reason)) this.#finish = finishReasons[delta.stop_reason]
    if (delta.type === "thinking_delta" && isText(delta.thinking)) {
      this.#restart(out)
      out.push({ _tag: "ReasoningDelta", index: 0, text: delta.thinking })
    }
    if (delta.type === "text_delta" && isText(delta.text)) {
      this.#restart(out)
      this.#write(delta.text, out)
    }
  }

  #restart(out: Array<LanguageModel.Delta>): void {
    if (!this.#afresh) return
    this.#afresh = false
    this.#text = ""
    out.push({ _tag: "Restarted", cause: "the model went on after using a tool" })
  }

  #write(text: string, out: Array<LanguageModel.Delta>): void {
    this.#text += text
    out.push({ _tag: "TextDelta", index: 0, text })
  }

  #result(event: WireEvent, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    if (event.subtype !== "success" || event.is_error === true) {
      const errors = Array.isArray(event.errors) ? event.errors.filter(isText) : []
      const said = [isText(event.result) ? event.result : "", ...errors].filter(isText).join("; ")
      return isText(event.subtype) && event.subtype.startsWith("error_max_")
        ? new LanguageModelError.InvalidRequest({
          description: `the command line stopped at a limit (${event.subtype})`
        })
        : reasonOf(said, event.api_error_status, this.#clean)
    }
    if (typeof event.result !== "string") {
      return new LanguageModelError.MalformedResponse({ kind: "shape", description: "the result has no text" })
    }
    // What it calls the result counts; mostly it has been written piece by piece already.
    if (this.#afresh || event.result.trim() !== this.#text.trim()) {
      if (!this.#afresh && event.result.startsWith(this.#text)) this.#write(event.result.slice(this.#text.length), out)
      else {
        this.#afresh = true
        this.#restart(out)
        this.#write(event.result, out)
      }
    }
    const finish = isText(event.stop_reason) ? finishReasons[event.stop_reason] ?? this.#finish : this.#finish
    out.push(
      { _tag: "Finish", index: 0, reason: finish ?? "stop" },
      {
        _tag: "Completed",
        usage: usageOf(event),
        model: this.#reportedModel ?? this.#model,
        ...(this.session === undefined ? undefined : { requestId: this.session })
      }
    )
    this.completed = true
    return undefined
  }
}

// =============================================================================
// The model
// =============================================================================

/**
 * A model that runs the program once for each call.
 *
 * The prompt goes to its standard input, never to its arguments. It writes its
 * answer as it comes; the answer is complete with its `result` event, which
 * also tells tokens and cost; its session is the request id. When a call is
 * interrupted or out of time, the program and all that it has started are ended
 * within 2 seconds, also if this process is killed.
 *
 * Options that cannot be handed on fail with `InvalidRequest`. It does not run
 * on Windows itself, but in WSL.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<LanguageModel.Service, LanguageModelError.LanguageModelError> =>
  Effect.gen(function*() {
    const { directory, executable = "claude", model = "default", tools = [] } = options
    const id = options.id ?? `claude-cli/${model}`
    const provider = id.split("/")[0] ?? id
    const refuse = (description: string) =>
      LanguageModelError.make({
        reason: new LanguageModelError.InvalidRequest({ description }),
        provider,
        model: id,
        attempts: 0
      })
    const node = yield* Effect.mapError(process.node, () => refuse("`claude` can be run by Node only"))
    if (node.process.platform === "win32") return yield* refuse("`claude` can be run in WSL, not on Windows itself")
    const wrong = problem(options)
    if (wrong !== undefined) return yield* refuse(wrong)
    const values = Object.entries(options.environment ?? {})
    const environment = Object.fromEntries(
      values.map(([name, value]) => [name, Redacted.isRedacted(value) ? Redacted.value(value) : value])
    )
    const secrets = values.flatMap(([, value]) => Redacted.isRedacted(value) ? [Redacted.value(value)] : [])
    const limits = {
      firstByte: Duration.toMillis(options.timeouts?.firstOutput ?? "2 minutes"),
      idle: Duration.toMillis(options.timeouts?.idle ?? "5 minutes"),
      total: Duration.toMillis(options.timeouts?.total ?? "30 minutes")
    }
    const args = [
      "-p",
      "--output-format",
      "stream-json",
      "--verbose",
      "--include-partial-messages",
      "--tools",
      tools.join(","),
      ...(tools.length === 0 ? [] : ["--allowedTools", tools.join(",")]),
      ...(options.model === undefined ? [] : ["--model", options.model])
    ]

    let warned = false
    const answer = (request: LanguageModel.Request) =>
      Effect.gen(function*() {
        const span = yield* Effect.makeSpanScoped(`chat ${model}`, {
          kind: "client",
          captureStackTrace: false,
          attributes: {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model
          }
        })
        const started = yield* Clock.currentTimeMillis
        const prompt = render(request)
        const clean = fault.cleaner(secrets, () => [prompt, ...request.messages.map(textOf)])
        const reader = new Reader(model, clean)
        const fail = (reason: LanguageModelError.Reason) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            span.attribute("error.type", reason._tag)
            return Effect.fail(
              LanguageModelError.make({
                reason,
                provider,
                model: id,
                elapsed: now - started,
                requestId: reader.session
              })
            )
          })

        const asked = refusal(request)
        if (asked !== undefined) return yield* fail(new LanguageModelError.InvalidRequest({ description: asked }))
        const ignored = settingsOf(request)
        if (ignored.length > 0 && !warned) {
          warned = true
          yield* Effect.logWarning(`${id} takes no settings; ignored: ${ignored.join(", ")}`)
        }
        const child = yield* process.spawn(node, { executable, arguments: args, directory, environment, input: prompt })
          .pipe(
            Effect.catchAll(({ code }) =>
              Effect.flatMap(
                Effect.promise(() => node.fs.stat(directory).then((stat) => stat.isDirectory(), () => false)),
                (exists) => fail(notStarted(code, executable, exists ? undefined : directory))
              )
            )
          )

        // Why there was no result.
        const explain = ({ code, signal }: process.Ending): LanguageModelError.Reason => {
          const said = [plain(child.complaints()), reader.noise].filter(isText).join("\n")
          if (signal !== null) {
            return new LanguageModelError.Transport({
              phase: "body",
              code: signal,
              description: `\`${executable}\` was ended by ${signal}`
            })
          }
          if (said !== "") {
            const reason = reasonOf(said, undefined, clean)
            if (reason._tag !== "StreamFailed") return reason
          }
          const words = said === "" ? "" : `: ${clean(said)}`
          if (code !== 0) {
            return new LanguageModelError.Transport({
              phase: "body",
              code: `EXIT_${code}`,
              description: `\`${executable}\` ended with code ${code}${words}`
            })
          }
          return reader.session === undefined
            ? new LanguageModelError.MalformedResponse({
              kind: said === "" ? "empty" : "shape",
              description: `\`${executable}\` wrote no events${words}`
            })
            : new LanguageModelError.StreamTruncated({ partial: reader.partial })
        }

        let waited = 0
        let first = true
        let end: Pull | undefined
        const conclude = (
          deltas: ReadonlyArray<LanguageModel.Delta>,
          reason: LanguageModelError.Reason | undefined
        ): Pull => {
          end = reason === undefined
            // It is about to end by itself, and may have something to put away.
            ? Effect.zipRight(Effect.timeoutOption(child.ended, "1 second"), endOfStream)
            : Effect.mapError(fail(withPartial(reason, reader)), Option.some)
          const last = deltas.at(-1)
          if (last?._tag === "Completed") genAi.response(span, last, deltas)
          return deltas.length === 0 ? end : Effect.succeed(Chunk.unsafeFromArray([...deltas]))
        }
        const read: Pull = Effect.gen(function*() {
          const phase = first ? "firstByte" : "idle"
          const left = limits.total - waited
          const total = left <= limits[phase]
          const before = yield* Clock.currentTimeMillis
          const bytes = yield* Effect.timeoutOption(child.read, total ? left : limits[phase])
          waited += (yield* Clock.currentTimeMillis) - before
          const deltas: Array<LanguageModel.Delta> = []
          if (Option.isNone(bytes)) {
            const phased = total ? "total" : phase
            return yield* conclude([], new LanguageModelError.Timeout({ phase: phased, limit: limits[phased] }))
          }
          if (Option.isNone(bytes.value)) {
            const reason = reader.end(deltas)
            return yield* conclude(
              deltas,
              reader.completed ? undefined : reason ?? explain(yield* child.ended)
            )
          }
          first = false
          const reason = reader.push(bytes.value.value, deltas)
          return reason !== undefined || reader.completed
            ? yield* conclude(deltas, reason)
            : Chunk.unsafeFromArray(deltas)
        })
        return Stream.repeatEffectChunkOption(Effect.suspend(() => end ?? read))
      })

    return LanguageModel.make({
      id,
      endpoint: `${executable} ${directory}#${model} ${tools.join(",")}`,
      stream: (request) => Stream.unwrapScoped(answer(request))
    })
  })

type Pull = Effect.Effect<Chunk.Chunk<LanguageModel.Delta>, Option.Option<LanguageModelError.LanguageModelError>>

const endOfStream: Pull = Effect.fail(Option.none())

const withPartial = (reason: LanguageModelError.Reason, { partial }: Reader): LanguageModelError.Reason =>
  reason._tag === "StreamFailed" ? new LanguageModelError.StreamFailed({ ...reason, partial }) : reason

const notStarted = (
  code: string,
  executable: string,
  missing: string | undefined
): LanguageModelError.Reason => {
  if (missing !== undefined) {
    return new LanguageModelError.InvalidRequest({ description: `there is no folder ${missing}; set \`directory\`` })
  }
  switch (code) {
    case "ENOENT":
      return new LanguageModelError.NotFound({
        description:
          `there is no program \`${executable}\`; install it (npm install -g @anthropic-ai/claude-code) or set \`executable\``
      })
    case "EACCES":
      return new LanguageModelError.Permission({
        description: `\`${executable}\` may not be run; check its permissions`
      })
    default:
      return new LanguageModelError.Transport({
        phase: "connect",
        code,
        description: `\`${executable}\` could not be started`
      })
  }
}

/**
 * The model as a Layer.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as ClaudeCli from "@effect-dspy/providers/ClaudeCli"
 * import { Effect } from "effect"
 * import { mkdtempSync, writeFileSync } from "node:fs"
 * import { tmpdir } from "node:os"
 * import { join } from "node:path"
 *
 * // Stands for the real program, so that this example needs none.
 * const directory = mkdtempSync(join(tmpdir(), "claude-"))
 * const executable = join(directory, "claude")
 * const result = { type: "result", subtype: "success", result: "Hello!", total_cost_usd: 0.01 }
 * writeFileSync(executable, `#!/bin/sh\ncat >/dev/null\necho '${JSON.stringify(result)}'\n`, { mode: 0o700 })
 *
 * const program = LanguageModel.generate({ messages: [{ role: "user", content: "Say hello." }] }).pipe(
 *   Effect.provide(ClaudeCli.layer({ directory, executable, model: "sonnet" }))
 * )
 *
 * Effect.runPromise(program).then((response) => {
 *   assert.strictEqual(response.outputs[0]?.text, "Hello!")
 *   assert.deepStrictEqual(response.usage, { cost: 0.01 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<LanguageModel.LanguageModel, LanguageModelError.LanguageModelError> =>
  Layer.effect(LanguageModel.LanguageModel, make(options))

/**
 * The same, with every option read from the configuration of the program.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<LanguageModel.LanguageModel, LanguageModelError.LanguageModelError | ConfigError> =>
  Layer.effect(LanguageModel.LanguageModel, Effect.flatMap(Config.unwrap(options), make))
