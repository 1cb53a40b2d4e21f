import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, FastCheck, Stream } from "effect"
import * as Bounds from "../src/Bounds.ts"
import { Answer } from "../src/internal/answer.ts"
import { Reader, type Target } from "../src/internal/chatCompletions.ts"
import { unknown } from "../src/internal/dialects.ts"
import { Splitter } from "../src/internal/thinkBlock.ts"
import * as OpenAiCompatible from "../src/OpenAiCompatible.ts"
import * as FaultServer from "./FaultServer.ts"

const joined = (pieces: ReadonlyArray<{ readonly reasoning: boolean; readonly text: string }>) => ({
  reasoning: pieces.map((piece) => piece.reasoning ? piece.text : "").join(""),
  text: pieces.map((piece) => piece.reasoning ? "" : piece.text).join("")
})

const split = (open: boolean, chunks: ReadonlyArray<string>) => {
  const splitter = new Splitter(open)
  const pieces = chunks.map((chunk) => splitter.push(chunk))
  return joined([...pieces.flat(), ...splitter.end()])
}

/** The same by looking at the whole text, as a regular expression sees it. */
const reference = (open: boolean, text: string) => {
  const block = /^\s*<think>([\s\S]*)$/.exec(text)?.[1] ?? (open ? text : undefined)
  if (block === undefined) return { reasoning: "", text }
  const close = block.indexOf("</think>")
  return close === -1
    // An unfinished tag is kept as it is: it may be all that the model said.
    ? { reasoning: block.trim(), text: "" }
    : { reasoning: block.slice(0, close).trim(), text: block.slice(close + "</think>".length).trimStart() }
}

const pieces = FastCheck.array(
  FastCheck.constantFrom("<think>", "</think>", "<", "</", "<th", "ink>", ">", "think", " ", "\n", "a", "Ω😀", "5 < 6"),
  { maxLength: 12 }
).map((parts) => parts.join(""))

const cuts = (text: string, at: ReadonlyArray<number>): ReadonlyArray<string> => {
  const ends = [...new Set(at.map((offset) => offset % (text.length + 1)))].sort((a, b) => a - b)
  return [...ends, text.length].map((end, i) => text.slice(i === 0 ? 0 : ends[i - 1], end))
}

