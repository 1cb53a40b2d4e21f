/**
 * A `Module` is a function from an input to an Effect that also lists its
 * predictors, the leaves an optimizer may tune. Modules hold no state, no
 * history and no model, so one value serves any number of concurrent calls
 * under different parameters.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import type { YieldWrap } from "effect/Utils"
import type { Adapter } from "./Adapter.ts"
import * as frame from "./internal/frame.ts"
import * as LanguageModel from "./LanguageModel.ts"
import type { ModuleEnd } from "./ModuleEvent.ts"
import * as Parameters from "./Parameters.ts"
import type * as Signature from "./Signature.ts"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId = "~@effect-dspy/core/Module"

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * A leaf of a module. `path` is relative to the module, for a part inside a
 * body to the module of that body; `leaf` is the identity of the predictor
 * itself, so that parameters never reach another one that happens to run under
 * the same path. `parameters` are the ones baked in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Predictor {
  readonly path: string
  readonly signature: Signature.Any
  readonly leaf: object
  readonly parameters: Parameters.Entry | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Module<in In, out Out, out E = never, out R = never> extends Pipeable {
  (input: In): Effect.Effect<Out, E, R>
  readonly [TypeId]: TypeId
  /** In the order in which the children were given. */
  readonly predictors: ReadonlyArray<Predictor>
}

/**
 * Any module, with its types erased.
 *
 * @since 0.1.0
 * @category models
 */
export type Any = Module<never, unknown, unknown, unknown>

/**
 * @since 0.1.0
 * @category utility types
 */
export type Input<M extends Any> = M extends Module<infer In, infer _Out, infer _E, infer _R> ? In : never

/**
 * @since 0.1.0
 * @category utility types
 */
export type Output<M extends Any> = M extends Module<infer _In, infer Out, infer _E, infer _R> ? Out : never

/**
 * @since 0.1.0
 * @category utility types
 */
export type Error<M extends Any> = M extends Module<infer _In, infer _Out, infer E, infer _R> ? E : never

/**
 * @since 0.1.0
 * @category utility types
 */
export type Requirements<M extends Any> = M extends Module<infer _In, infer _Out, infer _E, infer R> ? R : never

/**
 * What a composite module is made of: modules, and lists and maps of modules.
 * The path of a part is its name, `name[0]` in a list, `name['key']` in a map.
 *
 * @since 0.1.0
 * @category models
 */
