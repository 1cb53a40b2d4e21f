/**
 * One optimizer in one world: what it found, on inputs that it has not seen, and what that cost.
 */
import { Embedder } from "@effect-dspy/core/Embedder"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Embedded from "@effect-dspy/providers/Embedded"
import * as ResponseCache from "@effect-dspy/providers/ResponseCache"
import * as SingleFlight from "@effect-dspy/providers/SingleFlight"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as virtualTime from "../fixture/virtualTime.ts"
import * as model from "./model.ts"
import * as problem from "./problem.ts"
import type * as registry from "./registry.ts"
import * as World from "./World.ts"

/** All shares are of the test inputs. `wall` is in calls of the model one after the other. */
export interface Result {
  readonly optimizer: string
  readonly world: string
  readonly seed: number
  /** Of the program as given, and of the one that was found. */
  readonly before: number
  readonly after: number
  /** The best so far, on average over the first 1000 calls a step. */
  readonly area: number
  readonly calls: number
  readonly inputTokens: number
  readonly outputTokens: number
  readonly wall: number
  readonly meanInFlight: number
  readonly mostInFlight: number
}

/** Of one call of the model, in milliseconds of virtual time. */
export const latency = 1000

/** A program by what makes it one. */
export interface Found {
  readonly module: registry.Program
  readonly parameters: Parameters.Parameters
}

/** A world with its data; what was measured once is not measured again. */
export interface Arena {
  readonly world: World.World
  readonly problem: problem.Problem
  readonly score: (found: Found) => number
}

/** What programs and optimizers ask: the model, and an embedder that knows nothing of the world. */
export const services = (service: LanguageModel.Service): Context.Context<LanguageModel.LanguageModel | Embedder> =>
  Context.make(LanguageModel.LanguageModel, service).pipe(Context.add(Embedder, Embedded.embedder))

export const arena = (kind: World.Kind, seed: number, feedback: problem.Feedback): Arena => {
  const world = World.make(kind, seed)
  const task = problem.make(world, feedback)
  const context = services(model.make(world).service)
  const known = new Map<string, number>()
  return {
    world,
    problem: task,
    score: ({ module, parameters }) => {
      const key = Parameters.hash(parameters)
      const before = known.get(key)
      if (before !== undefined) return before
      const scores = Effect.runSync(Effect.provide(problem.scores(module, task), context))
      const score = scores.reduce((sum, score) => sum + score, 0) / scores.length
      known.set(key, score)
      return score
    }
  }
}

export interface Observed {
  readonly milliseconds: number
  readonly meter: model.Meter
  /** The kinds of events in their order, but for single scores. */
  readonly events: ReadonlyArray<string>
  /** Each new best program, and how many calls had been made when it was known. */
  readonly best: ReadonlyArray<Found & { readonly calls: number }>
}

/** An answer is asked for once, as in DSPy, where a cache is always there. What it finds takes no time, and is no call. */
const remembering = (service: LanguageModel.Service) =>
  Effect.flatMap(SingleFlight.make()(service), ResponseCache.memory())

/** How an optimizer is run; `cache` keeps answers for the time of the run. */
export interface Conditions extends Pick<registry.Given, "seed" | "concurrency"> {
  readonly cache?: boolean | undefined
}

/** Runs an optimizer in virtual time. */
export const observe = async (
  { problem: { metric, module, trainset, valset }, world }: Arena,
  optimizer: registry.Run,
  { cache = false, ...options }: Conditions
): Promise<Observed> => {
  const { meter, service } = model.make(world, { latency })
  const best: Array<Observed["best"][number]> = []
  const events: Array<string> = []
  const { exit, milliseconds } = await virtualTime.run(
    optimizer(module, { trainset, valset, metric, ...options }).pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          if (event._tag !== "Scored") events.push(event._tag)
          if (Option.isNone(event.best)) return
          const { module, parameters } = event.best.value
          if (best.at(-1)?.parameters !== parameters) best.push({ calls: meter.calls, module, parameters })
        })
      ),
      Effect.provide(Layer.scopedContext(Effect.map(cache ? remembering(service) : Effect.succeed(service), services)))
    )
  )
  if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
  return { milliseconds, meter, events, best }
}

export const run = async (
  arena: Arena,
  name: string,
  optimizer: registry.Run,
  conditions: Omit<Conditions, "seed">
): Promise<Result> => {
  const { kind, seed } = arena.world
  const { best, meter, milliseconds } = await observe(arena, optimizer, { seed, ...conditions })
  const before = arena.score({ module: arena.problem.module, parameters: {} })
  // A step function over calls, that of the program as given at first.
  const horizon = 1000 * kind.steps
  let area = 0
  let since = 0
  let score = before
  for (const { calls, ...found } of best) {
    const until = Math.min(calls, horizon)
    area += score * (until - since)
    since = until
    score = arena.score(found)
  }
  area += score * (horizon - since)
  return {
    optimizer: name,
    world: kind.name,
    seed,
    before,
    after: score,
    area: area / horizon,
    calls: meter.calls,
    inputTokens: meter.inputTokens,
    outputTokens: meter.outputTokens,
    wall: milliseconds / latency,
    meanInFlight: milliseconds === 0 ? 0 : meter.busy / milliseconds,
    mostInFlight: meter.mostInFlight
  }
}
