/**
 * Conversations with a module: each session has a typed history, which is kept
 * in a `KeyValueStore` and shown to the module as far as it fits. Sessions run
 * side by side; the turns of one session follow each other.
 *
 * @since 0.1.0
 */
import * as History from "@effect-dspy/core/History"
import * as Json from "@effect-dspy/core/Json"
import type * as Module from "@effect-dspy/core/Module"
import type * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import type * as PlatformError from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as RcMap from "effect/RcMap"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ModuleStream from "./ModuleStream.ts"

/**
 * What a session that cannot be read or written fails with: its store, or what
 * is in it, which is not of the schema of its turns.
 *
 * @since 0.1.0
 * @category errors
 */
export type StoreError = PlatformError.PlatformError | ParseResult.ParseError

/**
 * What `Chat` takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in Message, in Out, in out Turn, in out Encoded> {
  /** What is kept of a turn; its encoded side is JSON. */
  readonly turn: Schema.Schema<Turn, Encoded>
  /** The turn that a message and the answer to it are. */
  readonly remember: (message: Message, output: Out) => Turn
  /**
   * How much of the history the module is shown, its newest turns; all of it by
   * default. The whole of it is kept anyway.
   */
  readonly window?: History.Window | undefined
}

/**
 * A message is what the module takes beside its history.
 *
 * @since 0.1.0
 * @category models
 */
export interface Chat<in Message, out Out, out Turn, out E, out R> {
  /**
   * Answers a message in a session, which begins with its first message. Waits
   * for the turns of the session that are under way. A turn that fails or is
   * interrupted is not remembered.
   */
  readonly send: (session: string, message: Message) => Effect.Effect<Out, E | StoreError, R>
  /** The same, as `ModuleStream.events`; remembered before the `Result` is given. */
  readonly stream: (
    session: string,
    message: Message,
    options?: ModuleStream.Options
  ) => Stream.Stream<ModuleEvent.ModuleEvent<Out>, E | StoreError, R>
  /** All turns of a session, oldest first; none for one that has not begun. */
  readonly history: (session: string) => Effect.Effect<ReadonlyArray<Turn>, StoreError>
  /** Forgets a session, after the turns that are under way. */
  readonly remove: (session: string) => Effect.Effect<void, StoreError>
}

/**
 * Conversations with a module that takes a `history` of turns beside what it is
 * told: `History.prepend` of core makes a signature take one, which the model then
 * sees as earlier turns; a list of turns of any other kind is shown as a value.
 * Another process with the same store goes on where this one has stopped; two at
 * once would overwrite each other's turns of the same session.
 *
 * @example
 * ```ts
 * import * as History from "@effect-dspy/core/History"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as Signature from "@effect-dspy/core/Signature"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Chat from "@effect-dspy/streaming/Chat"
 * import * as KeyValueStore from "@effect/platform/KeyValueStore"
 * import { Effect, Schema } from "effect"
 *
 * const Turn = Schema.Struct({ question: Schema.String, answer: Schema.String })
 *
 * const reply = Predict.make(Signature.parse("question -> answer").pipe(History.prepend))
 *
 * const program = Effect.gen(function*() {
 *   const chat = yield* Chat.make(reply, {
 *     turn: Turn,
 *     remember: ({ question }, { answer }) => ({ question, answer }),
 *     window: { turns: 20 }
 *   })
 *   yield* chat.send("ada", { question: "Who was first?" })
 *   yield* chat.send("ada", { question: "When?" })
 *   return yield* chat.history("ada")
 * }).pipe(
 *   Effect.scoped,
 *   Effect.provide(KeyValueStore.layerMemory),
 *   Effect.provide(TestLanguageModel.layer([
 *     TestLanguageModel.fields({ answer: "Lovelace" }),
 *     TestLanguageModel.fields({ answer: "In 1843" })
 *   ]))
 * )
 *
 * Effect.runPromise(program).then((history) =>
 *   assert.deepStrictEqual(history, [
 *     { question: "Who was first?", answer: "Lovelace" },
 *     { question: "When?", answer: "In 1843" }
 *   ])
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In extends { readonly history: ReadonlyArray<Turn> }, Out, E, R, Turn, Encoded>(
  module: Module.Module<In, Out, E, R>,
  options: Options<Omit<In, "history">, Out, Turn, Encoded>
): Effect.Effect<
  Chat<Omit<In, "history">, Out, Turn, E, R>,
  never,
  KeyValueStore.KeyValueStore | Scope.Scope
> =>
  Effect.gen(function*() {
    type Message = Omit<In, "history">
    const store = (yield* KeyValueStore.KeyValueStore).forSchema(Schema.Array(options.turn))
    // A lock for each session, as long as somebody has or wants it.
    const locks = yield* RcMap.make({ lookup: (_: string) => Effect.makeSemaphore(1) })

    // A store may make file names of its keys, which are short and of few characters.
    const keyOf = (session: string): string => `chat-${Json.hash(session)}`

    const lock = (session: string): Effect.Effect<void, never, Scope.Scope> =>
      Effect.flatMap(RcMap.get(locks, session), (semaphore) =>
        // Whoever stops waiting has nothing to give back.
        Effect.uninterruptibleMask((restore) =>
          Effect.zipRight(restore(semaphore.take(1)), Effect.addFinalizer(() => semaphore.release(1)))
        ))

    const history = (session: string): Effect.Effect<ReadonlyArray<Turn>, StoreError> =>
      Effect.map(store.get(keyOf(session)), Option.getOrElse((): ReadonlyArray<Turn> => []))

    // A turn has the session to itself until its scope closes.
    const turn = (session: string, message: Message) =>
      Effect.gen(function*() {
        yield* lock(session)
        const turns = yield* history(session)
        const input = {
          ...message,
          history: yield* History.newest(turns, options.turn, options.window ?? {})
        } as unknown as In // a message and a history
        const remember = (output: Out): Effect.Effect<void, StoreError> =>
          Effect.uninterruptible(store.set(keyOf(session), [...turns, options.remember(message, output)]))
        return { input, remember }
      })

    return {
      send: (session, message) =>
        Effect.scoped(
          Effect.flatMap(turn(session, message), ({ input, remember }) => Effect.tap(module(input), remember))
        ),
      stream: (session, message, streaming) =>
        Stream.unwrapScoped(
          Effect.map(turn(session, message), ({ input, remember }) =>
            Stream.tap(
              ModuleStream.events(module, input, streaming),
              (event) => event._tag === "Result" ? remember(event.value) : Effect.void
            ))
        ),
      history,
      remove: (session) => Effect.scoped(Effect.zipRight(lock(session), store.remove(keyOf(session))))
    }
  })
