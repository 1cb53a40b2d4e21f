import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Proposer from "@effect-dspy/optimizers/Proposer"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import { boxOf, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

const question = (request: LanguageModel.Request): string => textOf(request.messages.at(-1))

/** The output field that a request asks for, without those of an ordinary predictor. */
const wanted = (request: LanguageModel.Request): string =>
  /Output fields:\n- `(\w+)`/.exec(textOf(request.messages[0]))?.[1] ?? ""

const answers: { readonly [field: string]: (request: LanguageModel.Request) => string } = {
  notes: () => JSON.stringify(["one box for each kind"]),
  summary: () => "Boxes go by kind.",
  description: () => "It sorts.",
  instructions: (request) => `Sort well, number ${request.settings?.rollout}.`
}

const writer = (request: LanguageModel.Request): string => {
  const name = wanted(request)
  return render({ [name]: answers[name]?.(request) ?? "?" })
}

type Simulation = typeof simulate extends (options?: infer O) => unknown ? NonNullable<O> : never

const record = (options: Simulation = {}) => {
  const { answer = writer, ...rest } = options
  const model = simulate({ answer, ...rest })
  return { model, of: (name: string) => model.requests.filter((request) => wanted(request) === name) }
}

const pipeline = Module.make(
  { kind: Predict.make("item -> kind"), box: Predict.make("kind -> box") },
  function*(m, input: { readonly item: string }) {
    return yield* m.box(yield* m.kind(input))
  }
)

const trainset = examples(40, 4)

const propose = (
  module: Module.Any,
  options: Proposer.Options & { readonly candidates?: number; readonly demos?: ReadonlyArray<Parameters.Demo> } = {}
) => {
  const { candidates = 3, demos = [], ...rest } = options
  return Effect.gen(function*() {
    const grounds = yield* Proposer.ground(module, trainset, Proposer.direct, rest)
    const written = yield* Proposer.instructions(
      module,
      { grounds, candidates, demos: () => demos },
      Proposer.direct,
      rest
    )
    return { grounds, written }
  })
}

describe("grounds", () => {
  it.effect("are notes on samples of ten, summarized, and a description of the program", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const grounds = yield* Proposer.ground(pipeline, trainset, Proposer.direct).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(grounds, {
        data: Option.some("Boxes go by kind."),
        purpose: Option.some("It sorts.")
      })
      assert.deepStrictEqual([of("notes"), of("summary"), of("description")].map(({ length }) => length), [4, 1, 1])
      // Every example is in one of the samples, with what is expected for it.
      const seen = of("notes").map(question).join("\n")
      for (const { inputs, labels } of trainset) {
        assert.include(seen, `item: ${inputs.item}\nExpected:\nbox: ${labels.box}`)
      }
      assert.include(
        question(of("summary")[0]!),
        JSON.stringify(Array.from({ length: 4 }, () => "one box for each kind"))
      )
      const described = question(of("description")[0]!)
      assert.include(described, "1. kind: item -> kind")
      assert.include(described, "2. box: kind -> box\n   Instructions: From `kind`, work out `box`.")
    }))

  it.effect("take two latencies, however much data there is", () =>
    Effect.gen(function*() {
      const { model } = record({ latency: () => Effect.sleep("1 second") })
      const fiber = yield* Proposer.ground(pipeline, examples(500, 4), Proposer.direct).pipe(
        Effect.provide(model.layer),
        Effect.fork
      )
      yield* TestClock.adjust("2 seconds")
      assert.isTrue(Option.isSome(yield* fiber.poll))
      // Ten samples, no more.
      assert.strictEqual(model.requests.length, 12)
    }))

  it.effect("do without samples that fail", () =>
    Effect.gen(function*() {
      const { model, of } = record({
        fails: (_, request) => wanted(request) === "notes" && question(request).includes("kind1-13")
      })
      const grounds = yield* Proposer.ground(pipeline, trainset, Proposer.direct).pipe(Effect.provide(model.layer))
      assert.isTrue(Option.isSome(grounds.data))
      assert.include(
        question(of("summary")[0]!),
        JSON.stringify(Array.from({ length: 3 }, () => "one box for each kind"))
      )
      const none = record({ fails: () => true })
      assert.deepStrictEqual(
        yield* Proposer.ground(pipeline, trainset, Proposer.direct).pipe(Effect.provide(none.model.layer)),
        { data: Option.none(), purpose: Option.none() }
      )
    }))

  it.effect("are not looked for where they are not wanted", () =>
    Effect.gen(function*() {
      const { model } = record()
      const off = { dataAwareProposer: false, programAwareProposer: false }
      yield* Proposer.ground(pipeline, trainset, Proposer.direct, off).pipe(Effect.provide(model.layer))
      assert.strictEqual(model.requests.length, 0)
      const told = { dataAwareProposer: false, programDescription: "It routes." }
      const grounds = yield* Proposer.ground(pipeline, trainset, Proposer.direct, told).pipe(
        Effect.provide(model.layer)
      )
      assert.deepStrictEqual(grounds, { data: Option.none(), purpose: Option.some("It routes.") })
      assert.strictEqual(model.requests.length, 0)
    }))
})

