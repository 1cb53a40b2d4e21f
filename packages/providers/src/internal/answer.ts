/**
 * The body of one successful response, from its bytes to deltas, whatever the
 * dialect: frames are told apart here, what they say is read by a `Reader`.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as exchange from "./exchange.ts"
import * as fault from "./fault.ts"
import * as Sse from "./sse.ts"
import { isObject } from "./wire.ts"

/** Why a frame could not be read. */
export type Malformed = string

/**
 * Reads the frames of one answer, one after the other, into deltas.
 */
export interface Reader {
  /** Which named events hold frames. Those without a name always do; the data of others may be anything. */
  readonly events?: ReadonlySet<string> | undefined
  /** The text of the first output so far. */
  readonly partial: string
  /** Whether any output has begun. */
  readonly started: boolean
  /** What went wrong, if the frame says that the model failed. */
  readonly error: fault.ServerError | undefined
  /** A frame was the terminal marker of the dialect. */
  readonly done: boolean
  /** Whether the answer is known to be complete, though no marker came. */
  readonly finished: boolean
  /** `whole`: a complete answer instead of a chunk of one. */
  readonly read: (frame: object, whole: boolean, out: Array<LanguageModel.Delta>) => Malformed | undefined
  /** The end of a complete answer. Says whether the model told why it stopped. */
  readonly end: (requestId: string | undefined, out: Array<LanguageModel.Delta>) => boolean
}

// White space, or a byte of the byte order mark, which may come in pieces.
const isBlank = (byte: number): boolean =>
  byte === 9 || byte === 10 || byte === 13 || byte === 32 || byte === 0xef || byte === 0xbb || byte === 0xbf

type Kind = "unknown" | "events" | "document"

// Lines of an event stream begin with a field name or a colon, JSON and HTML do not.
const kindOf = (first: number | undefined): Kind =>
  first === undefined ? "unknown" : ":deir".includes(String.fromCharCode(first)) ? "events" : "document"

const startsHtml = (text: string): boolean => /^\s*<(!doctype|html|head|body|\?xml|!--)/i.test(text)

/**
 * What a body that cannot be parsed is instead.
 */
export const notJson = (text: string): LanguageModelError.MalformedResponse =>
  startsHtml(text)
    ? new LanguageModelError.MalformedResponse({
      kind: "html",
      description: "the body is a page of HTML; check `baseUrl`"
    })
    : new LanguageModelError.MalformedResponse({
      kind: "json",
      description: text.startsWith("\u001f")
        ? "the body is compressed, which was not asked for; look for a proxy that ignores `accept-encoding`"
        : "the body is not JSON"
    })

/**
 * What the body is (an event stream, a JSON document, a page of HTML) is told by
 * its content, since proxies change the headers and some servers ignore that a
 * stream was asked for. `[DONE]` ends an answer in every dialect.
 */
export class Answer {
  /** A terminal marker was seen: nothing of interest follows. */
  done = false
  /** The answer was complete, but the model did not say why it stopped. */
  unexplained = false
  readonly #reader: Reader
  // Made when needed: most whole answers are documents.
  #lazyEvents: Sse.Decoder | undefined
  readonly #document: Array<Uint8Array> = []
  #size = 0
  #kind: Kind = "unknown"
  #delivered = false

  constructor(
    readonly options: {
      readonly reader: Reader
      readonly requestId: string | undefined
      /** Whether the headers announce an event stream. */
      readonly announced: boolean
      readonly bounds: exchange.Limits
      readonly clean: (text: string) => string
    }
  ) {
    this.#reader = options.reader
  }

