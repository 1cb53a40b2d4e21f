/**
 * DSPy's state file, as DSPy 3.3 writes and reads it: per predictor, by name,
 * the instructions, the descriptions of the fields by position, and the
 * demonstrations as flat records. Names and types of fields are not in it.
 */
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import type * as Types from "effect/Types"
import * as Json from "../Json.ts"
import * as LanguageModel from "../LanguageModel.ts"
import type * as Module from "../Module.ts"
import type * as Parameters from "../Parameters.ts"
import type { Lost, Problem } from "../SavedProgram.ts"
import * as Signature from "../Signature.ts"
import * as dspyContent from "./dspyContent.ts"
import { named, schemaProblems } from "./savedProblem.ts"
import { humanize } from "./signatureName.ts"

type Fields = ReadonlyArray<Signature.Field>

const fieldsOf = (predictor: Module.Predictor): Fields => {
  const { inputs, outputs } = Signature.fields(predictor.signature)
  return [...inputs, ...outputs]
}

// What DSPy writes for a field without a description.
const placeholder = (name: string): string => `\${${name}}`

// What DSPy keeps in a demonstration beside the values of fields.
const isBookkeeping = (fields: Fields, key: string): boolean =>
  (key === "augmented" || key.startsWith("dspy_")) && !fields.some((field) => field.name === key)

// What a demonstration says of fields, each as the other side has it.
const valuesOf = (
  fields: Fields,
  demo: Json.JsonRecord,
  other: (ast: AST.AST, value: Json.Json) => Json.Json
): ReadonlyArray<readonly [key: string, value: Json.Json]> =>
  Object.entries(demo).filter(([key]) => !isBookkeeping(fields, key)).map(([key, value]) => {
    const field = fields.find(({ name }) => name === key)
    return [key, field === undefined ? value : other(field.schema.ast, value)]
  })

/** Whether a value is shaped like a state file. */
export const isState = (u: unknown): u is Json.JsonRecord =>
  Predicate.isRecord(u) && Predicate.isRecord(u["metadata"]) && Predicate.isRecord(u["metadata"]["dependency_versions"])

// =============================================================================
// Writing
// =============================================================================

interface Written {
  readonly state: Json.JsonRecord
  readonly lost: ReadonlyArray<Lost>
  readonly problems: ReadonlyArray<Problem>
}

export const write = (module: Module.Any): Written => {
  const lost: Array<Lost> = []
  const problems: Array<Problem> = []
  const entries = module.predictors.map((predictor) => {
    const { path } = predictor
    if (path === "metadata") {
      problems.push({
        kind: "unsupported",
        path,
        description: `DSPy keeps versions under "metadata", so no predictor can be called that in its files: rename it`
      })
    }
    for (const part of unwritable(predictor)) lost.push(part)
    const state = written(predictor)
    if (halfCharacter.test(JSON.stringify(state))) {
      problems.push({
        kind: "unsupported",
        path,
        description: `${named(path)} has a text with half a character (an unpaired surrogate), which DSPy does not read`
      })
    }
    return [path, state] as const
  })
  const [first] = entries
  return {
    state: {
      // A bare Predict is not wrapped in its name.
      ...(first?.[0] === "" ? first[1] : Object.fromEntries(entries)),
      metadata: { dependency_versions: {} }
    },
    lost,
    problems
  }
}

// JSON text escapes a surrogate only when the other half is missing.
const halfCharacter = /(?<!\\)(?:\\\\)*\\ud[89a-f]/

const written = (predictor: Module.Predictor): Json.JsonRecord => {
  const fields = fieldsOf(predictor)
  return {
    traces: [],
    train: [],
    demos: predictor.parameters?.demos.map((demo) =>
      Object.fromEntries([
        ...(demo.augmented && !fields.some(({ name }) => name === "augmented") ? [["augmented", true] as const] : []),
        ...valuesOf(fields, demo.values, dspyContent.written)
      ])
    ) ?? [],
    signature: {
      instructions: predictor.parameters?.instructions ?? predictor.signature.instructions,
      fields: fields.map(({ description, name }) => ({
        prefix: `${humanize(name)}:`,
        description: description ?? placeholder(name)
      }))
    },
    lm: null
  }
}

