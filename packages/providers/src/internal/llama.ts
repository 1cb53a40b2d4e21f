/**
 * A GGUF file and what llama.cpp makes of it: a model, its context, and chats in
 * it, which are freed with their scope.
 *
 * @since 0.1.0
 */
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import type * as LlamaModule from "node-llama-cpp"
import type * as NodeFs from "node:fs/promises"
import { load } from "./load.ts"

/** What an error says, in a line. */
export const said = (cause: unknown): string =>
  cause instanceof Error ? cause.message.split("\n")[0] ?? "" : String(cause)

export const invalid = (description: string) => new LanguageModelError.InvalidRequest({ description })

const loadLlama: Effect.Effect<typeof LlamaModule, LanguageModelError.Reason> = Effect.tryPromise({
  try: () => load<typeof LlamaModule>("node-llama-cpp"),
  catch: (cause) => invalid(`node-llama-cpp cannot be loaded; install it: npm install node-llama-cpp (${said(cause)})`)
})

const magic = "GGUF"

// Where the file is and how large, if it looks like a model.
const identify = (file: string): Effect.Effect<string, LanguageModelError.Reason> =>
  Effect.tryPromise({
    try: async () => {
      const fs = await load<typeof NodeFs>("node:fs/promises")
      const handle = await fs.open(file)
      try {
        const { buffer } = await handle.read(new Uint8Array(magic.length), 0, magic.length, 0)
        if (new TextDecoder().decode(buffer) !== magic) throw new Error("it does not begin as one")
        return `${await fs.realpath(file)}#${(await handle.stat()).size}`
      } finally {
        await handle.close()
      }
    },
    catch: (cause): LanguageModelError.Reason => {
      switch (cause instanceof Error && "code" in cause ? cause.code : undefined) {
        case "ENOENT":
          return new LanguageModelError.NotFound({ description: `there is no file ${file}; set \`file\`` })
        case "EACCES":
          return new LanguageModelError.Permission({ description: `${file} may not be read; check its permissions` })
        default:
          return invalid(`${file} is no model in the format GGUF: ${said(cause)}`)
      }
    }
  })

// Why llama.cpp cannot do something with the file.
const explain = (llama: typeof LlamaModule, file: string) => (cause: unknown): LanguageModelError.Reason =>
  cause instanceof llama.InsufficientMemoryError
    ? new LanguageModelError.Overloaded({
      description:
        `there is not enough memory for ${file}: ${cause.message}; set a smaller \`contextSize\` or fewer \`sequences\``
    })
    : cause instanceof llama.NoBinaryFoundError
    ? invalid("node-llama-cpp has no binary for this machine; install its optional dependencies")
    : invalid(`llama.cpp cannot run ${file}: ${said(cause)}; is the file whole, and llama.cpp new enough for it?`)

interface Disposable {
  readonly dispose: () => Promise<void>
}

// Who waits can be interrupted: what was begun then is given up, and nothing of it remains.
const acquire = <A extends Disposable>(
  open: (signal: AbortSignal) => Promise<A>,
  failed: (cause: unknown) => LanguageModelError.Reason
): Effect.Effect<A, LanguageModelError.Reason, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const controller = new AbortController()
      return { controller, opened: open(controller.signal) }
    }),
    ({ controller, opened }) =>
      Effect.promise(async () => {
        controller.abort()
        await opened.then((resource) => resource.dispose(), () => {})
      })
  ).pipe(Effect.flatMap(({ opened }) => Effect.tryPromise({ try: () => opened, catch: failed })))

// =============================================================================
// Turns
// =============================================================================

/** The chats of one context: each call has one to itself. */
export class Chats {
  readonly #free: Array<LlamaModule.LlamaChat>
  readonly #turns: Effect.Semaphore

  constructor(chats: ReadonlyArray<LlamaModule.LlamaChat>) {
    this.#free = [...chats]
    this.#turns = Effect.unsafeMakeSemaphore(chats.length)
  }

  /** The one that has read most of the prompt already, until the scope closes. */
  borrow(
    history: ReadonlyArray<LlamaModule.ChatHistoryItem>
  ): Effect.Effect<Turn, LanguageModelError.Reason, Scope.Scope> {
    const turn = Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(restore(this.#turns.take(1)), Effect.addFinalizer(() => this.#turns.release(1)))
    )
    return Effect.zipRight(
      turn,
      Effect.acquireRelease(
        Effect.try({
          try: () => this.#take(history),
          catch: (cause) => invalid(`the model's template cannot render the conversation: ${said(cause)}`)
        }),
        ({ chat }) => Effect.sync(() => this.#free.push(chat))
      )
    )
  }

  #take(history: ReadonlyArray<LlamaModule.ChatHistoryItem>): Turn {
    const [first] = this.#free
    if (first === undefined) throw new Error("no sequence is free")
    const { chatWrapper, model } = first
    const state = chatWrapper.generateContextState({ chatHistory: [...history, { type: "model", response: [] }] })
    const prompt = state.contextText.tokenize(model.tokenizer)
    const known = (chat: LlamaModule.LlamaChat) => chat.sequence.compareContextTokens(prompt).firstDifferentIndex
    const chat = this.#free.reduce((best, chat) => known(chat) > known(best) ? chat : best)
    this.#free.splice(this.#free.indexOf(chat), 1)
    return { chat, prompt: prompt.length }
  }
}

export interface Turn {
  readonly chat: LlamaModule.LlamaChat
  /** How many tokens the prompt has. */
  readonly prompt: number
}

// =============================================================================
// All of it
// =============================================================================

export interface Opened {
  readonly llama: LlamaModule.Llama
  readonly chats: Chats
  /** Tokens that fit into the context of each chat. */
  readonly contextSize: number
  readonly endpoint: string
}

/** Loads the model in `file`. */
export const open = (options: {
  readonly file: string
  readonly contextSize?: number | undefined
  readonly sequences?: number | undefined
  readonly threads?: number | undefined
  readonly gpu?: boolean | undefined
}): Effect.Effect<Opened, LanguageModelError.Reason, Scope.Scope> =>
  Effect.gen(function*() {
    const { contextSize, file, gpu = true, sequences = 1, threads } = options
    const endpoint = yield* identify(file)
    const native = yield* loadLlama
    const failed = explain(native, file)
    const runtime = yield* Effect.runtime()
    const llama = yield* acquire(() =>
      native.getLlama({
        gpu: gpu ? "auto" : false,
        build: "never",
        skipDownload: true,
        progressLogs: false,
        // The context knows how many.
        maxThreads: 0,
        logLevel: native.LlamaLogLevel.error,
        logger: (_, message) => Runtime.runSync(runtime, Effect.logDebug(`llama.cpp: ${message.trim()}`))
      }), failed)
    const model = yield* acquire((loadSignal) => llama.loadModel({ modelPath: file, loadSignal }), failed)
    const trained = model.trainContextSize
    if (contextSize !== undefined && contextSize > trained) {
      return yield* Effect.fail(
        invalid(`${file} was trained for a context of ${trained} tokens; set \`contextSize\` to no more`)
      )
    }
    const context = yield* acquire((createSignal) =>
      model.createContext({
        createSignal,
        sequences,
        ...(contextSize === undefined ? undefined : { contextSize, failedCreationRemedy: false }),
        ...(threads === undefined ? undefined : { threads })
      }), failed)
    const chats = yield* Effect.try({
      try: () =>
        Array.from({ length: sequences }, () => new native.LlamaChat({ contextSequence: context.getSequence() })),
      catch: failed
    })
    return { llama, chats: new Chats(chats), contextSize: context.contextSize, endpoint }
  })
