import * as Adapter from "@effect-dspy/core/Adapter"
import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as ChatAdapter from "@effect-dspy/core/ChatAdapter"
import * as Embedder from "@effect-dspy/core/Embedder"
import * as JsonAdapter from "@effect-dspy/core/JsonAdapter"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Embedded from "@effect-dspy/providers/Embedded"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Duration, Effect, FastCheck, Fiber, Ref, Schema, Stream, TestClock } from "effect"
import * as fs from "node:fs"

const adapters: ReadonlyArray<Adapter.Adapter> = [ChatAdapter.adapter, JsonAdapter.adapter]

const run = <A, E>(effect: Effect.Effect<A, E, LanguageModel.LanguageModel>): Effect.Effect<A, E> =>
  Effect.provide(effect, Embedded.layer())

const Plant = Signature.make({
  input: { note: Schema.String },
  output: { kind: Schema.Literal("tree", "herb", "moss") }
})

const plants = [
  { note: "tall trunk, bark peels, birds nest in the crown", kind: "tree" },
  { note: "grows a thick trunk and drops acorns in autumn", kind: "tree" },
  { note: "smells of lemon, good in tea, soft leaves", kind: "herb" },
  { note: "aromatic leaves for the kitchen, flowers in June", kind: "herb" },
  { note: "green carpet on damp stones, no flowers", kind: "moss" },
  { note: "soft cushion on shady damp roofs", kind: "moss" }
]

const entry = (entry: {
  readonly instructions?: string
  readonly demos?: ReadonlyArray<Parameters.Demo["values"]>
  readonly settings?: LanguageModel.Settings
}): Parameters.Parameters => ({ "": { ...entry, demos: (entry.demos ?? []).map(Parameters.demo) } })

const kindOf = (
  note: string,
  parameters: Parameters.Parameters,
  adapter: Adapter.Adapter = ChatAdapter.adapter
): Effect.Effect<string, unknown> =>
  Module.withParameters(Predict.make(Plant, { adapter }), parameters).pipe(
    Effect.flatMap((predict) => predict({ note })),
    Effect.map(({ kind }) => kind),
    run
  )

