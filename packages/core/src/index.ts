/**
 * An `Adapter` turns a signature, demonstrations and input into a request, and
 * the text of the answer back into fields. It knows nothing of HTTP. Parsing
 * is incremental, so every adapter streams its fields; decoding against the
 * signature's schemas happens once, here, for all of them.
 *
 * @since 0.1.0
 */
export * as Adapter from "./Adapter.ts"

/**
 * `ChainOfThought` lets the model reason in words before it answers: the
 * signature with an output field `reasoning` in front.
 *
 * @since 0.1.0
 */
export * as ChainOfThought from "./ChainOfThought.ts"

/**
 * An `Example` is one labelled case: typed inputs for a module, and labels
 * that a metric compares its output with.
 *
 * @since 0.1.0
 */
export * as Example from "./Example.ts"

/**
 * Plain JSON values: what demonstrations, traces, journals and saved programs
 * hold, and the canonical form by which they are compared and addressed.
 *
 * @since 0.1.0
 */
export * as Json from "./Json.ts"

/**
 * The one service every model call goes through. Requests, responses and
 * deltas are plain data, so that they can be hashed, cached, recorded and
 * replayed; providers and policies are the only code behind it.
 *
 * @since 0.1.0
 */
export * as LanguageModel from "./LanguageModel.ts"

/**
 * Everything that can go wrong between a program and a model, as one tagged
 * error with a `reason`. It never holds the prompt, a header or a key.
 *
 * @since 0.1.0
 */
export * as LanguageModelError from "./LanguageModelError.ts"

/**
 * A `Metric` says how good an output is: a score from 0 to 1, and, if it can,
 * feedback in words that an optimizer may show to a model.
 *
 * @since 0.1.0
 */
export * as Metric from "./Metric.ts"

/**
 * A `Module` is a function from an input to an Effect that also lists its
 * predictors, the leaves an optimizer may tune. Modules hold no state, no
 * history and no model, so one value serves any number of concurrent calls
 * under different parameters.
 *
 * @since 0.1.0
 */
export * as Module from "./Module.ts"

/**
 * What a running module tells whoever listens. Nothing is emitted, and nothing
 * allocated, when nobody does.
 *
 * @since 0.1.0
 */
export * as ModuleEvent from "./ModuleEvent.ts"

/**
 * `Parameters` is what an optimizer searches: for each predictor of a program,
 * its instructions, demonstrations and settings. A candidate program is just
 * this value; applying it never changes a module.
 *
 * @since 0.1.0
 */
export * as Parameters from "./Parameters.ts"

/**
 * A `Policy` changes how a model is called (retry, cache, budget, rate limit)
 * without the model or the program knowing. It is a value, applied to a Layer.
 *
 * @since 0.1.0
 */
export * as Policy from "./Policy.ts"

/**
 * `Predict` turns a signature into a module: one question to the model, one
 * typed answer. It is the only leaf of a program.
 *
 * @since 0.1.0
 */
export * as Predict from "./Predict.ts"

/**
 * `Scoring` is the one place where a candidate, an example and a rollout become
 * a score. It runs in this process unless another one is provided. Tasks and
 * results are plain data, so that they can cross a wire; the evaluator, which
 * holds functions, is built from the same source on both ends.
 *
 * @since 0.1.0
 */
export * as Scoring from "./Scoring.ts"

/**
 * A `Signature` declares what one step of a program does: instructions, typed
 * input fields and typed output fields. It is a plain value; every operation
 * returns a new one and keeps the types.
 *
 * @since 0.1.0
 */
export * as Signature from "./Signature.ts"

/**
 * A model that answers from a script, for tests. It takes no time unless told
 * to, never repeats itself, streams in small pieces and remembers every
 * request.
 *
 * @since 0.1.0
 */
export * as TestLanguageModel from "./TestLanguageModel.ts"

/**
 * A `Trace` is what the predictors of one run were asked and what they
 * answered. Metrics may look at it; optimizers make demonstrations of it.
 *
 * @since 0.1.0
 */
export * as Trace from "./Trace.ts"
