/**
 * A program for data of your own: one predictor for each label column, which
 * reads the text and the labels before it. The permitted values are those in
 * the file.
 */
import { Example, Metric, Module, Predict, Signature } from "@effect-dspy/core"
import { Effect, Schema } from "effect"

export interface Columns {
  readonly text: string
  readonly labels: ReadonlyArray<string>
}

type Row = { readonly [column: string]: string }

const strings = (names: ReadonlyArray<string>) =>
  Schema.Struct(Object.fromEntries(names.map((name) => [name, Schema.String])))

/** Reads the file, makes the program from what is in it, and splits the data 40 : 20 : 40. */
export const load = (file: string, columns: Columns) =>
  Effect.gen(function*() {
    const examples = yield* Example.load(file, { inputs: strings([columns.text]), labels: strings(columns.labels) })
    const values = (label: string) => Array.from(new Set(examples.map((example) => example.labels[label]!))).sort()
    const predictors = Object.fromEntries(columns.labels.map((label, index) => [
      label,
      Predict.make(Signature.make({
        instructions: `Choose the ${label} that fits the ${columns.text}.`,
        input: strings([columns.text, ...columns.labels.slice(0, index)]).fields,
        output: { [label]: Schema.Literal(...values(label)) }
      }))
    ]))
    const program = Module.make(predictors, function*(m, input: Row) {
      const output: { [label: string]: string } = {}
      for (const label of columns.labels) Object.assign(output, yield* m[label]!({ ...input, ...output }))
      return output
    })
    return {
      program,
      metric: Metric.make((example: Example.Example<Row, Row>, output: Row) =>
        columns.labels.filter((label) => output[label] === example.labels[label]).length / columns.labels.length
      ),
      ...Example.split(examples, { train: 0.4, validation: 0.2, test: 0.4 }, {
        seed: 0,
        by: (example) => example.labels[columns.labels[0]!]!
      })
    }
  })