describe("think blocks", () => {
  it.prop(
    "any text cut anywhere: what the whole text says",
    { text: pieces, at: FastCheck.array(FastCheck.nat(200), { maxLength: 12 }), open: FastCheck.boolean() },
    ({ at, open, text }) => {
      assert.deepStrictEqual(split(open, cuts(text, at)), reference(open, text))
      assert.deepStrictEqual(split(open, Array.from(text)), reference(open, text))
    },
    { fastCheck: { seed: 3, numRuns: 3000 } }
  )

  it("cases", () => {
    const cases: ReadonlyArray<readonly [text: string, open: boolean, reasoning: string, answer: string]> = [
      ["<think>\nTwo and two.\n</think>\n\nFour.", false, "Two and two.", "Four."],
      ["\n<think></think>Four.", false, "", "Four."],
      ["Four.", false, "", "Four."],
      ["  Four.\n", false, "", "  Four.\n"],
      ["Use <think> for thoughts</think>.", false, "", "Use <think> for thoughts</think>."],
      ["<thi", false, "", "<thi"],
      ["<think>it never ends, 5 </th", false, "it never ends, 5 </th", ""],
      ["Two and two.\n</think>\nFour.", true, "Two and two.", "Four."],
      ["<think>Two and two.</think>Four.", true, "Two and two.", "Four."],
      ["<think>a</think>b<think>c</think>", false, "a", "b<think>c</think>"]
    ]
    for (const [text, open, reasoning, answer] of cases) {
      assert.deepStrictEqual(split(open, [text]), { reasoning, text: answer }, text)
    }
  })

  it("gives what is sure at once", () => {
    const splitter = new Splitter(false)
    assert.deepStrictEqual(splitter.push("<think>Two"), [{ reasoning: true, text: "Two" }])
    assert.deepStrictEqual(splitter.push(" <"), [])
    assert.deepStrictEqual(splitter.push(" 3</thi"), [{ reasoning: true, text: " < 3" }])
    assert.deepStrictEqual(splitter.push("nk> F"), [{ reasoning: false, text: "F" }])
    assert.deepStrictEqual(splitter.push("our"), [{ reasoning: false, text: "our", logprobs: undefined }])
  })

  it("keeps the probabilities of the answer's tokens only", () => {
    const tokens = (text: string) => text.split("|").map((token) => ({ token, logprob: -1 }))
    const logprobs = (text: string) => {
      const splitter = new Splitter(false)
      return [...splitter.push(text.replaceAll("|", ""), tokens(text)), ...splitter.end()]
        .flatMap((piece) => piece.logprobs ?? []).map(({ token }) => token)
    }
    assert.deepStrictEqual(logprobs("<|think|>|Two|</|think|>\n|Fo|ur"), ["Fo", "ur"])
    assert.deepStrictEqual(logprobs("<|t|he| answer"), ["<", "t", "he", " answer"])
  })

  it("a flood of white space costs linear time", () => {
    const splitter = new Splitter(false)
    splitter.push("<think>x")
    for (let i = 0; i < 200_000; i++) splitter.push(" ")
    assert.deepStrictEqual(splitter.push("y"), [{ reasoning: true, text: `${" ".repeat(200_000)}y` }])
  })

  it("a stream cut at any byte says the same", () => {
    const text = "<think>\nΩ 😀 5 < 6\n</think>\n\nVier ist größer als 3."
    const bytes = FaultServer.bytes([
      ...(text.match(/.{1,3}/gsu) ?? []).map((content) =>
        FaultServer.event({ choices: [{ index: 0, delta: { content } }] })
      ),
      FaultServer.event({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })
    ].join(""))
    const target: Target = { model: "m", dialect: unknown, thinkBlock: "written" }
    for (let cut = 0; cut <= bytes.length; cut++) {
      const answer = new Answer({
        reader: new Reader(target, 1),
        requestId: undefined,
        announced: true,
        bounds: Bounds.make(),
        clean: (words) => words
      })
      const deltas: Array<LanguageModel.Delta> = []
      const reasons = [
        answer.push(bytes.subarray(0, cut), deltas),
        answer.push(bytes.subarray(cut), deltas),
        answer.end(deltas)
      ]
      assert.deepStrictEqual(reasons, [undefined, undefined, undefined])
      const folder = new LanguageModel.Folder()
      for (const delta of deltas) folder.add(delta)
      assert.deepInclude(folder.response?.outputs[0], { text: "Vier ist größer als 3.", reasoning: "Ω 😀 5 < 6" })
    }
  })

  it.live("of every output of a server, whole and streamed", () =>
    Effect.gen(function*() {
      const texts = ["<think>one</think>1", "two"]
      const frames = texts.flatMap((text, index) => [
        ...Array.from(text, (content) => ({ choices: [{ index, delta: { content } }] })),
        { choices: [{ index, delta: {}, finish_reason: "stop" }] }
      ])
      const server = yield* FaultServer.make((_, n) =>
        n === 0
          ? FaultServer.json(200, {
            choices: texts.map((content) => ({ message: { content }, finish_reason: "stop" }))
          })
          : FaultServer.sse(...frames.map(FaultServer.event), FaultServer.event("[DONE]"))
      )
      const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url, thinkBlock: "written" })
      const request: LanguageModel.Request = { messages: [{ role: "user", content: "?" }], settings: { n: 2 } }
      const outputs: ReadonlyArray<LanguageModel.Output> = [
        { text: "1", reasoning: "one", toolCalls: [], finishReason: "stop" },
        { text: "two", toolCalls: [], finishReason: "stop" }
      ]
      assert.deepStrictEqual((yield* model.generate(request)).outputs, outputs)
      const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(model.stream(request)))
      const folder = new LanguageModel.Folder()
      for (const delta of deltas) folder.add(delta)
      assert.deepStrictEqual(folder.response?.outputs, outputs)
      assert.isAbove(deltas.filter((delta) => delta._tag === "ReasoningDelta").length, 2)
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))

  it.live("what was held back is not lost when the model stops there", () =>
    Effect.gen(function*() {
      const server = yield* FaultServer.make(() =>
        FaultServer.sse(
          FaultServer.event({ choices: [{ index: 0, delta: { content: "<th" } }] }),
          FaultServer.event({ choices: [{ index: 0, delta: {}, finish_reason: "length" }] }),
          FaultServer.event("[DONE]")
        )
      )
      const model = yield* OpenAiCompatible.make({ model: "m", baseUrl: server.url, thinkBlock: "written" })
      const deltas = Chunk.toReadonlyArray(
        yield* Stream.runCollect(model.stream({ messages: [{ role: "user", content: "?" }] }))
      )
      assert.deepStrictEqual(deltas.slice(0, 2), [
        { _tag: "TextDelta", index: 0, text: "<th" },
        { _tag: "Finish", index: 0, reason: "length" }
      ])
    }).pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici)))
})
