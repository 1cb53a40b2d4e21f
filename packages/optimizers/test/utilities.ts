import * as Example from "@effect-dspy/core/Example"
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Predict from "@effect-dspy/core/Predict"
import { Effect, Layer } from "effect"

// -----------------------------------------------------------------------------
// A task that has to be learnt from demonstrations
// -----------------------------------------------------------------------------

export const sort = Predict.make("item -> box")

/** Items are `<kind>-<number>`; the box of a kind can only be known from a demonstration. */
export const examples = (count: number, kinds: number, from = 0) =>
  Array.from({ length: count }, (_, index) => {
    const number = from + index
    const kind = `kind${number % kinds}`
    return Example.make({ inputs: { item: `${kind}-${number}` }, labels: { box: boxOf(kind) } })
  })

export const boxOf = (kind: string): string => `box ${Json.hash(kind).slice(0, 4)}`

export const exact: Metric<unknown, { readonly box: string }, { readonly box: string }> = (example, output) =>
  Effect.succeed({ value: output.box === example.labels.box ? 1 : 0 })

// -----------------------------------------------------------------------------
// A model that answers from what it is shown, and from nothing else
// -----------------------------------------------------------------------------

export const textOf = (message: LanguageModel.Message | undefined): string =>
  typeof message?.content === "string" ? message.content : ""

export const field = (text: string, name: string): string | undefined =>
  new RegExp(`^\\[\\[ ## ${name} ## \\]\\]\\n([^\\n]*)`, "m").exec(text)?.[1]

export const render = (fields: { readonly [name: string]: string }): string =>
  [...Object.entries(fields).map(([name, value]) => `[[ ## ${name} ## ]]\n${value}`), "[[ ## completed ## ]]"].join(
    "\n\n"
  )

/** The demonstrations of a request, in their order. */
export const shown = (request: LanguageModel.Request) => {
  const turns = request.messages.filter(({ role }) => role !== "system")
  return Array.from({ length: Math.floor(turns.length / 2) }, (_, index) => ({
    asked: textOf(turns[2 * index]),
    answered: textOf(turns[2 * index + 1])
  }))
}

/** Knows the boxes of demonstrated kinds, and some of the others by luck. */
export const learner = (request: LanguageModel.Request): string => {
  const item = field(textOf(request.messages.at(-1)), "item") ?? ""
  const kind = item.split("-")[0] ?? ""
  const like = shown(request).findLast(({ asked }) => field(asked, "item")?.startsWith(`${kind}-`))
  if (like !== undefined) return render({ box: field(like.answered, "box") ?? "none" })
  const chance = parseInt(Json.hash([item, request.settings?.rollout ?? null]).slice(0, 4), 16) % 10
  return render({ box: chance < 3 ? boxOf(kind) : "a box" })
}

export interface Simulated {
  readonly layer: Layer.Layer<LanguageModel.LanguageModel>
  /** Every request that was answered or failed, by its hash. */
  readonly requests: Array<LanguageModel.Request>
  /** How many calls are under way, and how many were at most. */
  readonly load: { now: number; most: number }
}

export const simulate = (options: {
  readonly answer?: ((request: LanguageModel.Request) => string) | undefined
  readonly latency?: ((hash: string) => Effect.Effect<void>) | undefined
  readonly fails?: ((hash: string, request: LanguageModel.Request) => boolean) | undefined
  readonly id?: string | undefined
} = {}): Simulated => {
  const requests: Array<LanguageModel.Request> = []
  const load = { now: 0, most: 0 }
  const id = options.id ?? "test/learner"
  const generate = (request: LanguageModel.Request) =>
    Effect.suspend(() => {
      requests.push(request)
      const hash = Json.hash(request)
      load.most = Math.max(load.most, ++load.now)
      return Effect.ensuring(
        Effect.flatMap(options.latency?.(hash) ?? Effect.void, () =>
          options.fails?.(hash, request) === true
            ? Effect.fail(LanguageModelError.make({
              reason: new LanguageModelError.Overloaded({ description: "try later" }),
              provider: "test",
              model: id
            }))
            : Effect.succeed(
              LanguageModel.text((options.answer ?? learner)(request), id, {
                inputTokens: 100,
                outputTokens: 10,
                cost: 0.1
              })
            )),
        Effect.sync(() => {
          load.now--
        })
      )
    })
  return {
    requests,
    load,
    layer: Layer.succeed(LanguageModel.LanguageModel, LanguageModel.make({ id, generate }))
  }
}

/** Waits a number of turns that depends on the call and the seed, so that calls overtake each other. */
export const shuffled = (seed: number) => (hash: string): Effect.Effect<void> =>
  Effect.repeatN(Effect.yieldNow(), parseInt(Json.hash([seed, hash]).slice(0, 4), 16) % 40)

export const chance = (seed: number, hash: string): number =>
  parseInt(Json.hash([seed, hash]).slice(0, 8), 16) / 2 ** 32