  get #events(): Sse.Decoder {
    return this.#lazyEvents ??= Sse.make({ maxEvent: this.options.bounds.event, maxTotal: this.options.bounds.stream })
  }

  push(bytes: Uint8Array, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    if (this.#kind === "unknown") this.#kind = kindOf(bytes.find((byte) => !isBlank(byte)))
    if (this.#kind === "document") {
      this.#size += bytes.length
      if (this.#size > this.options.bounds.body) {
        return new LanguageModelError.ResponseTooLarge({ limit: this.options.bounds.body })
      }
      this.#document.push(bytes)
      return undefined
    }
    const reason = this.#frames(this.#events.push(bytes), out)
    if (reason === undefined && !this.done && this.#events.exceeded !== undefined) {
      return new LanguageModelError.ResponseTooLarge({ limit: this.#events.exceeded })
    }
    return reason
  }

  /** The whole body at once. */
  whole(body: string, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    const text = body.trimStart()
    this.#kind = kindOf(text === "" ? undefined : text.charCodeAt(0))
    if (this.#kind === "document") return this.#readDocument(text, out)
    return this.push(new TextEncoder().encode(body), out) ?? this.end(out)
  }

  /** The body has ended. */
  end(out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    if (this.done) return undefined
    if (this.#kind === "document") {
      const decoder = new TextDecoder()
      const pieces = this.#document.map((bytes) => decoder.decode(bytes, { stream: true }))
      return this.#readDocument(pieces.join("") + decoder.decode(), out)
    }
    const reason = this.#frames(this.#events.end(), out)
    if (reason !== undefined || this.done) return reason
    if (this.#reader.finished) return this.#complete(out)
    if (this.#reader.started || this.options.announced) {
      return new LanguageModelError.StreamTruncated({ partial: this.#reader.partial })
    }
    return this.#kind === "unknown"
      ? new LanguageModelError.MalformedResponse({ kind: "empty", description: "the body is empty" })
      : new LanguageModelError.MalformedResponse({ kind: "json", description: "the body is not JSON" })
  }

  /** The connection broke; `otherwise` is the reason if nothing was delivered. */
  lost(
    otherwise: LanguageModelError.Reason,
    out: Array<LanguageModel.Delta>
  ): LanguageModelError.Reason | undefined {
    if (this.#reader.finished) return this.#complete(out)
    return this.#delivered && otherwise._tag === "Transport"
      ? new LanguageModelError.StreamFailed({
        kind: "connection",
        partial: this.#reader.partial,
        description: LanguageModelError.describe(otherwise)
      })
      : otherwise
  }

  #frames(events: ReadonlyArray<Sse.SseEvent>, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    for (const event of events) {
      const reason = this.#frame(event, out)
      this.#delivered ||= out.length > 0
      if (reason !== undefined || this.done) return reason
    }
    return undefined
  }

  #frame(event: Sse.SseEvent, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    const { data } = event
    if (data === "") return undefined
    if (data.startsWith("[DONE]")) return this.#complete(out)
    let frame: unknown
    try {
      frame = JSON.parse(data)
    } catch {
      // What no blank line ended may be cut: the end of the stream decides.
      if (!event.terminated) return undefined
      return event.event === "error"
        ? this.#errorEvent({ message: data })
        : event.event === "message" || this.#reader.events?.has(event.event) === true
        ? this.#malformed("it is not JSON")
        : undefined
    }
    const error = fault.declaredError(frame) ?? (event.event === "error" ? fault.explainedError(frame) : undefined)
    if (error !== undefined) return this.#errorEvent(error)
    if (!isObject(frame)) return this.#malformed("it is not a JSON object")
    const malformed = this.#reader.read(frame, false, out)
    if (this.#reader.error !== undefined) return this.#errorEvent(this.#reader.error)
    if (malformed !== undefined) return this.#malformed(malformed)
    return this.#reader.done ? this.#complete(out) : undefined
  }

  #readDocument(text: string, out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    let document: unknown
    try {
      document = JSON.parse(text)
    } catch {
      return notJson(text)
    }
    const declared = fault.declaredError(document)
    const malformed = declared !== undefined
      ? undefined
      : isObject(document)
      ? this.#reader.read(document, true, out)
      : "it is not a JSON object"
    const error = declared ?? this.#reader.error
    if (error !== undefined || malformed !== undefined) out.length = 0
    if (error !== undefined) return fault.reasonOf({ status: 200, said: error, clean: this.options.clean })
    if (malformed !== undefined) {
      return new LanguageModelError.MalformedResponse({ kind: "shape", description: malformed })
    }
    return this.#complete(out)
  }

  #complete(out: Array<LanguageModel.Delta>): LanguageModelError.Reason | undefined {
    if (!this.#reader.started) {
      return new LanguageModelError.MalformedResponse({ kind: "empty", description: "the stream holds no answer" })
    }
    this.done = true
    this.unexplained = !this.#reader.end(this.options.requestId, out)
    return undefined
  }

  #malformed(description: string): LanguageModelError.Reason {
    return new LanguageModelError.StreamFailed({
      kind: "malformedFrame",
      partial: this.#reader.partial,
      description: `a frame cannot be read: ${description}`
    })
  }

  // Before the first delta it is as if the server had answered with that status.
  #errorEvent(error: fault.ServerError): LanguageModelError.Reason {
    const reason = fault.reasonOf({ status: 200, said: error, clean: this.options.clean })
    return this.#delivered
      ? new LanguageModelError.StreamFailed({
        kind: "errorEvent",
        partial: this.#reader.partial,
        description: `${reason._tag}: ${LanguageModelError.describe(reason)}`
      })
      : reason
  }
}