const unwritable = (predictor: Module.Predictor): ReadonlyArray<Lost> => {
  const { parameters, path } = predictor
  const fields = fieldsOf(predictor)
  const lost: Array<Lost> = []
  for (const [name, value] of Object.entries(parameters?.settings ?? {})) {
    if (value !== undefined) {
      lost.push({ path, part: `settings.${name}`, description: "DSPy keeps settings only together with a model" })
    }
  }
  if (isReflowed(parameters?.instructions ?? predictor.signature.instructions)) {
    lost.push({
      path,
      part: "instructions",
      description: "DSPy strips tabs, blank lines around the text and a common indentation when it uses them"
    })
  }
  parameters?.demos.forEach((demo, index) => {
    const keys = Object.keys(demo.values).filter((key) => isBookkeeping(fields, key))
    if (demo.augmented && fields.some(({ name }) => name === "augmented")) keys.push("augmented")
    for (const key of keys) {
      lost.push({ path, part: `demos[${index}].${key}`, description: "DSPy keeps this name for its own bookkeeping" })
    }
  })
  return lost
}

// DSPy passes instructions through Python's docstring clean-up.
const isReflowed = (text: string): boolean => {
  const later = text.split("\n").slice(1).filter((line) => line.trim() !== "")
  return /^\s|\t|\n\s*$/.test(text) || (later.length > 0 && later.every((line) => line.startsWith(" ")))
}

// =============================================================================
// Reading
// =============================================================================

const State = Schema.Struct({
  demos: Schema.optionalWith(Schema.Array(Json.JsonRecord), { default: () => [] }),
  signature: Schema.Struct({
    instructions: Schema.String,
    fields: Schema.Array(Schema.Struct({ description: Schema.NullOr(Schema.String) }))
  }),
  lm: Schema.NullOr(Json.JsonRecord)
})

const decodeState = Schema.decodeUnknownEither(State, { errors: "all" })

interface Read {
  readonly entries: ReadonlyMap<string, Parameters.Entry>
  readonly lost: ReadonlyArray<Lost>
  readonly problems: ReadonlyArray<Problem>
}

export const read = ({ metadata: _, ...state }: Json.JsonRecord, module: Module.Any): Read => {
  const lost: Array<Lost> = []
  const problems: Array<Problem> = []
  const entries = new Map<string, Parameters.Entry>()
  // The state of a bare Predict is not wrapped in a name; in its lists of predictors DSPy calls it `self`.
  const isBare = module.predictors.some(({ path }) => path === "")
  const saved = new Map(
    Array.isArray(state["demos"])
      ? [["", state]]
      : Object.entries(state).map(([name, value]) => [isBare && name === "self" ? "" : name, value])
  )
  // A predictor that stands in several places is saved by DSPy under the first of them.
  const places = new Map<object, string>()
  for (const predictor of module.predictors) {
    const { leaf, path } = predictor
    const value = saved.get(saved.has(path) ? path : places.get(leaf) ?? path)
    if (value === undefined) {
      problems.push({ kind: "missingPredictor", path, description: `the file has no ${named(path)}` })
      continue
    }
    if (!places.has(leaf)) places.set(leaf, path)
    const result = readPredictor(predictor, value)
    // One by one: there may be more than a call takes arguments.
    for (const part of result.lost) lost.push(part)
    for (const problem of result.problems) problems.push(problem)
    if (result.entry !== undefined) entries.set(path, result.entry)
  }
  for (const [path, value] of saved) {
    if (module.predictors.some((predictor) => predictor.path === path)) continue
    if (Predicate.hasProperty(value, "signature")) {
      problems.push({ kind: "extraPredictor", path, description: `the program has no ${named(path)}` })
    } else {
      lost.push({ path, part: "state", description: "this is not the state of a predictor" })
    }
  }
  return { entries, lost, problems }
}

interface ReadPredictor {
  readonly entry: Parameters.Entry | undefined
  readonly lost: ReadonlyArray<Lost>
  readonly problems: ReadonlyArray<Problem>
}

