/**
 * What the tests of response caches share: questions whose answers are known.
 */
import * as Json from "@effect-dspy/core/Json"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Effect from "effect/Effect"

export const requestOf = (n: number): LanguageModel.Request => ({
  messages: [{ role: "user", content: `question ${n}` }],
  settings: {}
})

/** About 4 KB that follow from the number, so that an answer can be told from any other. */
export const answerTo = (n: number): string => `answer ${n} ${Json.hash(n).repeat(64)}`

/** A model that gives these answers and counts how often it was asked. */
export const counted = () => {
  const state = { calls: 0 }
  const model = LanguageModel.make({
    id: "test/counted",
    generate: (request) =>
      Effect.sync(() => {
        state.calls++
        const n = Number(String(request.messages[0]?.content).split(" ")[1])
        return { ...LanguageModel.text(answerTo(n), "test/counted", { inputTokens: 3, cost: 0.5 }), requestId: `r${n}` }
      })
  })
  return { model, state }
}