export interface Children {
  readonly [name: string]: Any | ReadonlyArray<Any> | { readonly [key: string]: Any }
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isModule = (u: unknown): u is Any => Predicate.hasProperty(u, TypeId)

const Proto = Object.assign(Object.create(Function.prototype), {
  [TypeId]: TypeId,
  pipe() {
    return pipeArguments(this, arguments)
  }
})

const runKey = "~@effect-dspy/core/Module/run"
const stepsKey = "~@effect-dspy/core/Module/steps"

// A module at a place. The frame is handed from module to module as a value: it costs next to nothing to change there,
// and only a body or a model call has to find it in the context.
type Run<in In, out Out, out E, out R> = (input: In, current: frame.Frame) => Effect.Effect<Out, E, R>

const makeModule = <In, Out, E, R>(
  run: Run<In, Out, E, R>,
  predictors: ReadonlyArray<Predictor>
): Module<In, Out, E, R> => {
  const module = (input: In) => frame.with_((current) => run(input, current))
  Object.setPrototypeOf(module, Proto)
  // What is missing of the type, `pipe` and the type id, comes from the prototype, which the compiler does not follow.
  return Object.assign(module, { [runKey]: run, predictors }) as unknown as Module<In, Out, E, R>
}

const runOf = <In, Out, E, R>(self: Module<In, Out, E, R>): Run<In, Out, E, R> =>
  // Every module is made by `makeModule`, which sets it; it stays out of the public type.
  (self as unknown as { readonly [runKey]: Run<In, Out, E, R> })[runKey]

const sameType = <M extends Any>(
  self: M,
  change: (current: frame.Frame) => frame.Frame,
  predictors: ReadonlyArray<Predictor> = self.predictors
): M => {
  const run = runOf(self)
  // What is called is the same, only its frame is another: input, output, failures and requirements are those of `M`.
  return makeModule((input: never, current) => run(input, change(current)), predictors) as unknown as M
}

// =============================================================================
// Constructors
// =============================================================================

/**
 * A leaf: what `Predict` is made with. The effect is run with the place of the
 * predictor in the frame.
 *
 * @internal
 */
export const leaf = <In, Out, E, R>(
  signature: Signature.Any,
  run: (input: In, leaf: object, current: frame.Frame) => Effect.Effect<Out, E, R>
): Module<In, Out, E, R> => {
  const identity = {}
  return makeModule(
    (input: In, current) => frame.enter(span("Predict", run(input, identity, current), current), current),
    [{ path: "", signature, leaf: identity, parameters: undefined }]
  )
}

/**
 * The same module, called in other surroundings.
 *
 * @internal
 */
export const surrounded = <In, Out, E, R, E2, R2>(
  self: Module<In, Out, E, R>,
  change: (current: frame.Frame) => Effect.Effect<frame.Frame, E2, R2>
): Module<In, Out, E | E2, R | R2> => {
  const run = runOf(self)
  return makeModule(
    (input: In, current) => Effect.flatMap(change(current), (changed) => run(input, changed)),
    self.predictors
  )
}

const at = <M extends Any>(self: M, path: string): M =>
  sameType(
    self,
    (current) => ({ ...current, path: frame.join(current.path, path) }),
    self.predictors.map((predictor) => ({ ...predictor, path: frame.join(path, predictor.path) }))
  )

const placed = <C extends Children>(
  children: C
): { readonly handles: C; readonly predictors: ReadonlyArray<Predictor> } => {
  const predictors: Array<Predictor> = []
  const paths = new Set<string>()
  const place = (module: Any, path: string): Any => {
    const handle = at(module, path)
    for (const predictor of handle.predictors) {
      if (paths.has(predictor.path)) {
        throw new RangeError(
          `Module: two predictors have the path "${predictor.path}"; give one of the parts another name`
        )
      }
      paths.add(predictor.path)
      predictors.push(predictor)
    }
    return handle
  }
  if (Object.hasOwn(children, "__proto__")) throw new RangeError("Module: a part cannot be called __proto__")
  const handles = Object.fromEntries(
    Object.entries(children).map(([name, child]) => [
      name,
      isModule(child)
        ? place(child, name)
        : Array.isArray(child)
        ? child.map((module: Any, index) => place(module, `${name}[${index}]`))
        : Object.fromEntries(Object.entries(child).map(([key, module]) => [key, place(module, `${name}['${key}']`)]))
    ])
  )
  // Every part is there again, each as the same module at its path: the shape and the types are those of `children`.
  return { handles: handles as C, predictors }
}

const composite = <In, Out, E, R>(
  predictors: ReadonlyArray<Predictor>,
  run: (input: In) => Effect.Effect<Out, E, R>
): Module<In, Out, E, R> => {
  const leaves = new Map(predictors.map((predictor) => [predictor.path, predictor.leaf]))
  return makeModule((input: In, current) => {
    const { listener: ear, path } = current
    const body = span("Module", run(input), current)
    const members = current.members ?? { base: path, leaves, frozen: false }
    if (ear === undefined) {
      return frame.enter(body, current.members === undefined ? { ...current, members } : current)
    }
    const call = ear.nextCall()
    return Effect.zipRight(
      ear.emit([{ _tag: "ModuleStart", path, call, parent: current.call }]),
      Effect.onExit(
        frame.provide(body, { ...current, members, call }),
        (exit) => ear.emit([{ _tag: "ModuleEnd", path, call, exit: ended(exit) }])
      )
    )
  }, predictors)
}

// The tracer that holds while nobody has provided one: what it records, nobody sees.
const untraced = Context.get(DefaultServices.liveServices, Tracer.Tracer)

// One span for each module and predictor, named by its path; what was asked and answered stays out of it.
const span = <A, E, R>(kind: string, self: Effect.Effect<A, E, R>, { path }: frame.Frame): Effect.Effect<A, E, R> =>
  Effect.tracerWith((tracer) =>
    tracer === untraced
      ? self
      // A span asks for nothing: its parent may be absent.
      : Effect.withSpan(self, path === "" ? kind : `${kind} ${path}`, { captureStackTrace: false }) as typeof self
  )

const ended = (exit: Exit.Exit<unknown, unknown>): ModuleEnd["exit"] =>
  // A failure interrupts what ran beside it, and its cause says so too.
  Exit.isSuccess(exit) ? "success" : Cause.isInterruptedOnly(exit.cause) ? "interruption" : "failure"

/**
 * A module of several parts. The body is a generator that calls the parts
 * through its first argument, which is how each part learns its path; what the
 * body yields appears in the error and requirement types of the whole.
 *
 * A part that is called by closure instead works but is not listed: it runs
 * with its own defaults, no optimizer tunes it, and it says so in an `Untuned`
 * event and, once for each place, a warning. The same goes for a part of the
 * body that is made a part of another module inside of it; what keeps the path
 * (`withSettings`, `withRollout`, `map`, `either`, `batch` and so on) keeps it
 * listed.
 *
 * Throws a `RangeError` when two predictors would have the same path.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 *
 * const rag = Module.make(
 *   { query: Predict.make("question -> query"), answer: Predict.make("context: string[], question -> answer") },
 *   function*(m, input: { readonly question: string }) {
 *     const { query } = yield* m.query(input)
 *     return yield* m.answer({ context: [query], question: input.question })
 *   }
 * )
 *
 * assert.deepStrictEqual(rag.predictors.map((predictor) => predictor.path), ["query", "answer"])
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <
  const C extends Children,
  In,
  Eff extends YieldWrap<Effect.Effect<unknown, unknown, unknown>>,
  Out
>(
  children: C,
  body: (m: C, input: In) => Generator<Eff, Out, never>
): Module<
  In,
  Out,
  // A body that yields nothing would otherwise infer `unknown`.
  [Eff] extends [never] ? never : [Eff] extends [YieldWrap<Effect.Effect<infer _A, infer E, infer _R>>] ? E : never,
  [Eff] extends [never] ? never : [Eff] extends [YieldWrap<Effect.Effect<infer _A, infer _E, infer R>>] ? R : never
> => {
  const { handles, predictors } = placed(children)
  return composite(predictors, (input: In) => Effect.gen(() => body(handles, input)))
}

// =============================================================================
// Composition
// =============================================================================

const stepsOf = (self: Any): ReadonlyArray<Any> =>
  // Only `andThen` sets it, to the list of its steps.
  Predicate.hasProperty(self, stepsKey) ? self[stepsKey] as ReadonlyArray<Any> : [self]

/**
 * The output of one module as the input of the next. The predictors of step
 * `n` are under `steps[n]`.
 *
 * @since 0.1.0
 * @category composition
 */
export const andThen: {
  <Out, Out2, E2, R2>(that: Module<Out, Out2, E2, R2>): <In, E, R>(
    self: Module<In, Out, E, R>
  ) => Module<In, Out2, E | E2, R | R2>
  <In, Out, E, R, Out2, E2, R2>(
    self: Module<In, Out, E, R>,
    that: Module<Out, Out2, E2, R2>
  ): Module<In, Out2, E | E2, R | R2>
} = dual(
  2,
  <In, Out, E, R, Out2, E2, R2>(
    self: Module<In, Out, E, R>,
    that: Module<Out, Out2, E2, R2>
  ): Module<In, Out2, E | E2, R | R2> => {
    // What a step returns the next one takes: seen from here, each takes anything.
    const steps = [...stepsOf(self), ...stepsOf(that)] as unknown as ReadonlyArray<
      Module<unknown, unknown, E | E2, R | R2>
    >
    const { handles, predictors } = placed({ steps })
    const module = composite(predictors, (input: In) =>
      handles.steps.reduce<Effect.Effect<unknown, E | E2, R | R2>>(
        (effect, step) => Effect.flatMap(effect, step),
        Effect.succeed(input)
      ))
    // The last step is `that`'s, whose output is Out2.
    return Object.assign(module, { [stepsKey]: steps }) as unknown as Module<In, Out2, E | E2, R | R2>
  }
)

/**
 * Changes what a module returns.
 *
 * @since 0.1.0
 * @category composition
 */
export const map: {
  <Out, Out2>(f: (output: Out) => Out2): <In, E, R>(self: Module<In, Out, E, R>) => Module<In, Out2, E, R>
  <In, Out, E, R, Out2>(self: Module<In, Out, E, R>, f: (output: Out) => Out2): Module<In, Out2, E, R>
} = dual(
  2,
  <In, Out, E, R, Out2>(self: Module<In, Out, E, R>, f: (output: Out) => Out2): Module<In, Out2, E, R> =>
    makeModule((input: In, current) => Effect.map(runOf(self)(input, current), f), self.predictors)
)

/**
 * Changes what a module takes.
 *
 * @since 0.1.0
 * @category composition
 */
export const mapInput: {
  <In, In2>(f: (input: In2) => In): <Out, E, R>(self: Module<In, Out, E, R>) => Module<In2, Out, E, R>
  <In, Out, E, R, In2>(self: Module<In, Out, E, R>, f: (input: In2) => In): Module<In2, Out, E, R>
} = dual(
  2,
  <In, Out, E, R, In2>(self: Module<In, Out, E, R>, f: (input: In2) => In): Module<In2, Out, E, R> =>
    makeModule((input: In2, current) => runOf(self)(f(input), current), self.predictors)
)

/**
 * Failures of the module as values, so that one bad item does not end a batch.
 *
 * @since 0.1.0
 * @category composition
 */
export const either = <In, Out, E, R>(self: Module<In, Out, E, R>): Module<In, Either.Either<Out, E>, never, R> =>
  makeModule((input: In, current) => Effect.either(runOf(self)(input, current)), self.predictors)

type Parts = { readonly [key: string]: Any } | ReadonlyArray<Any>

type Part<C extends Parts> = C extends ReadonlyArray<infer M> ? M : C[keyof C]

// One function for each part, so that a union that a part takes stays a union.
type Taker<M> = M extends Module<infer In, infer _O, infer _E, infer _R> ? (input: In) => void : never

/**
 * One of several modules, chosen by the input. The predictors of a branch are
 * under its key.
 *
 * @since 0.1.0
 * @category composition
 */
export const branch = <
  const C extends { readonly [key: string]: Any },
  Choice extends keyof C
>(
  branches: C,
  choose: (input: All.Input<C>) => Choice
): Module<All.Input<C>, Output<C[Choice]>, Error<C[Choice]>, Requirements<C[Choice]>> => {
  type Chosen = Module<All.Input<C>, Output<C[Choice]>, Error<C[Choice]>, Requirements<C[Choice]>>
  const { handles, predictors } = placed(branches)
  return composite(predictors, (input: All.Input<C>) => {
    // `Any` hides what a branch takes; the key of `C` says which branch it is.
    const chosen = handles[choose(input)] as unknown as Chosen
    return chosen(input)
  })
}

/**
 * Several modules at once on the same input, as many at a time as the model
 * takes. Returns what they return in the same shape, or what `aggregate` makes
 * of it. The predictors of a record's member are under its key, of a list's
 * `n`th member under `steps[n]`.
 *
 * @since 0.1.0
 * @category composition
 */
export const all: {
  <const C extends Parts>(
    modules: C
  ): Module<All.Input<C>, All.Output<C>, All.Error<C>, All.Requirements<C>>
  <const C extends Parts, Out>(
    modules: C,
    aggregate: (outputs: All.Output<C>) => Out
  ): Module<All.Input<C>, Out, All.Error<C>, All.Requirements<C>>
} = <C extends Parts>(
  modules: C,
  aggregate?: (outputs: All.Output<C>) => unknown
): Module<All.Input<C>, never, All.Error<C>, All.Requirements<C>> => {
  type Part = Module<All.Input<C>, unknown, All.Error<C>, All.Requirements<C>>
  const isList = Array.isArray(modules)
  // `Array.isArray` does not narrow a readonly list away.
  const { handles, predictors } = placed(isList ? { steps: modules } : modules as { readonly [key: string]: Any })
  // `Any` hides what a part takes; every part takes what all of them take.
  const parts = (isList ? handles["steps"] : handles) as { readonly [key: string]: Part } | ReadonlyArray<Part>
  return composite(predictors, (input: All.Input<C>) =>
    Effect.map(
      Effect.all(
        Array.isArray(parts)
          ? parts.map((part: Part) => part(input))
          : Object.fromEntries(Object.entries(parts).map(([key, part]) => [key, part(input)])),
        { concurrency: "unbounded" }
      ),
      // The outputs have the shape of the parts, and which of the two is returned is what the overloads say.
      (outputs) => (aggregate === undefined ? outputs : aggregate(outputs as All.Output<C>)) as never
    ))
}

/**
 * @since 0.1.0
 */
export declare namespace All {
  /**
   * What every part takes.
   *
   * @since 0.1.0
   * @category utility types
   */
  export type Input<C extends Parts> = Taker<Part<C>> extends (input: infer In) => void ? In : never