describe("instructions", () => {
  it.effect("are those of the program first, then new ones for each predictor", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const { written } = yield* propose(pipeline).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(Object.keys(written), ["kind", "box"])
      assert.strictEqual(written["kind"]![0], "From `item`, work out `kind`.")
      assert.strictEqual(written["box"]!.length, 3)
      assert.strictEqual(of("instructions").length, 4)
      assert.strictEqual(Proposer.calls(pipeline, trainset, 3), model.requests.length)
    }))

  it.effect("start from the parameters that the program has", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const tuned = yield* Module.withParameters(sort, { "": { instructions: "Sort now.", demos: [] } })
      const { written } = yield* propose(tuned, { candidates: 2 }).pipe(Effect.provide(model.layer))
      assert.strictEqual(written[""]![0], "Sort now.")
      assert.strictEqual(field(question(of("instructions")[0]!), "current"), "Sort now.")
    }))

  it.effect("are written from everything there is", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const demos = [Parameters.augmented({ item: "kind0-0", kind: "zero" })]
      yield* propose(pipeline, { demos, candidates: 8 }).pipe(Effect.provide(model.layer))
      const requests = of("instructions")
      for (const request of requests) {
        const text = question(request)
        assert.strictEqual(field(text, "purpose"), "It sorts.")
        assert.strictEqual(field(text, "data"), "Boxes go by kind.")
        assert.include(text, "[[ ## examples ## ]]\nitem: kind0-0\nkind: zero")
        assert.include(text, "1. kind: item -> kind")
        assert.strictEqual(request.settings?.temperature, 1)
      }
      assert.strictEqual(new Set(requests.map(({ settings }) => settings?.rollout)).size, requests.length)
      // Of fourteen draws from six tips, one of which is none.
      const drawn = new Set(requests.map((request) => field(question(request), "tip")))
      assert.isAbove(drawn.size, 3)
      for (const tip of drawn) assert.include(Object.values(Proposer.tips), tip)
    }))

  it.effect("are written from less where less is wanted", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      yield* propose(pipeline, {
        demos: [Parameters.demo({ item: "kind0-0", kind: "zero" })],
        dataAwareProposer: false,
        programAwareProposer: false,
        fewshotAwareProposer: false,
        tipAwareProposer: false,
        initTemperature: 0.5
      }).pipe(Effect.provide(model.layer))
      for (const request of of("instructions")) {
        const text = question(request)
        assert.deepStrictEqual(
          ["step", "current", "structure", "purpose", "data", "examples", "tip"].filter((name) =>
            text.includes(`[[ ## ${name} ## ]]`)
          ),
          ["step", "current"]
        )
        assert.strictEqual(request.settings?.temperature, 0.5)
      }
      assert.strictEqual(of("instructions").length, model.requests.length)
    }))

  it.effect("that fail, are empty or repeat others are left out", () =>
    Effect.gen(function*() {
      const texts = ["", "From `item`, work out `box`.", "Sort.", "\"Sort.\"", "Put it there."]
      let next = 0
      const { model } = record({
        answer: (request) =>
          wanted(request) === "instructions" ? render({ instructions: texts[next++]! }) : writer(request),
        fails: (_, request) => request.settings?.rollout?.endsWith("6") === true
      })
      const { written } = yield* propose(sort, { candidates: 7, concurrency: 1 }).pipe(Effect.provide(model.layer))
      assert.deepStrictEqual(written, { "": ["From `item`, work out `box`.", "Sort.", "Put it there."] })
    }))

  it.effect("are written by whatever module is given", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const write = Module.map(Predict.make("step -> text"), ({ text }) => ({ instructions: `!${text}` }))
      const { written } = yield* propose(sort, { candidates: 2, modules: { write } }).pipe(Effect.provide(model.layer))
      assert.strictEqual(of("text").length, 1)
      assert.deepStrictEqual(written[""]?.[1], "!?")
    }))

  it.effect("show as much of a long document as tells what it is like", () =>
    Effect.gen(function*() {
      const { model, of } = record()
      const long = "word ".repeat(5000)
      yield* propose(sort, { demos: [Parameters.augmented({ item: long, box: boxOf("a") })], candidates: 2 }).pipe(
        Effect.provide(model.layer)
      )
      assert.isBelow(question(of("instructions")[0]!).length, 4000)
    }))
})

describe("clean", () => {
  it("takes away what models put around a text", () => {
    const text = "Sort the item.\n\nName `box` only."
    const wrapped = [
      text,
      `  ${text}\n`,
      `"${text}"`,
      `“${text}”`,
      `\`\`\`\n${text}\n\`\`\``,
      `\`\`\`markdown\n${text}\n\`\`\``,
      `Here are the improved instructions:\n\n\`\`\`\n${text}\n\`\`\``,
      `Instructions: ${text}`,
      `New prompt: ${text}`,
      `**Instructions:** ${text}`,
      `## Proposed Instruction:\n${text}`,
      `Here are the instructions for the step: "${text}"`,
      `Instruction: \`\`\`\nInstructions: "${text}"\n\`\`\``
    ]
    for (const each of wrapped) assert.strictEqual(Proposer.clean(each), text, each)
  })

  it("leaves what belongs to the text", () => {
    const texts = [
      "\"a\" and \"b\" are boxes; so is \"c\"",
      "Follow the instructions: they are in `item`.",
      "Answer with:\n```json\n{}\n```\nand nothing else.",
      "'"
    ]
    for (const text of texts) assert.strictEqual(Proposer.clean(text), text)
  })
})
