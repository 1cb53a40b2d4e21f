/**
 * The model of a world: one function from a prompt to an answer, and what is counted about it. It cannot know who calls it; what
 * it is to do it reads in the prompt.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hash } from "./chance.ts"
import { type Message, outputFields, remembered } from "./prompt.ts"
import * as solver from "./solver.ts"
import type { World } from "./World.ts"
import * as writer from "./writer.ts"

/** An answer to messages. Another `rollout` is another sample of the same prompt. */
export type Answer = (messages: ReadonlyArray<Message>, rollout?: string) => string

export const answerer = (world: World): Answer => {
  const solve = solver.make(world)
  const read = remembered((system) => {
    const fields = outputFields([{ role: "system", content: system }])
    const asked = fields.filter(({ name }) => name !== "reasoning")
    const step = asked.length === 1 ? world.steps.findIndex(({ field }) => field === asked[0]!.name) : -1
    return { fields, step, reasoning: fields.length > asked.length }
  })
  return (messages, rollout = "") => {
    const system = messages[0]?.role === "system" ? messages[0].content : ""
    const { fields, reasoning, step } = read(system)
    const sample = rollout === "" ? 0 : hash(rollout)
    return step === -1
      ? writer.answer(world, messages, fields, sample)
      : solve.answer(messages, step, sample, reasoning)
  }
}

export const tokens = (text: string): number => Math.ceil(text.length / 4)

/** What a model has had to do so far. `busy` is the time calls have taken, in milliseconds, all added up. */
export interface Meter {
  calls: number
  inputTokens: number
  outputTokens: number
  inFlight: number
  mostInFlight: number
  busy: number
}

export interface Model {
  readonly service: LanguageModel.Service
  readonly meter: Meter
}

const textOf = ({ content, role }: LanguageModel.Message): Message => ({
  role,
  content: typeof content === "string"
    ? content
    : content.map((part) => part._tag === "Text" ? part.text : "").join("")
})

export const make = (world: World, options: { readonly latency?: Duration.DurationInput | undefined } = {}): Model => {
  const id = `world/${world.kind.name}/${world.seed}`
  const answer = answerer(world)
  const meter: Meter = { calls: 0, inputTokens: 0, outputTokens: 0, inFlight: 0, mostInFlight: 0, busy: 0 }
  const respond = (request: LanguageModel.Request): LanguageModel.Response => {
    const messages = request.messages.map(textOf)
    // At temperature 0 there is but one answer. Without a temperature, samples differ if they are told apart.
    const rollout = request.settings?.temperature === 0 ? undefined : request.settings?.rollout
    const texts = Array.from(
      { length: request.settings?.n ?? 1 },
      (_, n) => answer(messages, n === 0 ? rollout : `${rollout ?? ""}#${n}`)
    )
    const usage = {
      inputTokens: messages.reduce((sum, { content }) => sum + tokens(content), 0),
      outputTokens: texts.reduce((sum, text) => sum + tokens(text), 0)
    }
    meter.calls++
    meter.inputTokens += usage.inputTokens
    meter.outputTokens += usage.outputTokens
    return {
      outputs: texts.map((text) => ({ text, toolCalls: [], finishReason: "stop" })),
      usage,
      model: id
    }
  }
  const { latency } = options
  const service = LanguageModel.make({
    id,
    capabilities: { multipleOutputs: true },
    generate: (request) =>
      latency === undefined ? Effect.sync(() => respond(request)) : Effect.suspend(() => {
        meter.mostInFlight = Math.max(meter.mostInFlight, ++meter.inFlight)
        const response = respond(request)
        return Effect.flatMap(Clock.currentTimeMillis, (start) =>
          Effect.sleep(latency).pipe(
            Effect.as(response),
            Effect.ensuring(Effect.map(Clock.currentTimeMillis, (end) => {
              meter.inFlight--
              meter.busy += end - start
            }))
          ))
      })
  })
  return { service, meter }
}
