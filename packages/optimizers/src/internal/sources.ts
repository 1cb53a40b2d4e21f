/**
 * Which examples a demonstration comes from, so that no example is scored with
 * its own answer in the prompt.
 */
import type { Example } from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import type { Predictor } from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Signature from "@effect-dspy/core/Signature"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

type AnyExample = Example<unknown, unknown>

export class Sources {
  // By the hash of what is shown; equal demonstrations may come from several examples.
  readonly #examples = new Map<string, Set<string>>()
  readonly #labeled = new Map<string, Parameters.Demo>()
  readonly #hashes = new WeakMap<Parameters.Demo, string>()

  /** Knows the labelled demonstration of every example for every predictor. */
  static make(
    predictors: ReadonlyArray<Predictor>,
    examples: ReadonlyArray<AnyExample>
  ): Effect.Effect<Sources> {
    const sources = new Sources()
    return Effect.as(
      Effect.forEach(
        predictors,
        ({ path, signature }) =>
          Effect.forEach(examples, (example) =>
            Effect.map(demonstration(signature, example), (values) => {
              if (values === undefined) return
              const demo = Parameters.demo(values)
              sources.#labeled.set(`${path}\n${example.id}`, demo)
              sources.add(demo, example.id)
            }), { discard: true }),
        { discard: true }
      ),
      sources
    )
  }

  /** The demonstration that the labels of an example make, if they say anything about the predictor. */
  labeled(example: AnyExample, path: string): Parameters.Demo | undefined {
    return this.#labeled.get(`${path}\n${example.id}`)
  }

  add(demo: Parameters.Demo, example: string): void {
    const hash = this.#hash(demo)
    const known = this.#examples.get(hash)
    if (known === undefined) this.#examples.set(hash, new Set([example]))
    else known.add(example)
  }

  /** Parameters without the demonstrations that come from an example. */
  without(parameters: Parameters.Parameters, example: string): Parameters.Parameters {
    const own = (demo: Parameters.Demo) => this.#examples.get(this.#hash(demo))?.has(example) === true
    if (!Object.values(parameters).some(({ demos }) => demos.some(own))) return parameters
    return Object.fromEntries(
      Object.entries(parameters).map(([path, entry]) => [
        path,
        entry.demos.some(own) ? { ...entry, demos: entry.demos.filter((demo) => !own(demo)) } : entry
      ])
    )
  }

  #hash(demo: Parameters.Demo): string {
    let hash = this.#hashes.get(demo)
    if (hash === undefined) {
      hash = Json.hash(demo.values)
      this.#hashes.set(demo, hash)
    }
    return hash
  }
}

// An input field may be an input or a label of the whole program; the answer of a predictor can only be a label.
const demonstration = (
  signature: Signature.Any,
  { inputs, labels }: AnyExample
): Effect.Effect<Json.JsonRecord | undefined> =>
  Effect.gen(function*() {
    const { inputs: asked, outputs: answered } = Signature.fields(signature)
    const given = yield* encoded(asked, [inputs, labels])
    const answer = yield* encoded(answered, [labels])
    // Without both sides there is nothing to show.
    return Object.keys(given).length === 0 || Object.keys(answer).length === 0 ? undefined : { ...given, ...answer }
  })

const encoded = (
  fields: ReadonlyArray<Signature.Field>,
  records: ReadonlyArray<unknown>
): Effect.Effect<Json.JsonRecord> =>
  Effect.gen(function*() {
    const values: { [name: string]: Json.Json } = {}
    for (const { name, schema } of fields) {
      const record = records.find((record) => Predicate.isRecord(record) && Object.hasOwn(record, name))
      if (!Predicate.hasProperty(record, name) || record[name] === undefined) continue
      // A value of the same name that does not fit belongs to another field.
      const value = yield* Effect.option(Schema.encodeUnknown(schema)(record[name]))
      if (Option.isSome(value) && Json.isJson(value.value)) values[name] = value.value
    }
    return values
  })
