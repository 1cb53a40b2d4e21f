/**
 * `Parameters` is what an optimizer searches: for each predictor of a program,
 * its instructions, demonstrations and settings. A candidate program is just
 * this value; applying it never changes a module.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"

/**
 * A worked example shown to the model: the encoded JSON of input and output
 * fields by name. It may be partial; fields of other predictors are ignored.
 * `augmented` marks one recorded from a run of the program (bootstrapped), as
 * opposed to one taken from labelled data.
 *
 * @since 0.1.0
 * @category models
 */
export const Demo = Schema.Struct({ augmented: Schema.Boolean, values: Json.JsonRecord })

/**
 * @since 0.1.0
 * @category models
 */
export interface Demo extends Schema.Schema.Type<typeof Demo> {}

/**
 * The parameters of one predictor. Without `instructions` those of its
 * signature hold. `settings` are laid over the predictor's own.
 *
 * @since 0.1.0
 * @category models
 */
export const Entry = Schema.Struct({
  instructions: Schema.optional(Schema.String),
  demos: Schema.Array(Demo),
  settings: Schema.optional(LanguageModel.Settings)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Entry extends Schema.Schema.Type<typeof Entry> {}

/**
 * Parameters by predictor path, such as `answer.predict` or `writers[0]`.
 *
 * @since 0.1.0
 * @category models
 */
export const Parameters = Schema.Record({ key: Schema.String, value: Entry })

/**
 * @since 0.1.0
 * @category models
 */
export interface Parameters extends Schema.Schema.Type<typeof Parameters> {}

/**
 * No parameters: every predictor as its author wrote it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty: Parameters = {}

/**
 * A demonstration from labelled data.
 *
 * @since 0.1.0
 * @category constructors
 */
export const demo = (values: Json.JsonRecord): Demo => ({ augmented: false, values })

/**
 * A demonstration recorded from a run.
 *
 * @since 0.1.0
 * @category constructors
 */
export const augmented = (values: Json.JsonRecord): Demo => ({ augmented: true, values })

/**
 * A path that parameters name and the module does not have.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnknownPath extends Schema.TaggedError<UnknownPath>("@effect-dspy/core/Parameters/UnknownPath")(
  "UnknownPath",
  { path: Schema.String, known: Schema.Array(Schema.String) }
) {
  override get message(): string {
    return `The program has no predictor "${this.path}". It has: ${
      this.known.length === 0 ? "none" : this.known.map((path) => `"${path}"`).join(", ")
    }`
  }
}

/**
 * Equal parameters have equal hashes (SHA-256 of the canonical JSON).
 *
 * @since 0.1.0
 * @category destructors
 */
export const hash = (self: Parameters): string => Json.hash(self)
