/**
 * A question that a program answers: a model writes it, QuickJS runs it, and
 * what does not work is written again. Offline: the model is scripted, the
 * sandbox and the tool are real.
 *
 *     npx tsx examples/sandbox.ts
 */
import { ProgramOfThought, TestLanguageModel, Tool } from "@effect-dspy/core"
import { QuickJsSandbox } from "@effect-dspy/providers"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"

const rates: { readonly [currency: string]: number } = { EUR: 1, USD: 0.92, GBP: 1.17 }

const rateOf = Tool.make("rate_of", {
  description: "What one unit of a currency is worth in euros.",
  parameters: { currency: Schema.String.annotations({ description: "three letters" }) },
  run: ({ currency }) =>
    Object.hasOwn(rates, currency) ? Effect.succeed(rates[currency]) : Effect.fail(`there is no currency ${currency}`)
})

const account = ProgramOfThought.make("invoices: string[], question -> answer, total: number", {
  tools: [rateOf],
  sandbox: { timeout: "2 seconds" }
})

const written = (reasoning: string, generated_code: string) => TestLanguageModel.fields({ reasoning, generated_code })

// What a model would answer, one after the other. Its first program mistakes how a tool is called.
const Model = TestLanguageModel.layer([
  written(
    "Each amount has to be multiplied by the rate of its currency.",
    `
const parts = inputs.invoices.map((invoice) => invoice.split(" "))
let total = 0
for (const [amount, currency] of parts) total += Number(amount) * await rate_of(currency)
submit(total)`
  ),
  written(
    "The tool takes an object.",
    `
Here is the program:
\`\`\`js
const parts = inputs.invoices.map((invoice) => invoice.split(" "))
const euros = await Promise.all(
  parts.map(async ([amount, currency]) => Number(amount) * await rate_of({ currency }))
)
console.log("in euros:", euros)
submit(Math.round(100 * euros.reduce((a, b) => a + b)) / 100)
\`\`\``
  ),
  TestLanguageModel.fields({ reasoning: "The program has added them up.", answer: "€ 344.11", total: 344.11 })
])

const program = Effect.gen(function*() {
  const { answer, termination, total, trajectory } = yield* account({
    invoices: ["120.50 EUR", "80 USD", "128.21 GBP"],
    question: "What do the invoices amount to in euros?"
  })
  for (const { code, failed, observation } of trajectory) {
    yield* Console.log(`${code}\n${failed ? "! " : "> "}${observation}\n`)
  }
  yield* Console.log(`${answer} (${total}, ${termination})`)
})

program.pipe(Effect.provide(Layer.merge(Model, QuickJsSandbox.layer)), NodeRuntime.runMain)
