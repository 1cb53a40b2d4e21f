/**
 * The optimizers that are compared. One line adds an optimizer, and one line its classical variant: the schedule that DSPy has.
 */
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as COPRO from "@effect-dspy/optimizers/COPRO"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import * as InferRules from "@effect-dspy/optimizers/InferRules"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as MIPROv2 from "@effect-dspy/optimizers/MIPROv2"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import * as SIMBA from "@effect-dspy/optimizers/SIMBA"
import type * as Stream from "effect/Stream"
import type { Problem } from "./problem.ts"

/** What every optimizer gets. */
export type Given = Pick<Problem, "trainset" | "valset" | "metric"> & {
  readonly seed: number
  readonly concurrency: number
}

type Run = (
  module: Problem["module"],
  given: Given
) => Stream.Stream<
  Optimizer.OptimizerEvent<Problem["module"]>,
  Optimizer.OptimizerError,
  LanguageModel.LanguageModel
>

export const optimizers: Readonly<Record<string, Run>> = {
  LabeledFewShot: LabeledFewShot.events,
  BootstrapFewShot: BootstrapFewShot.events,
  RandomSearch: RandomSearch.events,
  COPRO: COPRO.events,
  InferRules: InferRules.events,
  MIPROv2: MIPROv2.events,
  SIMBA: SIMBA.events,
  GEPA: (module, given) => GEPA.events(module, { ...given, auto: "light" })
}

export const classical: Readonly<Record<string, Run>> = {
  COPRO: (module, given) => COPRO.events(module, { ...given, schedule: "classical" }),
  InferRules: (module, given) => InferRules.events(module, { ...given, schedule: "classical" }),
  MIPROv2: (module, given) => MIPROv2.events(module, { ...given, schedule: "classical" }),
  SIMBA: (module, given) => SIMBA.events(module, { ...given, schedule: "classical" }),
  GEPA: (module, given) => GEPA.events(module, { ...given, auto: "light", schedule: "classical" })
}
