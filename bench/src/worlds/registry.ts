/**
 * The optimizers that are compared. One line adds an optimizer, one line its classical variant, the schedule that DSPy has, and
 * one line what it is made of, if it is made of others.
 */
import type { Embedder } from "@effect-dspy/core/Embedder"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { LanguageModelError } from "@effect-dspy/core/LanguageModelError"
import * as Majority from "@effect-dspy/core/Majority"
import * as Module from "@effect-dspy/core/Module"
import * as ACE from "@effect-dspy/optimizers/ACE"
import * as BetterTogether from "@effect-dspy/optimizers/BetterTogether"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as Ensemble from "@effect-dspy/optimizers/Ensemble"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import * as KNNFewShot from "@effect-dspy/optimizers/KNNFewShot"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { In, Out, Problem } from "./problem.ts"

/** What every optimizer gets. */
export type Given = Pick<Problem, "trainset" | "valset" | "metric"> & {
  readonly seed: number
  readonly concurrency: number
}

/** What an optimizer makes: the program, or one around it that looks for near examples. */
export type Program = Module.Module<
  In,
  Out,
  Module.Error<Problem["module"]> | LanguageModelError,
  LanguageModel.LanguageModel | Embedder
>

export type Run = (
  module: Problem["module"],
  given: Given
) => Stream.Stream<
  Optimizer.OptimizerEvent<Program>,
  Optimizer.OptimizerError,
  LanguageModel.LanguageModel | Embedder
>

export const optimizers: Readonly<Record<string, Run>> = {
  LabeledFewShot: LabeledFewShot.events,
  BootstrapFewShot: BootstrapFewShot.events,
  RandomSearch: RandomSearch.events,
  COPRO: COPRO.events,
  InferRules: InferRules.events,
  MIPROv2: MIPROv2.events,
  SIMBA: SIMBA.events,
  GEPA: (module, given) => GEPA.events(module, { ...given, auto: "light" }),
  ACE: ACE.events,
  KNNFewShot: KNNFewShot.events,
  BetterTogether: (module, given) =>
    BetterTogether.events(module, {
      ...given,
      optimizers: {
        rules: (module, shared) => GEPA.events(module, { ...shared, auto: "light" }),
        demonstrations: (module, shared) => BootstrapFewShot.events(module, shared)
      }
    }),
  Ensemble: (module, given) => Stream.map(RandomSearch.events(module, given), together(module))
}

const mostBerths = (outputs: readonly [Out, ...Array<Out>]): Out => Majority.of(outputs, ({ berth }) => berth)

// The three best candidates of a search, asked at once, in place of the best one.
const together =
  (module: Problem["module"]) =>
  (event: Optimizer.OptimizerEvent<Problem["module"]>): Optimizer.OptimizerEvent<Program> =>
    event._tag !== "Done" ? event : {
      ...event,
      best: Option.map(event.best, (compiled) => {
        const jury = Either.getOrThrow(Ensemble.ofBest(module, compiled, { reduce: mostBerths })) // of its own candidates
        return { ...compiled, module: jury, parameters: Module.parameters(jury) }
      })
    }

/** What those that are made of others are set against: the same without the other parts. */
export const parts: Readonly<Record<string, ReadonlyArray<string>>> = {
  BetterTogether: ["GEPA", "BootstrapFewShot"],
  Ensemble: ["RandomSearch"]
}

export const classical: Readonly<Record<string, Run>> = {
  BootstrapFewShot: (module, given) => BootstrapFewShot.events(module, { ...given, schedule: "classical" }),
  RandomSearch: (module, given) => RandomSearch.events(module, { ...given, schedule: "classical" }),
  COPRO: (module, given) => COPRO.events(module, { ...given, schedule: "classical" }),
  InferRules: (module, given) => InferRules.events(module, { ...given, schedule: "classical" }),
  MIPROv2: (module, given) => MIPROv2.events(module, { ...given, schedule: "classical" }),
  SIMBA: (module, given) => SIMBA.events(module, { ...given, schedule: "classical" }),
  GEPA: (module, given) => GEPA.events(module, { ...given, auto: "light", schedule: "classical" })
}
