/**
 * What `ReAct`, `ProgramOfThought`, `CodeAct` and `RLM` have in common: they work
 * in rounds, in each of which the model says what to do and is shown what came of
 * it, until it knows enough. Then there are outputs, and a typed account of how
 * they came about.
 *
 * @since 0.1.0
 */
import type * as Types from "effect/Types"
import type * as Json from "./Json.ts"
import type * as LanguageModel from "./LanguageModel.ts"
import type * as Module from "./Module.ts"
import type * as Predict from "./Predict.ts"
import type * as Sandbox from "./Sandbox.ts"
import type * as Signature from "./Signature.ts"
import type * as Tool from "./Tool.ts"

/**
 * What was thought, and what came of what was done then. Rounds are counted
 * from 1.
 *
 * Where an answer could not be read, there is a step in which nothing was done;
 * its thought is that answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly round: number
  readonly thought: string
  /** What the model was shown of it. */
  readonly observation: string
  /** Whether it could not be done, or went wrong. */
  readonly failed: boolean
}

/**
 * A step in which a tool was used. Steps of one round were chosen at once: the
 * thought stands with the first of them. The last step of a trajectory that was
 * `submitted` or `finished` is what said so, without an observation.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolStep extends Step {
  readonly tool: string
  readonly arguments: Json.JsonRecord
}

/**
 * A step in which code was run.
 *
 * @since 0.1.0
 * @category models
 */
export interface CodeStep extends Step {
  readonly code: string
}

/**
 * Why there were no more rounds.
 *
 * - `submitted`: the model gave the outputs itself.
 * - `finished`: it said that all is known, or its program gave a result.
 * - `maxIters`: there were as many as may be.
 * - `contextWindow`: what happened no longer fits into the model's context.
 * - `unreadable`: its answer could not be read twice in a row.
 *
 * There are outputs in all cases: unless they were submitted, they are made of
 * what is known, which may be little.
 *
 * @since 0.1.0
 * @category models
 */
export type Termination = "submitted" | "finished" | "maxIters" | "contextWindow" | "unreadable"

/**
 * The outputs of the signature, the reasoning that led to them, and how it came
 * to know. The reasoning is the last thought of the rounds, unless a predictor
 * reasoned about the outputs after them.
 *
 * @since 0.1.0
 * @category models
 */
export type Answer<S extends Signature.Any, S1 extends Step> = Types.Simplify<
  { readonly reasoning: string } & Signature.Output<S> & {
    readonly trajectory: ReadonlyArray<S1>
    readonly termination: Termination
  }
>

/**
 * What every agent takes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Tools extends ReadonlyArray<Tool.Any>> extends Predict.Options {
  /** What may be used. What they need and what ends the program appears in the type of the module. */
  readonly tools?: Tools | undefined
  /** How many rounds at most. */
  readonly maxIters?: number | undefined
  /** How many characters of each observation the model reads; of a longer one the middle is left out. */
  readonly maxOutput?: number | undefined
}

/**
 * Options of a module whose model writes code: `tools` are functions that the code
 * may call, each with one object, none by default; `maxOutput` is 10,000 by
 * default; `sandbox` has the limits of its sessions.
 *
 * @since 0.1.0
 * @category models
 */
export interface CodeOptions<Tools extends ReadonlyArray<Tool.Any> = readonly []> extends Options<Tools> {
  readonly sandbox?: Sandbox.Options | undefined
}

/**
 * A module that answers a signature by code that its model writes.
 *
 * @since 0.1.0
 * @category models
 */
export type Coder<S extends Signature.Any, Tools extends ReadonlyArray<Tool.Any>> = Module.Module<
  Signature.Input<S>,
  Answer<S, CodeStep>,
  Predict.PredictError | Sandbox.SandboxError | Tool.Error<Tools[number]>,
  LanguageModel.LanguageModel | Sandbox.Sandbox | Tool.Requirements<Tools[number]>
>
