/**
 * A `SavedProgram` is what an optimizer found for a program, as a JSON file:
 * per predictor its instructions, demonstrations and settings, with the names
 * and types of its fields, so that a file of another program is recognised.
 * It holds data only: the program itself, its models and tools come from code
 * and Layers. DSPy's state files are read and written too.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as dspyState from "./internal/dspyState.ts"
import * as jsonFile from "./internal/jsonFile.ts"
import { listed } from "./internal/listed.ts"
import { named, schemaProblems } from "./internal/savedProblem.ts"
import type { Json, JsonRecord } from "./Json.ts"
import * as Module from "./Module.ts"
import * as Parameters from "./Parameters.ts"
import * as Signature from "./Signature.ts"

// =============================================================================
// The file
// =============================================================================

/**
 * How a program came to be what it is; every part is optional. `dataHash`
 * names the examples it was compiled with, `score` is the metric's mean (0..1)
 * with its confidence interval, `calls` and `cost` are what the search took,
 * the latter in the currency of the provider's price list. Read `createdAt`
 * from the clock: `DateTime.now`.
 *
 * @since 0.1.0
 * @category models
 */
export const Provenance = Schema.Struct({
  optimizer: Schema.optional(Schema.String),
  model: Schema.optional(Schema.String),
  seed: Schema.optional(Schema.Finite),
  dataHash: Schema.optional(Schema.String),
  score: Schema.optional(Schema.Struct({
    mean: Schema.Finite,
    interval: Schema.optional(Schema.Struct({ lower: Schema.Finite, upper: Schema.Finite }))
  })),
  calls: Schema.optional(Schema.Finite),
  cost: Schema.optional(Schema.Finite),
  createdAt: Schema.optional(Schema.DateTimeUtc)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Provenance extends Schema.Schema.Type<typeof Provenance> {}

const SavedField = Schema.Struct({ name: Schema.String, type: Schema.String })

/**
 * One predictor of a saved program: where it stands, what it was written as,
 * and, when it was tuned, its parameters. Types are those of the encoded side,
 * spelled as in TypeScript.
 *
 * @since 0.1.0
 * @category models
 */
export const SavedPredictor = Schema.Struct({
  path: Schema.String,
  signature: Schema.Struct({
    instructions: Schema.String,
    inputs: Schema.Array(SavedField),
    outputs: Schema.Array(SavedField)
  }),
  parameters: Schema.optional(Parameters.Entry)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface SavedPredictor extends Schema.Schema.Type<typeof SavedPredictor> {}

/**
 * The content of a file, version 1.
 *
 * @since 0.1.0
 * @category models
 */
export const SavedProgram = Schema.Struct({
  format: Schema.Literal("effect-dspy/program"),
  version: Schema.Literal(1),
  predictors: Schema.Array(SavedPredictor),
  provenance: Schema.optional(Provenance)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface SavedProgram extends Schema.Schema.Type<typeof SavedProgram> {}

// =============================================================================
// Errors
// =============================================================================

/**
 * One thing that is wrong with a file, or with a program that cannot be saved.
 * `path` is the predictor it concerns. Missing is what the program has and the
 * file has not; extra is the reverse.
 *
 * @since 0.1.0
 * @category errors
 */
export const Problem = Schema.Struct({
  kind: Schema.Literal(
    "size",
    "syntax",
    "depth",
    "forbiddenKey",
    "format",
    "version",
    "schema",
    "unsupported",
    "missingPredictor",
    "extraPredictor",
    "missingField",
    "extraField",
    "renamedField",
    "movedField",
    "changedType",
    "fieldCount"
  ),
  path: Schema.optional(Schema.String),
  field: Schema.optional(Schema.String),
  description: Schema.String
})

/**
 * @since 0.1.0
 * @category errors
 */
export interface Problem extends Schema.Schema.Type<typeof Problem> {}

/**
 * A file that is not one of this program, or a program no file can hold.
 * `problems` has every difference, the message the first 20; nothing was loaded
 * or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class SavedProgramError extends Schema.TaggedError<SavedProgramError>(
  "@effect-dspy/core/SavedProgram/SavedProgramError"
)("SavedProgramError", {
  action: Schema.Literal("load", "save"),
  /** The file, when it was one. */
  file: Schema.optional(Schema.String),
  problems: Schema.Array(Problem)
}) {
  override get message(): string {
    return `The program cannot be ${this.action === "load" ? "loaded" : "saved"}${
      this.file === undefined ? "" : ` ${this.action === "load" ? "from" : "to"} ${this.file}`
    }: ${listed(this.problems, ({ description }) => description).join("; ")}`
  }
}

/**
 * Something that one side holds and the other has no place for. `path` is the
 * predictor, `part` what of it: `settings.topP`, `lm.model`,
 * `demos[0].augmented`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lost {
  readonly path: string
  readonly part: string
  readonly description: string
}

const refuse = (action: SavedProgramError["action"], problems: ReadonlyArray<Problem>) =>
  Either.left(new SavedProgramError({ action, problems }))

const readJson = (action: SavedProgramError["action"], text: string): Either.Either<Json, SavedProgramError> =>
  Either.orElse(jsonFile.parse(text), (refusal) => refuse(action, [refusal]))

// The text of a file, once it is known that it can be read again.
const textOf = (value: unknown): Either.Either<string, SavedProgramError> => {
  const text = `${JSON.stringify(value, null, 2)}\n`
  return Either.map(readJson("save", text), () => text)
}

// =============================================================================
// Our format
// =============================================================================

const encodeSchema = Schema.encodeEither(SavedProgram, { errors: "all" })
const decodeSchema = Schema.decodeUnknownEither(SavedProgram, { errors: "all", onExcessProperty: "error" })

const describe = ({ parameters, path, signature }: Module.Predictor): SavedPredictor => {
  const { inputs, outputs } = Signature.fields(signature)
  return {
    path,
    signature: {
      instructions: signature.instructions,
      inputs: inputs.map(describeField),
      outputs: outputs.map(describeField)
    },
    ...(parameters === undefined ? {} : { parameters })
  }
}

const describeField = ({ name, optional, type }: Signature.Field): typeof SavedField.Type => ({
  name,
  type: optional ? `${type} | undefined` : type
})

/**
 * The text of the file for a program with the parameters baked into it: JSON
 * with two-space indentation and a final newline, the same for the same
 * program. Settings given to `Predict.make` belong to the code and are not in
 * it. Fails when the text could not be read again: more than 16 MiB, more than
 * 64 levels, a key `__proto__`, a number that is not finite.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Parameters from "@effect-dspy/core/Parameters"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as SavedProgram from "@effect-dspy/core/SavedProgram"
 * import { Either } from "effect"
 *
 * const program = Predict.make("question -> answer")
 * const parameters = {
 *   "": { instructions: "Answer in one word.", demos: [Parameters.demo({ question: "2 + 2?", answer: "four" })] }
 * }
 *
 * const again = Module.withParameters(program, parameters).pipe(
 *   Either.flatMap((tuned) => SavedProgram.encode(tuned, { optimizer: "LabeledFewShot", seed: 9 })),
 *   Either.flatMap((text) => SavedProgram.decode(text, program)),
 *   Either.getOrThrow
 * )
 *
 * assert.deepStrictEqual(Module.parameters(again), parameters)
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (module: Module.Any, provenance?: Provenance): Either.Either<string, SavedProgramError> =>
  encodeSchema({
    format: "effect-dspy/program",
    version: 1,
    predictors: module.predictors.map(describe),
    ...(provenance === undefined ? {} : { provenance })
  }).pipe(
    Either.orElse((error) => refuse("save", schemaProblems(error))),
    Either.flatMap(textOf)
  )

/**
 * The content of a file of ours, without a program to compare it with: for its
 * provenance, or to see what was found. An unknown version, and anything a file
 * has no business to hold, is an error.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (text: string): Either.Either<SavedProgram, SavedProgramError> =>
  Either.flatMap(readJson("load", text), fromJson)

const fromJson = (json: Json): Either.Either<SavedProgram, SavedProgramError> => {
  if (!Predicate.hasProperty(json, "format") || json.format !== "effect-dspy/program") {
    return refuse("load", [{
      kind: "format",
      description: dspyState.isState(json)
        ? "it is a state file of DSPy: read it with SavedProgram.fromDspy"
        : "it is not a saved program: it has no \"format\": \"effect-dspy/program\""
    }])
  }
  const version = Predicate.hasProperty(json, "version") ? json.version : undefined
  if (version !== 1) {
    return refuse("load", [{
      kind: "version",
      description: `it is of version ${
        JSON.stringify(version)
      }, and only version 1 is known here: update @effect-dspy/core`
    }])
  }
  return Either.orElse(decodeSchema(json), (error) => refuse("load", schemaProblems(error)))
}

/**
 * The same module with the parameters of a file of ours baked in. All or
 * nothing: a file of another program is an error that names every predictor
 * and field that is missing, extra, renamed, moved or of another type.
 *
 * The order of predictors and fields does not matter. A predictor without
 * parameters in the file is as its author wrote it. Instructions that were not
 * tuned are those the program has now, even if they were others when it was
 * saved.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = <M extends Module.Any>(text: string, module: M): Either.Either<M, SavedProgramError> =>
  parse(text).pipe(
    Either.flatMap((saved) => fit(saved, module)),
    Either.map((loaded) => loaded.module)
  )

/**
 * A module with the parameters of a file, and what of the file it did not take.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loaded<out M> {
  readonly module: M
  readonly lost: ReadonlyArray<Lost>
}

const fit = <M extends Module.Any>(
  saved: SavedProgram,
  module: M
): Either.Either<Loaded<M>, SavedProgramError> => {
  const byPath = new Map(saved.predictors.map((predictor) => [predictor.path, predictor]))
  const problems: Array<Problem> = []
  const lost: Array<Lost> = []
  const entries = new Map<string, Parameters.Entry>()
  if (byPath.size < saved.predictors.length) {
    problems.push({ kind: "schema", description: "predictors: two of them have the same path" })
  }
  for (const predictor of module.predictors) {
    const { path } = predictor
    const theirs = byPath.get(path)
    if (theirs === undefined) {
      problems.push({ kind: "missingPredictor", path, description: `the file has no ${named(path)}` })
      continue
    }
    // One by one: there may be more than a call takes arguments.
    for (const problem of differences(theirs, describe(predictor))) problems.push(problem)
    if (theirs.parameters !== undefined) entries.set(path, theirs.parameters)
    if (
      theirs.parameters?.instructions === undefined &&
      theirs.signature.instructions !== predictor.signature.instructions
    ) {
      lost.push({ path, part: "signature.instructions", description: "they were others when the program was saved" })
    }
  }
  for (const { path } of saved.predictors) {
    if (!module.predictors.some((predictor) => predictor.path === path)) {
      problems.push({ kind: "extraPredictor", path, description: `the program has no ${named(path)}` })
    }
  }
  return apply(module, entries, lost, problems)
}

const apply = <M extends Module.Any>(
  module: M,
  entries: ReadonlyMap<string, Parameters.Entry>,
  lost: ReadonlyArray<Lost>,
  problems: ReadonlyArray<Problem>
): Either.Either<Loaded<M>, SavedProgramError> => {
  if (problems.length > 0) return refuse("load", problems)
  const parameters = module.predictors.flatMap(({ parameters, path }) => {
    // What is baked in stays unless it is replaced, and the file says that there was nothing.
    const entry = entries.get(path) ?? (parameters === undefined ? undefined : { demos: [] })
    return entry === undefined ? [] : [[path, entry] as const]
  })
  return Module.withParameters(module, Object.fromEntries(parameters)).pipe(
    Either.map((module) => ({ module, lost })),
    Either.orElse((error) => refuse("load", [{ kind: "extraPredictor", path: error.path, description: error.message }]))
  )
}

interface Placed {
  readonly name: string
  readonly type: string
  readonly side: "input" | "output"
  readonly index: number
}

const placed = ({ inputs, outputs }: SavedPredictor["signature"]): ReadonlyArray<Placed> => [
  ...inputs.map((field, index) => ({ ...field, side: "input" as const, index })),
  ...outputs.map((field, index) => ({ ...field, side: "output" as const, index }))
]

const differences = (file: SavedPredictor, program: SavedPredictor): ReadonlyArray<Problem> => {
  const { path } = program
  const theirs = placed(file.signature)
  const ours = placed(program.signature)
  const has = (fields: ReadonlyArray<Placed>, name: string) => fields.some((field) => field.name === name)
  const renamed = new Set<string>()
  const problems: Array<Problem> = []
  const report = (kind: Problem["kind"], field: string, description: string) => {
    problems.push({ kind, path, field, description: `${named(path)}: ${description}` })
  }
  for (const { index, name, side, type } of theirs) {
    const same = ours.find((field) => field.name === name)
    if (same === undefined) {
      const successor = ours.find((field) => field.side === side && field.index === index && !has(theirs, field.name))
      if (successor === undefined) {
        report("extraField", name, `${side} "${name}" of the file is not in the program`)
      } else {
        renamed.add(successor.name)
        report(
          "renamedField",
          successor.name,
          `${side} "${name}" of the file is called "${successor.name}" in the program`
        )
      }
    } else if (same.side !== side) {
      report("movedField", name, `"${name}" is an ${side} in the file and an ${same.side} in the program`)
    } else if (same.type !== type) {
      report("changedType", name, `${side} "${name}" is ${type} in the file and ${same.type} in the program`)
    }
  }
  for (const { name, side } of ours) {
    if (!has(theirs, name) && !renamed.has(name)) {
      report("missingField", name, `${side} "${name}" of the program is not in the file`)
    }
  }
  return problems
}

// =============================================================================
// DSPy's format
// =============================================================================

/**
 * The state file that DSPy's `program.load("file.json")` reads for the program
 * with the same predictors, and what of ours it has no place for: settings,
 * names DSPy keeps for itself, and spaces it strips from instructions. `lm` is
 * always `null`, versions are left open, and field types are not in such a file.
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as SavedProgram from "@effect-dspy/core/SavedProgram"
 * import { Either } from "effect"
 *
 * const program = Module.make({ writers: [Predict.make("topic -> poem")] }, function*(m, input: { topic: string }) {
 *   return yield* m.writers[0](input)
 * })
 * const { lost, text } = Module.withParameters(program, {
 *   "writers[0]": { instructions: "Rhyme.", demos: [], settings: { temperature: 1 } }
 * }).pipe(Either.flatMap(SavedProgram.toDspy), Either.getOrThrow)
 *
 * assert.strictEqual(JSON.parse(text)["writers[0]"].signature.instructions, "Rhyme.")
 * assert.deepStrictEqual(lost.map(({ part }) => part), ["settings.temperature"])
 * ```
 *
 * @since 0.1.0
 * @category encoding
 */
export const toDspy = (
  module: Module.Any
): Either.Either<{ readonly text: string; readonly lost: ReadonlyArray<Lost> }, SavedProgramError> => {
  const { lost, problems, state } = dspyState.write(module)
  return problems.length > 0
    ? refuse("save", problems)
    : Either.map(textOf(state), (text) => ({ text, lost }))
}

/**
 * The same module with what a DSPy state file (DSPy 2.6 or newer) holds for its
 * predictors, and what of the file was not taken: models and their connections,
 * never trusted and supplied by Layers here, and descriptions of fields in other
 * words than the program's. Of the models, the sampling settings are taken.
 *
 * Such a file names no fields, so they are matched by position; where their
 * number, or a name that shows in a description, does not agree, and where a
 * predictor is missing or extra, it is an error. Demonstrations stay as they
 * are, custom types of DSPy as the texts it marks them with; a number is one of
 * JavaScript (`1.0` is `1`).
 *
 * @example
 * ```ts
 * import * as Module from "@effect-dspy/core/Module"
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as SavedProgram from "@effect-dspy/core/SavedProgram"
 * import { Either } from "effect"
 *
 * const file = `{
 *   "traces": [], "train": [],
 *   "demos": [{ "augmented": true, "question": "2 + 2?", "answer": "4" }],
 *   "signature": {
 *     "instructions": "Answer with a number.",
 *     "fields": [
 *       { "prefix": "Question:", "description": "\${question}" },
 *       { "prefix": "Answer:", "description": "\${answer}" }
 *     ]
 *   },
 *   "lm": null,
 *   "metadata": { "dependency_versions": { "dspy": "3.3.1" } }
 * }`
 * const { module } = Either.getOrThrow(SavedProgram.fromDspy(file, Predict.make("question -> answer")))
 *
 * assert.deepStrictEqual(Module.parameters(module)[""], {
 *   instructions: "Answer with a number.",
 *   demos: [{ augmented: true, values: { question: "2 + 2?", answer: "4" } }]
 * })
 * ```
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromDspy = <M extends Module.Any>(
  text: string,
  module: M
): Either.Either<Loaded<M>, SavedProgramError> =>
  Either.flatMap(readJson("load", text), (json) =>
    dspyState.isState(json) ? fromState(json, module) : refuse("load", [{
      kind: "format",
      description: "it is not a state file of DSPy: it has no metadata.dependency_versions"
    }]))

const fromState = <M extends Module.Any>(
  state: JsonRecord,
  module: M
): Either.Either<Loaded<M>, SavedProgramError> => {
  const { entries, lost, problems } = dspyState.read(state, module)
  return apply(module, entries, lost, problems)
}

// =============================================================================
// Files
// =============================================================================

/**
 * Writes the file of a program, as `encode` makes it. A file that was there is
 * replaced in one step: readers see the old one or the new one, also after a
 * crash.
 *
 * @since 0.1.0
 * @category files
 */
export const save = (
  file: string,
  module: Module.Any,
  provenance?: Provenance
): Effect.Effect<void, SavedProgramError | PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const text = yield* Either.mapLeft(encode(module, provenance), inFile(file))
    // Next to the file, since nothing can be renamed across file systems.
    const temporary = yield* fs.makeTempDirectoryScoped({
      directory: path.dirname(file),
      prefix: `.${path.basename(file)}-`
    })
    const draft = path.join(temporary, path.basename(file))
    yield* Effect.scoped(Effect.gen(function*() {
      const open = yield* fs.open(draft, { flag: "w" })
      yield* open.writeAll(new TextEncoder().encode(text))
      yield* open.sync
    }))
    yield* fs.rename(draft, file)
  }).pipe(
    Effect.scoped,
    Effect.withSpan("SavedProgram.save", { attributes: { file } })
  )

/**
 * The same module with the parameters of a file, which is one of ours or a
 * state file of DSPy. What of the file is not taken is logged as a warning.
 *
 * @since 0.1.0
 * @category files
 */
export const load = <M extends Module.Any>(
  file: string,
  module: M
): Effect.Effect<M, SavedProgramError | PlatformError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { size } = yield* fs.stat(file)
    const text = size > jsonFile.maxSize
      ? yield* refuse("load", [jsonFile.tooLarge])
      : yield* Effect.flatMap(fs.readFile(file), utf8)
    const json = yield* readJson("load", text)
    const loaded = yield* dspyState.isState(json)
      ? fromState(json, module)
      : Either.flatMap(fromJson(json), (saved) => fit(saved, module))
    if (loaded.lost.length > 0) {
      yield* Effect.logWarning(
        `Not taken from ${file}: ${
          listed(loaded.lost, ({ description, part, path }) => `${part} of ${named(path)} (${description})`).join("; ")
        }`
      )
    }
    return loaded.module
  }).pipe(
    Effect.mapError((error) => error._tag === "SavedProgramError" ? inFile(file)(error) : error),
    Effect.withSpan("SavedProgram.load", { attributes: { file } })
  )

const utf8 = (bytes: Uint8Array): Either.Either<string, SavedProgramError> =>
  Either.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => new SavedProgramError({ action: "load", problems: [jsonFile.notText] })
  })

const inFile = (file: string) => ({ action, problems }: SavedProgramError): SavedProgramError =>
  new SavedProgramError({ action, file, problems })
