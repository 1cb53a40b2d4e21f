/**
 * What a run is a run of: the data checked, and everything that its result
 * depends on reduced to hashes, by which a journal knows it again.
 */
import * as Evaluate from "@effect-dspy/core/Evaluate"
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Optimizer from "../Optimizer.ts"

type AnyExample = Example<unknown, unknown>

// -----------------------------------------------------------------------------
// Data
// -----------------------------------------------------------------------------

export interface Data<In, Labels> {
  readonly trainset: ReadonlyArray<Example<In, Labels>>
  /** What candidates are selected on, each once. */
  readonly selection: ReadonlyArray<Example<In, Labels>>
  /** Each once. */
  readonly testset: ReadonlyArray<Example<In, Labels>>
  /** All of them, each once. */
  readonly examples: ReadonlyArray<Example<In, Labels>>
}

export const data = <In, Labels>(options: {
  readonly trainset: ReadonlyArray<Example<In, Labels>>
  readonly valset?: ReadonlyArray<Example<In, Labels>> | undefined
  readonly testset?: ReadonlyArray<Example<In, Labels>> | undefined
}): Effect.Effect<Data<In, Labels>, Optimizer.EmptyDataset | Evaluate.AmbiguousExample> =>
  Effect.gen(function*() {
    const { testset, trainset, valset } = options
    for (const [dataset, examples] of [["trainset", trainset], ["valset", valset], ["testset", testset]] as const) {
      if (examples?.length === 0) return yield* new Optimizer.EmptyDataset({ dataset })
    }
    return {
      trainset,
      selection: yield* distinct(valset ?? trainset),
      testset: yield* distinct(testset ?? []),
      examples: yield* distinct([...trainset, ...valset ?? [], ...testset ?? []])
    }
  })

const distinct = <In, Labels>(
  examples: ReadonlyArray<Example<In, Labels>>
): Effect.Effect<ReadonlyArray<Example<In, Labels>>, Evaluate.AmbiguousExample> =>
  Effect.suspend(() => {
    const byId = new Map<string, Example<In, Labels>>()
    for (const example of examples) {
      const known = byId.get(example.id)
      if (known === undefined) byId.set(example.id, example)
      else if (known !== example && content(known) !== content(example)) {
        return new Evaluate.AmbiguousExample({ id: example.id })
      }
    }
    return Effect.succeed(Array.from(byId.values()))
  })

const content = ({ inputs, labels }: AnyExample): string => Json.hash([inputs, labels])

// -----------------------------------------------------------------------------
// The run
// -----------------------------------------------------------------------------

export interface Identity {
  /** The first line of the journal. */
  readonly header: Json.JsonRecord
  readonly provenance: Optimizer.Provenance
}

export const make = (run: {
  readonly optimizer: string
  readonly module: Module.Any
  readonly baseline: Parameters.Parameters
  readonly teacher: Module.Any | undefined
  readonly data: Data<unknown, unknown>
  readonly model: string | undefined
  readonly promptModel: string | undefined
  readonly seed: number
  readonly settings: Json.JsonRecord
}): Identity => {
  const { model, optimizer, promptModel, seed } = run
  const program = {
    predictors: Object.fromEntries(run.module.predictors.map(({ path, signature }) => [path, ofSignature(signature)])),
    parameters: short(run.baseline),
    ...(run.teacher === undefined ? undefined : { teacher: short(Module.parameters(run.teacher)) })
  }
  const { selection, testset, trainset } = run.data
  const data = { trainset: ofExamples(trainset), selection: ofExamples(selection), testset: ofExamples(testset) }
  return {
    header: {
      format: 1,
      optimizer,
      seed,
      model: model ?? null,
      ...(promptModel === undefined ? undefined : { promptModel }),
      program,
      data,
      options: run.settings
    },
    provenance: { optimizer, seed, model, program: short(program), data: short(data), options: short(run.settings) }
  }
}

const short = (value: unknown): string => Json.hash(value).slice(0, 16)

const ofExamples = (examples: ReadonlyArray<AnyExample>): string =>
  `${examples.length} examples, ${short(examples.map((example) => [example.id, content(example)]))}`

const ofSignature = (signature: Signature.Any): string => {
  const { inputs, outputs } = Signature.fields(signature)
  return short([
    signature.instructions,
    [...inputs, ...outputs].map(({ constraints, description, kind, name, optional, type }) => ({
      constraints,
      description,
      kind,
      name,
      optional,
      type
    }))
  ])
}