  /**
   * What the parts return, in the shape in which they were given.
   *
   * @since 0.1.0
   * @category utility types
   */
  export type Output<C extends Parts> = {
    readonly [K in keyof C]: C[K] extends Module<infer _In, infer Out, infer _E, infer _R> ? Out : never
  } extends infer Outputs ? Outputs : never // written out in full where it is shown

  /**
   * @since 0.1.0
   * @category utility types
   */
  export type Error<C extends Parts> = Part<C> extends Module<infer _In, infer _O, infer E, infer _R> ? E : never

  /**
   * @since 0.1.0
   * @category utility types
   */
  export type Requirements<C extends Parts> = Part<C> extends Module<infer _In, infer _O, infer _E, infer R> ? R : never
}

/**
 * A module over many inputs; outputs keep their order. At most `concurrency`
 * inputs are worked on at once: twice the model's own limit by default, 32
 * when it has none. Fails with the first failure; put `either` inside to keep
 * every result.
 *
 * @since 0.1.0
 * @category composition
 */
export const batch: {
  (options?: { readonly concurrency?: number | undefined }): <In, Out, E, R>(
    self: Module<In, Out, E, R>
  ) => Module<Iterable<In>, Array<Out>, E, R>
  <In, Out, E, R>(
    self: Module<In, Out, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ): Module<Iterable<In>, Array<Out>, E, R>
} = dual(
  (args) => isModule(args[0]),
  <In, Out, E, R>(
    self: Module<In, Out, E, R>,
    options?: { readonly concurrency?: number | undefined }
  ): Module<Iterable<In>, Array<Out>, E, R> =>
    makeModule(
      (inputs: Iterable<In>, current) =>
        Effect.flatMap(
          options?.concurrency === undefined ? window : Effect.succeed(options.concurrency),
          (concurrency) => Effect.forEach(inputs, (input) => runOf(self)(input, current), { concurrency })
        ),
      self.predictors
    )
)

/**
 * How many independent program runs to keep under way: twice what the model in
 * the context takes at once, 32 when that is not known. More would only wait,
 * and a waiting fiber costs memory.
 *
 * @since 0.1.0
 * @category accessors
 */
export const window: Effect.Effect<number> = Effect.map(
  Effect.serviceOption(LanguageModel.LanguageModel),
  Option.match({
    onNone: () => 32,
    onSome: (model) => model.capabilities.concurrency === undefined ? 32 : 2 * model.capabilities.concurrency
  })
)

/**
 * The path of the module or predictor that is running: for a model or a policy,
 * that of the predictor whose call is under way. `""` at the top, and outside
 * of modules.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import { Effect } from "effect"
 *
 * const model = LanguageModel.make({
 *   id: "test/where",
 *   generate: () => Effect.map(Module.path, (path) => LanguageModel.text(`[[ ## answer ## ]]\n${path}`, "test/where"))
 * })
 * const module = Module.make(
 *   { ask: Predict.make("question -> answer") },
 *   function*(m, input: { readonly question: string }) {
 *     return yield* m.ask(input)
 *   }
 * )
 *
 * const program = Effect.provideService(module({ question: "Where am I?" }), LanguageModel.LanguageModel, model)
 *
 * Effect.runPromise(program).then(({ answer }) => assert.strictEqual(answer, "ask"))
 * ```
 *
 * @since 0.1.0
 * @category accessors
 */
export const path: Effect.Effect<string> = Effect.map(frame.Current, (current) => current.path)

// =============================================================================
// Parameters
// =============================================================================

/**
 * The parameters baked into a module, by path: where an optimizer starts.
 *
 * @since 0.1.0
 * @category accessors
 */
export const parameters = (self: Any): Parameters.Parameters =>
  Object.fromEntries(
    self.predictors.flatMap(({ parameters, path }) => parameters === undefined ? [] : [[path, parameters]])
  )

/**
 * The same module with parameters baked in. What is given here wins, path by
 * path, over what was baked into its parts; paths that are not named keep
 * theirs. A path the module does not list is an error.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import { Either } from "effect"
 *
 * const answer = Predict.make("question -> answer")
 *
 * const brief = Module.withParameters(answer, { "": { instructions: "Answer in one word.", demos: [] } })
 * assert.ok(Either.isRight(brief))
 *
 * const wrong = Module.withParameters(answer, { query: { demos: [] } })
 * assert.ok(Either.isLeft(wrong))
 * assert.strictEqual(wrong.left.message, `The program has no predictor "query". It has: ""`)
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const withParameters: {
  (parameters: Parameters.Parameters): <M extends Any>(self: M) => Either.Either<M, Parameters.UnknownPath>
  <M extends Any>(self: M, parameters: Parameters.Parameters): Either.Either<M, Parameters.UnknownPath>
} = dual(
  2,
  <M extends Any>(self: M, parameters: Parameters.Parameters): Either.Either<M, Parameters.UnknownPath> => {
    const byPath = new Map(self.predictors.map((predictor) => [predictor.path, predictor]))
    const entries = new Map<string, { readonly leaf: object; readonly entry: Parameters.Entry }>()
    for (const path of Object.keys(parameters)) {
      const predictor = byPath.get(path)
      if (predictor === undefined) {
        return Either.left(new Parameters.UnknownPath({ path, known: Array.from(byPath.keys()) }))
      }
      entries.set(path, { leaf: predictor.leaf, entry: parameters[path]! })
    }
    return Either.right(sameType(
      self,
      (current) => ({ ...current, binding: { base: current.path, entries, outer: current.binding } }),
      self.predictors.map((predictor) => ({
        ...predictor,
        parameters: entries.get(predictor.path)?.entry ?? predictor.parameters
      }))
    ))
  }
)

/**
 * A module whose predictors are no longer listed: it keeps its parameters and
 * is neither tuned nor saved with the program around it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const freeze = <M extends Any>(self: M): M => {
  const leaves = new Map(self.predictors.map((predictor) => [predictor.path, predictor.leaf]))
  return sameType(self, (current) => ({ ...current, members: { base: current.path, leaves, frozen: true } }), [])
}

// =============================================================================
// Surroundings
// =============================================================================

/**
 * Settings for every model call inside. Given further out, a setting wins; one
 * that is `undefined` is not given. A `rollout` given here is replaced by one
 * further out; `withRollout` combines.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withSettings: {
  (settings: LanguageModel.Settings): <M extends Any>(self: M) => M
  <M extends Any>(self: M, settings: LanguageModel.Settings): M
} = dual(
  2,
  <M extends Any>(self: M, settings: LanguageModel.Settings): M =>
    sameType(self, (current) => ({ ...current, settings: frame.overlaid(settings, current.settings) }))
)

/**
 * The adapter of every predictor inside that has none of its own. Given
 * further in, it wins: a part knows best what its model can read.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withAdapter: {
  (adapter: Adapter): <M extends Any>(self: M) => M
  <M extends Any>(self: M, adapter: Adapter): M
} = dual(
  2,
  <M extends Any>(self: M, adapter: Adapter): M => sameType(self, (current) => ({ ...current, adapter }))
)

/**
 * Marks every model call inside as belonging to one independent sample: with
 * another rollout an equal request is asked anew and not answered from a
 * cache. Nested rollouts are combined, never overwritten.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRollout: {
  (rollout: string): <M extends Any>(self: M) => M
  <M extends Any>(self: M, rollout: string): M
} = dual(
  2,
  <M extends Any>(self: M, rollout: string): M =>
    sameType(self, (current) => ({ ...current, rollout: frame.nested(current.rollout, rollout) }))
)

/**
 * Gives a module its own model, built before, and takes the requirement away.
 *
 * @example
 * ```ts
 * import * as LanguageModel from "@effect-dspy/core/LanguageModel"
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import { Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const small = yield* Layer.build(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "4" })]))
 *   const answer = Predict.make("question -> answer").pipe(Module.provideModel(small))
 *   return yield* answer({ question: "2 + 2?" })
 * })
 *
 * Effect.runPromise(Effect.scoped(program)).then((output) => assert.deepStrictEqual(output, { answer: "4" }))
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const provideModel: {
  (model: Context.Context<LanguageModel.LanguageModel>): <In, Out, E, R>(
    self: Module<In, Out, E, R>
  ) => Module<In, Out, E, Exclude<R, LanguageModel.LanguageModel>>
  <In, Out, E, R>(
    self: Module<In, Out, E, R>,
    model: Context.Context<LanguageModel.LanguageModel>
  ): Module<In, Out, E, Exclude<R, LanguageModel.LanguageModel>>
} = dual(
  2,
  <In, Out, E, R>(
    self: Module<In, Out, E, R>,
    model: Context.Context<LanguageModel.LanguageModel>
  ): Module<In, Out, E, Exclude<R, LanguageModel.LanguageModel>> =>
    makeModule(
      (input: In, current) =>
        Effect.provide(runOf(self)(input, current), Context.pick(LanguageModel.LanguageModel)(model)),
      self.predictors
    )
)