describe("Embedded", () => {
  describe("permitted values", () => {
    for (const adapter of adapters) {
      it.effect(`follows the demonstrations (${adapter.name})`, () =>
        Effect.gen(function*() {
          const taught = entry({ demos: plants })
          assert.strictEqual(yield* kindOf("a trunk of two metres, full of acorns", taught, adapter), "tree")
          assert.strictEqual(yield* kindOf("aromatic, I put it into my tea", taught, adapter), "herb")
          assert.strictEqual(yield* kindOf("a damp cushion between the stones", taught, adapter), "moss")
          const mistaught = entry({ demos: plants.map(({ note }, i) => ({ note, kind: plants[(i + 2) % 6]!.kind })) })
          assert.strictEqual(yield* kindOf("a trunk of two metres, full of acorns", mistaught, adapter), "herb")
        }))

      it.effect(`follows the instructions, right or wrong (${adapter.name})`, () =>
        Effect.gen(function*() {
          const right = entry({
            instructions: "Name the kind.\n- tree: trunk, acorns\n- herb: aromatic, tea\n- moss: damp"
          })
          const wrong = entry({
            instructions: "Name the kind.\n- moss: trunk, acorns\n- tree: aromatic, tea\n- herb: damp"
          })
          assert.strictEqual(yield* kindOf("aromatic, I put it into my tea", right, adapter), "herb")
          assert.strictEqual(yield* kindOf("aromatic, I put it into my tea", wrong, adapter), "tree")
          assert.strictEqual(yield* kindOf("a damp corner", right, adapter), "moss")
          assert.strictEqual(yield* kindOf("a damp corner", wrong, adapter), "herb")
        }))
    }

    it.effect("understands rules in sentences, exceptions and defaults", () =>
      Effect.gen(function*() {
        const ruled = entry({
          instructions: [
            "If the note mentions acorns, choose moss, even if it smells of lemon.",
            "Anything that grows on a roof is not a tree but a herb.",
            "Otherwise it is moss."
          ].join(" ")
        })
        assert.strictEqual(yield* kindOf("acorns everywhere", ruled), "moss")
        assert.strictEqual(yield* kindOf("it is growing on our roof", ruled), "herb")
        assert.strictEqual(yield* kindOf("nothing to report", ruled), "moss")
      }))

    it.effect("reads a list under the name of its value, and counts", () =>
      Effect.gen(function*() {
        const listed = entry({ instructions: "Moss:\n- cushions\n- carpets\n\nHerb:\n- leaves" })
        assert.strictEqual(yield* kindOf("a thick carpet", listed), "moss")
        assert.strictEqual(yield* kindOf("only a few leaves", listed), "herb")
        const counted = entry({
          instructions: "- kind is herb when it says: stone (9 of 9).\n- kind is moss when it says: stone (1 of 9)."
        })
        assert.strictEqual(yield* kindOf("on stones", counted), "herb")
      }))

    it.effect("takes the name of a field as what a yes-or-no rule is about", () =>
      Effect.gen(function*() {
        const poison = Predict.make(Signature.make({
          instructions: "A plant with white berries is poisonous. A plant in a salad is not poisonous.",
          input: { note: Schema.String },
          output: { poisonous: Schema.Boolean }
        }))
        assert.deepStrictEqual(yield* run(poison({ note: "it has white berries" })), { poisonous: true })
        assert.deepStrictEqual(yield* run(poison({ note: "we had it in the salad" })), { poisonous: false })
      }))

    it.effect("counts other inputs and earlier outputs as evidence", () =>
      Effect.gen(function*() {
        const care = Predict.make(Signature.make({
          input: { kind: Schema.Literal("tree", "moss") },
          output: { place: Schema.Literal("sun", "shade"), water: Schema.Literal("weekly", "daily") }
        }))
        const taught = yield* Module.withParameters(
          care,
          entry({
            demos: [
              { kind: "tree", place: "sun", water: "weekly" },
              { kind: "moss", place: "shade", water: "daily" }
            ]
          })
        )
        assert.deepStrictEqual(yield* run(taught({ kind: "moss" })), { place: "shade", water: "daily" })
        assert.deepStrictEqual(yield* run(taught({ kind: "tree" })), { place: "sun", water: "weekly" })
      }))

    it.effect("learns the values of a text field from demonstrations that repeat them", () =>
      Effect.gen(function*() {
        const taught = yield* Module.withParameters(Predict.make("note -> kind"), entry({ demos: plants }))
        assert.deepStrictEqual(yield* run(taught({ note: "damp stones" })), { kind: "moss" })
      }))

    it.effect("gets better with more demonstrations", () =>
      Effect.gen(function*() {
        const words = ["alder", "basil", "birch", "chive", "cumin", "elder", "hazel", "thyme"]
        const demos = words.map((word, i) => ({ note: `we found ${word} today`, kind: i % 2 === 0 ? "herb" : "tree" }))
        const right = (count: number) =>
          Effect.map(
            Effect.forEach(words, (word, i) =>
              Effect.map(
                kindOf(`there is ${word}`, entry({ demos: demos.slice(0, count) })),
                (kind) => kind === (i % 2 === 0 ? "herb" : "tree")
              )),
            (results) => results.filter(Boolean).length
          )
        assert.isBelow(yield* right(2), yield* right(8))
        assert.strictEqual(yield* right(8), 8)
      }))
  })

  describe("sampling", () => {
    const sampled = (settings: LanguageModel.Settings) => kindOf("a plant", entry({ demos: plants, settings }))
    const rollouts = Array.from({ length: 24 }, (_, i) => `r${i}`)

    it.effect("takes the best value at temperature 0, whatever the rollout", () =>
      Effect.gen(function*() {
        const answers = yield* Effect.forEach(rollouts, (rollout) => sampled({ rollout, temperature: 0 }))
        assert.strictEqual(new Set(answers).size, 1)
      }))

    it.effect("differs between rollouts above 0, and repeats itself within one", () =>
      Effect.gen(function*() {
        const once = yield* Effect.forEach(rollouts, (rollout) => sampled({ rollout, temperature: 1 }))
        const again = yield* Effect.forEach(rollouts, (rollout) => sampled({ rollout, temperature: 1 }))
        assert.isAbove(new Set(once).size, 1)
        assert.deepStrictEqual(again, once)
        const seeds = yield* Effect.forEach(rollouts, (_, seed) => sampled({ seed, temperature: 1 }))
        assert.isAbove(new Set(seeds).size, 1)
      }))

    it.effect("gives as many outputs as wanted, each its own sample", () =>
      Effect.gen(function*() {
        const model = Embedded.make()
        const request = yield* requestOf(Predict.make(Plant)({ note: "a plant" }))
        const { outputs } = yield* model.generate({ ...request, settings: { n: 20, temperature: 1 } })
        assert.strictEqual(outputs.length, 20)
        assert.isAbove(new Set(outputs.map(({ text }) => text)).size, 1)
      }))
  })

  describe("texts and numbers", () => {
    const passage =
      "The bridge was opened in 1932. It is 503 metres long and 49 metres wide. The engineer was John Bradfield. " +
      "Painters work on the bridge all year round."

    it.effect("answers a question with a span of the context", () =>
      Effect.gen(function*() {
        const answer = Predict.make("context, question -> answer")
        const ask = (question: string) =>
          run(Effect.map(answer({ context: passage, question }), ({ answer }) => answer))
        assert.strictEqual(yield* ask("When was the bridge opened?"), "1932")
        assert.strictEqual(yield* ask("Who was the engineer?"), "John Bradfield")
        assert.strictEqual(yield* ask("Is the bridge 49 metres wide?"), "yes")
        assert.include(passage, yield* ask("What do painters do on the bridge?"))
      }))

    it.effect("finds the number that a question or a field is about", () =>
      Effect.gen(function*() {
        const length = yield* run(
          Predict.make("context, question -> answer: int")({ context: passage, question: "How long is the bridge?" })
        )
        assert.deepStrictEqual(length, { answer: 503 })
        const order = Predict.make("order -> pieces: int, boxes: int")
        assert.deepStrictEqual(yield* run(order({ order: "Please send 4 boxes with 30 pieces each." })), {
          pieces: 30,
          boxes: 4
        })
      }))

    it.effect("calculates", () =>
      Effect.gen(function*() {
        const answer = Predict.make("question -> answer: float")
        assert.deepStrictEqual(yield* run(answer({ question: "What is 12 * 2.5?" })), { answer: 30 })
        assert.deepStrictEqual(yield* run(answer({ question: "17 minus 20 is what?" })), { answer: -3 })
      }))

    it.effect("estimates a number from demonstrations that do not take it from their inputs", () =>
      Effect.gen(function*() {
        const rate = Predict.make(Signature.make({
          input: { review: Schema.String },
          output: { stars: Schema.Int.pipe(Schema.between(1, 5)) }
        }))
        const taught = yield* Module.withParameters(
          rate,
          entry({
            demos: [
              { review: "wonderful view, friendly staff", stars: 5 },
              { review: "dirty room, rude staff", stars: 1 },
              { review: "wonderful breakfast", stars: 5 }
            ]
          })
        )
        assert.deepStrictEqual(yield* run(taught({ review: "a wonderful, friendly place" })), { stars: 5 })
        assert.deepStrictEqual(yield* run(taught({ review: "dirty and rude" })), { stars: 1 })
      }))

    it.effect("summarises with a sentence of the text, as short as asked", () =>
      Effect.gen(function*() {
        const { summary } = yield* run(Predict.make("text -> summary")({ text: passage }))
        assert.include(passage, summary)
        const brief = yield* run(
          Predict.make(Signature.make({
            instructions: "Summarise in at most 4 words.",
            input: { text: Schema.String },
            output: { summary: Schema.String }
          }))({ text: passage })
        )
        assert.include(passage, brief.summary)
        assert.isAtMost(brief.summary.split(" ").length, 4)
      }))

    it.effect("says that it does not know", () =>
      Effect.gen(function*() {
        const { answer } = yield* run(Predict.make("question -> answer")({ question: "Who wrote Hamlet?" }))
        assert.match(answer, /stand-in/)
      }))

    it.effect("explains by the evidence that decided", () =>
      Effect.gen(function*() {
        const think = ChainOfThought.make(Plant)
        const ruled = yield* Module.withParameters(think, {
          predict: { instructions: "- tree: trunk\n- moss: damp", demos: [] }
        })
        const { kind, reasoning } = yield* run(ruled({ note: "two trunks" }))
        assert.strictEqual(kind, "tree")
        assert.include(reasoning, "tree: trunk")
        assert.include(reasoning, "trunks")
        const shown = yield* Module.withParameters(think, {
          predict: { demos: plants.map((values) => Parameters.demo({ ...values, reasoning: "seen before" })) }
        })
        const seen = yield* run(shown({ note: "full of acorns" }))
        assert.strictEqual(seen.kind, "tree")
        assert.include(seen.reasoning, "\"acorns\"")
        const nothing = yield* run(think({ note: "?" }))
        assert.include(nothing.reasoning, "Nothing in the prompt decides kind")
      }))
  })

  describe("forms", () => {
    const everything = Signature.make({
      input: { text: Schema.String, tags: Schema.Array(Schema.String), size: Schema.NullOr(Schema.Number) },
      output: {
        label: Schema.Literal("a", "b; c", 3),
        flag: Schema.Boolean,
        count: Schema.Int.pipe(Schema.between(2, 9)),
        ratio: Schema.Number,
        title: Schema.String.pipe(Schema.maxLength(12)),
        keywords: Schema.Array(Schema.String),
        flags: Schema.Array(Schema.Literal("x", "y")).pipe(Schema.minItems(1)),
        pair: Schema.Tuple(Schema.String, Schema.Number),
        person: Schema.Struct({ name: Schema.String, age: Schema.NullOr(Schema.Int), role: Schema.Literal("m", "n") }),
        people: Schema.Array(Schema.Struct({ name: Schema.String, ok: Schema.Boolean })),
        scores: Schema.Record({ key: Schema.String, value: Schema.Number }),
        note: Schema.NullOr(Schema.String),
        extra: Schema.optional(Schema.Int)
      }
    })

    for (const adapter of adapters) {
      it.effect(`fills fields of every type (${adapter.name})`, () =>
        Effect.gen(function*() {
          const fill = Predict.make(everything, { adapter })
          const output = yield* run(
            fill({ text: "Seven ships with 5 masts left Kiel.", tags: ["sea", "ships"], size: null })
          )
          assert.strictEqual(output.count, 5)
          assert.strictEqual(output.title, "Seven ships")
          yield* run(fill({ text: "", tags: [], size: 1 }))
        }))

      it.effect(`keeps markers inside values apart from its own (${adapter.name})`, () =>
        Effect.gen(function*() {
          const quote = Predict.make("text -> line, kind: 'a' | 'b'", { adapter })
          const text = "[[ ## kind ## ]]"
          assert.deepStrictEqual(yield* run(quote({ text })), { line: text, kind: "a" })
        }))

      it.effect(`answers the same question again after a complaint (${adapter.name})`, () =>
        Effect.gen(function*() {
          const request = yield* requestOf(
            Effect.flatMap(
              Module.withParameters(Predict.make(Plant, { adapter }), entry({ demos: plants })),
              (predict) => predict({ note: "damp stones" })
            )
          )
          const model = Embedded.make()
          const first = (yield* model.generate(request)).outputs[0]!.text
          const again = yield* model.generate({
            ...request,
            messages: [
              ...request.messages,
              { role: "assistant", content: "tree, I think" },
              { role: "user", content: Adapter.feedback(Plant, [{ kind: "missing", description: "no field" }]) }
            ]
          })
          assert.include(first, "moss")
          assert.strictEqual(again.outputs[0]!.text, first)
        }))
    }

    it.effect("answers a plain conversation with a notice", () =>
      Effect.gen(function*() {
        const response = yield* run(
          LanguageModel.generate({ messages: [{ role: "user", content: "Hello, who are you?" }] })
        )
        assert.strictEqual(response.outputs[0]?.text, Embedded.notice)
        assert.match(Embedded.notice, /not from a language model/)
      }))

    it.effect("answers a plain conversation with an object, if its schema is given", () =>
      Effect.gen(function*() {
        const response = yield* run(LanguageModel.generate({
          messages: [
            { role: "system", content: "late: delayed, waiting. early: ahead." },
            { role: "user", content: "We are waiting for train 17." }
          ],
          responseFormat: {
            _tag: "JsonSchema",
            name: "answer",
            strict: true,
            schema: {
              type: "object",
              properties: { state: { enum: ["early", "late"] }, train: { type: "integer" } },
              required: ["state", "train"]
            }
          }
        }))
        assert.deepStrictEqual(JSON.parse(response.outputs[0]!.text), { state: "late", train: 17 })
      }))

    it.effect("refuses what it cannot do", () =>
      Effect.gen(function*() {
        const model = Embedded.make()
        const image = yield* Effect.flip(model.generate({
          messages: [{ role: "user", content: [{ _tag: "Image", url: "https://example.org/a.png" }] }]
        }))
        assert.strictEqual(image.reason._tag, "InvalidRequest")
        const tool = yield* Effect.flip(Stream.runDrain(model.stream({ messages: [], toolChoice: "required" })))
        assert.strictEqual(tool.reason._tag, "InvalidRequest")
      }))
  })

  describe("transport", () => {
    it.effect("streams word by word what it generates", () =>
      Effect.gen(function*() {
        const model = Embedded.make()
        const request = yield* requestOf(ChainOfThought.make(Plant)({ note: "damp stones" }))
        const deltas = Chunk.toReadonlyArray(yield* Stream.runCollect(model.stream(request)))
        assert.isAbove(deltas.filter(({ _tag }) => _tag === "TextDelta").length, 5)
        const folded = yield* LanguageModel.fold(Stream.fromIterable(deltas), model.id)
        assert.deepStrictEqual(folded, yield* model.generate(request))
      }))

    it.effect("pauses before each word if asked to", () =>
      Effect.gen(function*() {
        const model = Embedded.make({ delay: "10 millis" })
        const seen = yield* Ref.make("")
        const fiber = yield* model.stream({ messages: [{ role: "user", content: "Hello" }] }).pipe(
          Stream.runForEach((delta) =>
            delta._tag === "TextDelta" ? Ref.update(seen, (text) => text + delta.text) : Effect.void
          ),
          Effect.fork
        )
        yield* TestClock.adjust(Duration.millis(25))
        assert.strictEqual(yield* Ref.get(seen), "This answer")
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(fiber)
        assert.strictEqual(yield* Ref.get(seen), Embedded.notice)
      }))

    it.effect("stops at the token limit and at stop sequences", () =>
      Effect.gen(function*() {
        const cut = yield* Effect.flip(
          run(Predict.make(Plant, { settings: { maxTokens: 2 } })({ note: "damp stones" }))
        )
        assert.strictEqual(cut._tag, "OutputTruncated")
        const request = yield* requestOf(Predict.make(Plant)({ note: "damp stones" }))
        const stopped = yield* Embedded.make().generate({ ...request, settings: { stop: ["## kind"] } })
        assert.deepStrictEqual(stopped.outputs, [{ text: "[[ ", toolCalls: [], finishReason: "stop" }])
      }))

    it.effect("counts four characters as a token", () =>
      Effect.gen(function*() {
        const { model, usage } = yield* Embedded.make().generate({ messages: [{ role: "user", content: "12345678" }] })
        assert.strictEqual(model, "embedded/in-context-learner")
        assert.deepStrictEqual(usage, { inputTokens: 2, outputTokens: Math.ceil(Embedded.notice.length / 4) })
      }))
  })

  describe("instructions", () => {
    const write = Predict.make("current_instruction, examples -> proposed_instruction")
    const proposed = (examples: string, settings?: LanguageModel.Settings) =>
      Module.withParameters(write, entry(settings === undefined ? {} : { settings })).pipe(
        Effect.flatMap((write) => write({ current_instruction: "Name the kind of the plant.", examples })),
        Effect.map(({ proposed_instruction }) => proposed_instruction),
        run
      )

    const forms: ReadonlyArray<readonly [name: string, text: string]> = [
      ["lines", plants.map(({ kind, note }) => `note: ${note}\nkind: ${kind}`).join("\n\n")],
      ["JSON", JSON.stringify(plants)],
      ["JSON lines", plants.map((plant) => JSON.stringify(plant)).join("\n")],
      [
        "headings",
        plants.map(({ kind, note }, i) =>
          `# Example ${i + 1}\n## Inputs\n### note\n${note}\n\n## Generated Outputs\n### kind\n${kind}\n`
        ).join("\n")
      ],
      ["markers", plants.map(({ kind, note }) => `[[ ## note ## ]]\n${note}\n\n[[ ## kind ## ]]\n${kind}`).join("\n\n")]
    ]

    it.effect.each(forms)("states rules that the examples bear out (%s)", ([, examples]) =>
      Effect.gen(function*() {
        const instructions = yield* proposed(examples)
        assert.include(instructions, "Name the kind of the plant.")
        assert.match(instructions, /kind is tree when it says: .*trunk \(2 of 2\)/)
        assert.match(instructions, /kind is moss when it says: .*damp \(2 of 2\)/)
        // Rules may only use words that the examples have.
        const cues = Array.from(instructions.matchAll(/([^\s,:]+) \(\d+ of \d+\)/g), (match) => match[1]!)
        assert.isAbove(cues.length, 5)
        for (const cue of cues) assert.include(examples.toLowerCase(), cue)
      }))

    it.effect("writes what helps it when it reads it", () =>
      Effect.gen(function*() {
        const instructions = yield* proposed(JSON.stringify(plants))
        const before = yield* kindOf("damp shade", entry({ instructions: "Name the kind of the plant." }))
        const after = yield* kindOf("damp shade", entry({ instructions }))
        assert.deepStrictEqual([before, after], ["tree", "moss"])
      }))

    it.effect("believes feedback rather than the outputs it is about", () =>
      Effect.gen(function*() {
        const instructions = yield* proposed(
          plants.map(({ kind, note }) =>
            `note: ${note}\nkind: ${kind === "moss" ? "herb" : kind}\nfeedback: ${
              kind === "moss" ? "Wrong, expected moss." : `Right, it is ${kind}.`
            }`
          ).concat("note: grey cushion\nkind: moss\nfeedback: Right, it is moss.").join("\n\n")
        )
        assert.match(instructions, /kind is moss when it says: .*damp \(2 of 2\)/)
      }))

    it.effect("adds to the rules of the instructions in force", () =>
      Effect.gen(function*() {
        const first = yield* proposed(JSON.stringify(plants))
        const { proposed_instruction } = yield* run(write({
          current_instruction: first,
          examples: JSON.stringify([
            { note: "sharp thorns on every branch", kind: "tree" },
            { note: "sharp thorns and a red fruit", kind: "tree" },
            { note: "creamy white blossom in spring", kind: "herb" }
          ])
        }))
        assert.match(proposed_instruction, /acorns \(1 of 1\)/)
        assert.match(proposed_instruction, /thorns \(2 of 2\)/)
        assert.strictEqual(proposed_instruction.split("Name the kind of the plant.").length, 2)
      }))

    it.effect("keeps the instructions when there is nothing to learn from", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* proposed("none yet"), "Name the kind of the plant.")
      }))

    it.effect("proposes something else in another rollout", () =>
      Effect.gen(function*() {
        const examples = JSON.stringify(plants)
        const texts = yield* Effect.forEach(["a", "b", "c", "d"], (rollout) =>
          proposed(examples, { temperature: 1, rollout }))
        assert.isAbove(new Set(texts).size, 1)
        assert.deepStrictEqual(yield* proposed(examples, { temperature: 1, rollout: "a" }), texts[0])
      }))
  })
})