const readPredictor = (predictor: Module.Predictor, value: Json.Json): ReadPredictor => {
  const { path } = predictor
  const nothing = { entry: undefined, lost: [], problems: [] }
  if (Predicate.hasProperty(value, "extended_signature")) {
    return {
      ...nothing,
      problems: [{
        kind: "unsupported",
        path,
        description: `${named(path)} was saved by DSPy 2.5 or older: load and save it with DSPy 2.6 or newer first`
      }]
    }
  }
  const decoded = decodeState(value)
  if (Either.isLeft(decoded)) {
    return { ...nothing, problems: schemaProblems(decoded.left, path) }
  }
  const state = decoded.right
  const fields = fieldsOf(predictor)
  const problems = differences(path, fields, state.signature.fields.map(({ description }) => description))
  if (problems.length > 0) return { ...nothing, problems }

  const lm = readLm(path, state.lm ?? {})
  const instructions = state.signature.instructions === predictor.signature.instructions
    ? undefined
    : state.signature.instructions
  const demos = state.demos.map((demo) => ({
    augmented: isBookkeeping(fields, "augmented") && demo["augmented"] === true,
    values: Object.fromEntries(valuesOf(fields, demo, dspyContent.read))
  }))
  const isUntuned = instructions === undefined && demos.length === 0 && lm.settings === undefined
  return {
    entry: isUntuned ? undefined : {
      ...(instructions === undefined ? {} : { instructions }),
      demos,
      ...(lm.settings === undefined ? {} : { settings: lm.settings })
    },
    lost: [...rewordings(path, fields, state.signature.fields.map(({ description }) => description)), ...lm.lost],
    problems
  }
}

type Descriptions = ReadonlyArray<string | null>

// The name of a field shows in the description DSPy gives it by default, and nowhere else.
const nameIn = (description: string | null | undefined): string | undefined =>
  /^\$\{([\p{L}\p{N}_]+)\}$/u.exec(description ?? "")?.[1]

const differences = (path: string, fields: Fields, descriptions: Descriptions): ReadonlyArray<Problem> => {
  if (descriptions.length !== fields.length) {
    const theirs = descriptions.map((description) => nameIn(description) ?? JSON.stringify(description)).join(", ")
    const ours = fields.map(({ name }) => name).join(", ")
    return [{
      kind: "fieldCount",
      path,
      description: `${
        named(path)
      } has ${descriptions.length} fields in the file (${theirs}) and ${fields.length} in the program (${ours})`
    }]
  }
  return fields.flatMap(({ name }, index): ReadonlyArray<Problem> => {
    const theirs = nameIn(descriptions[index])
    return theirs === undefined || theirs === name ? [] : [{
      kind: "renamedField",
      path,
      field: name,
      description: `field ${index + 1} of ${named(path)} is called "${theirs}" in the file and "${name}" in the program`
    }]
  })
}

const rewordings = (path: string, fields: Fields, descriptions: Descriptions): ReadonlyArray<Lost> =>
  fields.flatMap((field, index) => {
    const theirs = descriptions[index]
    return theirs === undefined || theirs === null || nameIn(theirs) !== undefined || theirs === field.description ?
      [] :
      [{
        path,
        part: `fields.${field.name}.description`,
        description: "the file describes the field in other words, and the program's own hold"
      }]
  })

// By DSPy's names; the last that is present wins.
const sampling: ReadonlyArray<readonly [string, keyof LanguageModel.Settings]> = [
  ["temperature", "temperature"],
  ["top_p", "topP"],
  ["max_completion_tokens", "maxTokens"],
  ["max_tokens", "maxTokens"],
  ["stop", "stop"],
  ["seed", "seed"],
  ["n", "n"],
  ["reasoning_effort", "reasoningEffort"]
]

const decodeSettings = Schema.decodeUnknownEither(LanguageModel.Settings)

const isEmpty = (value: unknown): boolean =>
  value === null || (typeof value === "object" && Object.keys(value).length === 0)

// A file names no endpoint, no class and no key: where the model is, is said by a Layer.
const readLm = (
  path: string,
  lm: Json.JsonRecord
): { readonly settings: LanguageModel.Settings | undefined; readonly lost: ReadonlyArray<Lost> } => {
  const settings: Types.Mutable<LanguageModel.Settings> = {}
  const rest = new Map(Object.entries(lm).filter(([_, value]) => !isEmpty(value)))
  for (const [theirs, ours] of sampling) {
    const value = rest.get(theirs)
    if (value === undefined) continue
    const setting = decodeSettings({ [ours]: theirs === "stop" && typeof value === "string" ? [value] : value })
    if (Either.isLeft(setting)) continue
    Object.assign(settings, setting.right)
    rest.delete(theirs)
  }
  return {
    settings: isEmpty(settings) ? undefined : settings,
    lost: Array.from(rest.keys(), (key) => ({
      path,
      part: `lm.${key}`,
      description: "only sampling settings are taken; the model and its connection come from a Layer"
    }))
  }
}
