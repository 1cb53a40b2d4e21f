/** Both ways in which a ReAct asks for tools, and what its tests need of a model. */
import type * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Tool from "@effect-dspy/core/Tool"
import { Effect, Schema } from "effect"

export const add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: { a: Schema.Number, b: Schema.Number.annotations({ description: "the other one" }) },
  run: ({ a, b }) => Effect.succeed(a + b)
})

export const broken = Tool.make("broken", {
  description: "Never works.",
  parameters: {},
  run: () => Effect.fail("out of order")
})

// -----------------------------------------------------------------------------
// Both ways
// -----------------------------------------------------------------------------

interface Use {
  readonly name: string
  readonly arguments?: Json.JsonRecord | string
}

export interface Way {
  readonly toolCalls: "native" | "text"
  /** An answer that uses one tool. */
  readonly step: (name: string, args?: Json.JsonRecord, thought?: string) => TestLanguageModel.Answer
  /** An answer that cannot be read. */
  readonly unreadable: ReadonlyArray<TestLanguageModel.Answer>
}

export const calls = (uses: ReadonlyArray<Use>, thought = "hm"): TestLanguageModel.Answer =>
  TestLanguageModel.toolCalls(uses.map((use) => ({ arguments: {}, ...use })), thought)

export const native: Way = {
  toolCalls: "native",
  step: (name, args = {}, thought = "hm") => calls([{ name, arguments: args }], thought),
  unreadable: [TestLanguageModel.text("")]
}

export const text: Way = {
  toolCalls: "text",
  step: (name, args = {}, thought = "hm") =>
    TestLanguageModel.fields({ next_thought: thought, next_tool_name: name, next_tool_args: args }),
  // Not the fields, nor the JSON that is asked for then.
  unreadable: [TestLanguageModel.text("I had better think."), TestLanguageModel.text("I think.")]
}

export const done = TestLanguageModel.fields({ reasoning: "That is it.", answer: "done" })

export const ask = { question: "?" }

export const recording = (requests: Array<LanguageModel.Request>, answers: ReadonlyArray<TestLanguageModel.Step>) => {
  let next = 0
  return TestLanguageModel.layer((request) => {
    requests.push(request)
    return answers[next++] ?? TestLanguageModel.text("no more answers")
  })
}

export const contentOf = ({ content }: LanguageModel.Message): string =>
  typeof content === "string" ? content : content.map((part) => part._tag === "Text" ? part.text : part._tag).join("\n")

export const toldTo = (request: LanguageModel.Request | undefined) => String(request?.messages[0]?.content)

/** All that came after the system message. */
export const asked = (request: LanguageModel.Request | undefined) =>
  (request?.messages ?? []).slice(1).map(contentOf).join("\n---\n")
