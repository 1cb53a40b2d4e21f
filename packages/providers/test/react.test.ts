/**
 * ReAct over the wire: what a server is sent, round by round, and what is read of
 * its answers.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import * as ReAct from "@effect-dspy/core/ReAct"
import * as Tool from "@effect-dspy/core/Tool"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import * as Anthropic from "../src/Anthropic.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const weather = Tool.make("weather", {
  description: "The weather in a city.",
  parameters: { city: Schema.String, days: Schema.optional(Schema.Int) },
  run: ({ city }) => Effect.succeed(`sunny in ${city}`)
})

const advise = ReAct.make("question -> answer", { tools: [weather] })

const ask = { question: "Rome or Oslo?" }

const outputs = "[[ ## reasoning ## ]]\nso\n\n[[ ## answer ## ]]\nboth\n\n[[ ## completed ## ]]"

const openAi = (handler: Parameters<typeof FaultServer.make>[0]) =>
  Effect.gen(function*() {
    const server = yield* FaultServer.make(handler)
    const model = yield* OpenAiCompatible.make({
      model: "test-model",
      baseUrl: server.url,
      apiKey: Redacted.make("none")
    })
    return { server, model }
  })

const completion = (message: unknown, reason = "stop") =>
  FaultServer.json(200, {
    id: "1",
    model: "test-model",
    choices: [{ index: 0, message, finish_reason: reason }],
    usage: { prompt_tokens: 1, completion_tokens: 1 }
  })

const call = (id: string, name: string, args: string) => ({ id, type: "function", function: { name, arguments: args } })

const chunk = (delta: unknown, reason: string | null = null) =>
  FaultServer.event({ id: "1", model: "test-model", choices: [{ index: 0, delta, finish_reason: reason }] })

const definitions = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather in a city.",
      parameters: {
        type: "object",
        required: ["city"],
        properties: { city: { type: "string" }, days: { type: "integer", description: "an integer" } },
        additionalProperties: false
      }
    }
  },
  {
    type: "function",
    function: {
      name: "submit",
      description: "Gives the outputs, once all that is needed is known. That is the end of the rounds.",
      parameters: {
        type: "object",
        required: ["answer"],
        properties: { answer: { type: "string" } },
        additionalProperties: false
      }
    }
  }
]

const second = [
  {
    role: "assistant",
    content: "I look at both.",
    tool_calls: [call("a", "weather", `{"city":"Rome"}`), call("b", "weather", `{"city":"Oslo"}`)]
  },
  { role: "tool", content: "sunny in Rome", tool_call_id: "a" },
  { role: "tool", content: "sunny in Oslo", tool_call_id: "b" }
]

describe("ReAct over an OpenAI-compatible server", () => {
  it.live("sends the tools, then the calls with an answer to each", () =>
    Effect.gen(function*() {
      const { model, server } = yield* openAi((_, n) =>
        n === 0
          ? completion({
            content: "I look at both.",
            tool_calls: [call("a", "weather", `{"city":"Rome"}`), call("b", "weather", `{"city":"Oslo"}`)]
          }, "tool_calls")
          : completion({ content: "So it is.", tool_calls: [call("c", "submit", `{"answer":"both"}`)] }, "tool_calls")
      )
      const output = yield* Effect.provideService(advise(ask), LanguageModel.LanguageModel, model)
      assert.deepStrictEqual([output.answer, output.reasoning, output.termination], ["both", "So it is.", "submitted"])
      const [first, next, ...more] = server.requests.map(({ json }) => json)
      assert.deepStrictEqual(first.tools, definitions)
      assert.deepStrictEqual(first.messages.map(({ role }: { readonly role: string }) => role), ["system", "user"])
      assert.deepStrictEqual(next.messages, [...first.messages, ...second])
      assert.deepStrictEqual(next.tools, definitions)
      assert.lengthOf(more, 0)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("reads calls that arrive in pieces", () =>
    Effect.gen(function*() {
      const piece = (index: number, args: string, more: { readonly id?: string; readonly name?: string } = {}) => ({
        tool_calls: [{
          index,
          ...(more.id === undefined ? undefined : { id: more.id, type: "function" }),
          function: { ...(more.name === undefined ? undefined : { name: more.name }), arguments: args }
        }]
      })
      const { model, server } = yield* openAi((_, n) =>
        n === 0
          ? FaultServer.sse(
            chunk({ role: "assistant", content: "I look " }),
            chunk({ content: "at both." }),
            chunk(piece(0, "", { id: "a", name: "weather" })),
            chunk(piece(0, `{"city"`)),
            chunk(piece(0, `:"Rome"}`)),
            chunk(piece(1, `{"city":"O`, { id: "b", name: "weather" })),
            chunk(piece(1, `slo"}`)),
            chunk({}, "tool_calls"),
            FaultServer.event("[DONE]")
          )
          : n === 1
          ? FaultServer.sse(
            chunk({ role: "assistant", content: "Both are fine." }),
            chunk({}, "stop"),
            FaultServer.event("[DONE]")
          )
          : FaultServer.sse(chunk({ content: outputs }), chunk({}, "stop"), FaultServer.event("[DONE]"))
      )
      const heard: Array<string> = []
      const output = yield* advise(ask).pipe(
        ModuleEvent.listen({
          deltas: true,
          emit: (events) =>
            Effect.sync(() => {
              for (const event of events) {
                if (event._tag === "FieldDelta" && event.path === "react") heard.push(`${event.field}: ${event.text}`)
                if (event._tag === "ToolEnd") heard.push(event.observation)
              }
            })
        }),
        Effect.provideService(LanguageModel.LanguageModel, model)
      )
      assert.deepStrictEqual(output.trajectory.map(({ thought, tool }) => [tool, thought]), [
        ["weather", "I look at both."],
        ["weather", ""],
        ["finish", "Both are fine."]
      ])
      assert.deepStrictEqual(server.requests[1]?.json.messages.slice(2), second)
      assert.deepStrictEqual(heard, [
        "next_thought: I look ",
        "next_thought: at both.",
        "next_tool_name: weather",
        `next_tool_args: {"city"`,
        `next_tool_args: :"Rome"}`,
        "sunny in Rome",
        "sunny in Oslo",
        "next_thought: Both are fine."
      ])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("streams what is submitted as the outputs, while it arrives", () =>
    Effect.gen(function*() {
      const piece = (args: string, more: object = {}) => ({
        tool_calls: [{ index: 0, function: { arguments: args, ...more }, ...(args === "" ? { id: "a" } : {}) }]
      })
      const { model, server } = yield* openAi(() =>
        FaultServer.sse(
          chunk(piece("", { name: "submit" })),
          chunk(piece(`{"ans`)),
          chunk(piece(`wer":"bo`)),
          chunk(piece(`th"}`)),
          chunk({}, "tool_calls"),
          FaultServer.event("[DONE]")
        )
      )
      const heard: Array<string> = []
      const output = yield* advise(ask).pipe(
        ModuleEvent.listen({
          deltas: true,
          emit: (events) =>
            Effect.sync(() => {
              for (const event of events) {
                if (event._tag === "FieldDelta" && event.field === "answer") heard.push(`${event.path}: ${event.text}`)
              }
            })
        }),
        Effect.provideService(LanguageModel.LanguageModel, model)
      )
      assert.deepStrictEqual([output.answer, server.requests.length], ["both", 1])
      assert.deepStrictEqual(heard, ["extract.predict: bo", "extract.predict: th"])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("goes on after arguments that are not JSON, and a context that is full", () =>
    Effect.gen(function*() {
      const full = FaultServer.json(400, { error: { code: "context_length_exceeded", message: "too long" } })
      const one = (id: string, args: string) =>
        completion({ content: null, tool_calls: [call(id, "weather", args)] }, "tool_calls")
      const script = [
        one("a", `{"city":`),
        one("b", `{"city":"Rome"}`),
        full,
        completion({ content: "Rome." }),
        completion({ content: outputs })
      ]
      const { model, server } = yield* openAi((_, n) => script[n] ?? [])
      const output = yield* Effect.provideService(advise(ask), LanguageModel.LanguageModel, model)
      assert.deepStrictEqual(output.trajectory.map(({ observation }) => observation), [
        "It did not work. weather: these arguments do not fit: the JSON is not complete",
        "sunny in Rome",
        ""
      ])
      const sent = server.requests.map(({ json }) => json.messages.slice(2))
      assert.deepStrictEqual(sent[1].map(({ content }: { readonly content: unknown }) => content), [
        null,
        "It did not work. weather: these arguments do not fit: the JSON is not complete"
      ])
      // The oldest round was left out as a whole.
      assert.deepStrictEqual(
        sent.map((messages: ReadonlyArray<unknown>) => messages.length),
        [0, 2, 4, 2, 0]
      )
      assert.strictEqual(sent[3][1].tool_call_id, "b")
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})

describe("ReAct over the API of Anthropic", () => {
  it.live("repeats what the model thought with its calls, and answers them in one turn", () =>
    Effect.gen(function*() {
      const message = (content: ReadonlyArray<unknown>, reason: string) =>
        FaultServer.json(200, {
          id: "1",
          type: "message",
          role: "assistant",
          model: "claude",
          content,
          stop_reason: reason,
          usage: { input_tokens: 1, output_tokens: 1 }
        })
      const thinking = { type: "thinking", thinking: "Two cities.", signature: "s1" }
      const use = (id: string, city: string) => ({ type: "tool_use", id, name: "weather", input: { city } })
      const server = yield* FaultServer.make((_, n) =>
        n === 0
          ? message([thinking, use("a", "Rome"), use("b", "Oslo")], "tool_use")
          : n === 1
          ? message([{ type: "text", text: "Both." }], "end_turn")
          : message([{ type: "text", text: outputs }], "end_turn")
      )
      const model = yield* Anthropic.make({
        model: "claude",
        baseUrl: server.url,
        apiKey: Redacted.make("none")
      })
      const output = yield* Effect.provideService(advise(ask), LanguageModel.LanguageModel, model)
      assert.deepStrictEqual(output.trajectory.map(({ thought }) => thought), ["Two cities.", "", "Both."])
      const [, assistant, user] = server.requests[1]!.json.messages
      assert.deepStrictEqual(assistant.content[0], thinking)
      assert.deepInclude(assistant.content[1], use("a", "Rome"))
      assert.deepInclude(assistant.content[2], use("b", "Oslo"))
      const results = user.content.map((block: { readonly type: string; readonly tool_use_id: string }) => [
        block.type,
        block.tool_use_id
      ])
      assert.deepStrictEqual(results, [["tool_result", "a"], ["tool_result", "b"]])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})