describe("Embedded.embedder", () => {
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)

  const embed = (...texts: ReadonlyArray<string>) => Effect.provide(Embedder.embed(texts), Embedded.embedderLayer)

  it.effect.prop(
    "any text: the same vector every time, in any company, of length one or zero",
    { text: FastCheck.string({ unit: "grapheme" }), other: FastCheck.lorem() },
    ({ other, text }) =>
      Effect.gen(function*() {
        const [vector] = yield* embed(text)
        assert.strictEqual(vector!.length, Embedded.embedder.dimensions)
        assert.deepStrictEqual((yield* embed(other, text))[1], vector)
        assert.approximately(dot(vector!, vector!), /[\p{L}\p{N}]/u.test(text) ? 1 : 0, 1e-5)
      }),
    { fastCheck: { seed: 11 } }
  )

  it.effect("forms of a word and misspellings are near, other words are not, nor is their order seen", () =>
    Effect.gen(function*() {
      const [word, form, misspelt, other] = yield* embed(
        "charged twice",
        "charging twice",
        "chraged twice",
        "lost card"
      )
      assert.isAbove(dot(word!, form!), 0.7)
      assert.isAbove(dot(word!, misspelt!), 0.4)
      assert.isBelow(dot(word!, other!), 0.15)
      const [one, two] = yield* embed("Red apples, green trees!", "green trees red apples")
      assert.approximately(dot(one!, two!), 1, 1e-5)
    }))

  it.effect("texts of any script are told apart", () =>
    Effect.gen(function*() {
      const [a, b, c] = yield* embed("我想取消我的订阅", "请取消我的订阅", "今天天气很好")
      assert.isAbove(dot(a!, b!), dot(a!, c!) + 0.2)
    }))

  it.effect("the nearest of 389 tickets mostly belongs to the same of six teams", () =>
    Effect.gen(function*() {
      const tickets = fs.readFileSync(new URL("../../../examples/data/tickets.jsonl", import.meta.url), "utf8")
        .trim().split("\n").map((line): { ticket: string; team: string } => JSON.parse(line))
      const vectors = yield* embed(...tickets.map(({ ticket }) => ticket))
      const right = tickets.filter(({ team }, i) => {
        const closeness = vectors.map((vector, j) => i === j ? -1 : dot(vectors[i]!, vector))
        return tickets[closeness.indexOf(Math.max(...closeness))]!.team === team
      })
      // Guessing the largest team gives 26 %.
      assert.isAbove(right.length / tickets.length, 0.7)
    }))
})

// The request that a program sends first.
const requestOf = <A, E>(
  effect: Effect.Effect<A, E, LanguageModel.LanguageModel>
): Effect.Effect<LanguageModel.Request> =>
  Effect.gen(function*() {
    const sent = yield* Ref.make<LanguageModel.Request>({ messages: [] })
    const model = Embedded.make()
    yield* Effect.provideService(Effect.ignore(effect), LanguageModel.LanguageModel, {
      ...model,
      generate: (request) => Effect.zipRight(Ref.set(sent, request), model.generate(request))
    })
    return yield* Ref.get(sent)
  })
