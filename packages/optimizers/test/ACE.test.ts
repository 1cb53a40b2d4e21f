import * as Json from "@effect-dspy/core/Json"
import type * as LanguageModel from "@effect-dspy/core/LanguageModel"
import type { Metric } from "@effect-dspy/core/Metric"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as ACE from "@effect-dspy/optimizers/ACE"
import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Playbook from "@effect-dspy/optimizers/Playbook"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Option, Stream, TestClock } from "effect"
import { contract } from "./contract.ts"
import { boxOf, chance, examples, field, render, simulate, sort, textOf } from "./utilities.ts"

// A playbook says which box a kind of items belongs into, one bullet each.
const trainset = examples(24, 6)
const valset = examples(18, 6, 100)

const kindOf = (item: string): string => item.split("-")[0] ?? ""

const rule = (kind: string): string => `${kind}: ${boxOf(kind)}`

const metric: Metric<{ readonly item: string }, { readonly box: string }, { readonly box: string }> = (
  example,
  output
) =>
  Effect.succeed(
    output.box === example.labels.box
      ? { value: 1 }
      : { value: 0, feedback: `Not that. ${rule(kindOf(example.inputs.item))}` }
  )

const system = (request: LanguageModel.Request): string => textOf(request.messages[0])

const section = (request: LanguageModel.Request, name: string): string =>
  textOf(request.messages.at(-1)).split(`[[ ## ${name} ## ]]\n`)[1]?.split("\n\n[[ ## ")[0] ?? ""

const isReflection = (request: LanguageModel.Request): boolean => system(request).includes("`diagnosis`")
const isCuration = (request: LanguageModel.Request): boolean => system(request).includes("`operations`")
const isRun = (request: LanguageModel.Request): boolean => !isReflection(request) && !isCuration(request)

const reflecting = (fields: { readonly lesson?: string; readonly tags?: ReadonlyArray<Playbook.Tag> }): string =>
  render({
    diagnosis: "Somehow.",
    ...(fields.lesson === undefined ? undefined : { lesson: fields.lesson }),
    tags: JSON.stringify(fields.tags ?? [])
  })

const curating = (operations: ReadonlyArray<Playbook.Operation>): string =>
  render({ operations: JSON.stringify(operations) })

// The lesson is what the feedback says; the bullet of the kind is tagged by how it went.
const reflect = (request: LanguageModel.Request): string => {
  const run = section(request, "run")
  const kind = /item: (kind\d+)/.exec(run)?.[1] ?? ""
  const bullet = new RegExp(`\\[(b\\d+) [^\\]]*\\] ${kind}:`).exec(section(request, "playbook"))?.[1]
  const lesson = /Not that\. (.*)/.exec(run)?.[1]
  return reflecting({
    ...(lesson === undefined ? undefined : { lesson }),
    ...(bullet === undefined
      ? undefined
      : { tags: [{ id: bullet, tag: lesson === undefined ? "helpful" : "harmful" }] })
  })
}

const curate = (request: LanguageModel.Request): string => {
  const lessons: ReadonlyArray<string> = JSON.parse(section(request, "lessons").split("\n")[0] ?? "[]")
  return curating(lessons.slice(0, 2).map((text) => ({ op: "ADD", section: "Boxes", text })))
}

const solve = (request: LanguageModel.Request): string => {
  const kind = kindOf(field(textOf(request.messages.at(-1)), "item") ?? "")
  return render({ box: new RegExp(`\\] ${kind}: (box \\w+)`).exec(system(request))?.[1] ?? "none" })
}

const answer = (request: LanguageModel.Request): string =>
  isReflection(request) ? reflect(request) : isCuration(request) ? curate(request) : solve(request)

const run = <M, E, R>(events: Stream.Stream<Optimizer.OptimizerEvent<M>, E, R>) =>
  Effect.map(Stream.runCollect(events), (events) => {
    const all = Array.from(events)
    const of = <Tag extends Optimizer.OptimizerEvent<M>["_tag"]>(tag: Tag) =>
      all.filter((event): event is Extract<Optimizer.OptimizerEvent<M>, { readonly _tag: Tag }> => event._tag === tag)
    return { of, compiled: Option.getOrThrow(all.at(-1)!.best) }
  })

const withModel = (model: { readonly layer: ReturnType<typeof simulate>["layer"] }) => Effect.provide(model.layer)

const playbookOf = (compiled: Optimizer.Compiled<unknown>, path = ""): Playbook.Playbook =>
  Playbook.detach(compiled.parameters[path]?.instructions ?? "").playbook

const bullets = ({ sections }: Playbook.Playbook) => sections.flatMap(({ bullets }) => bullets)

const options = { trainset, valset, metric, batchSize: 6 }

describe("ACE", () => {
  it.effect("learns bullet by bullet, and leaves the instructions as they are", () =>
    Effect.gen(function*() {
      const { compiled, of } = yield* run(ACE.events(sort, options)).pipe(withModel(simulate({ answer })))
      assert.strictEqual(compiled.baseline.mean, 0)
      assert.isAtLeast(compiled.score.mean, 5 / 6)
      const { instructions, playbook } = Playbook.detach(compiled.parameters[""]?.instructions ?? "")
      assert.strictEqual(instructions, "From `item`, work out `box`.")
      assert.isTrue(bullets(playbook).every(({ text }) => text === rule(kindOf(text.replace(":", "-")))))
      // Each step builds on the one before it.
      const proposals = of("Proposal")
      assert.deepStrictEqual(proposals.map(({ parents }) => parents), [
        [],
        ...proposals.slice(1).map((_, index) => [index])
      ])
      assert.isTrue(bullets(playbook).some(({ helpful }) => helpful > 0))
    }))

  it.effect("reflects on each run of a batch with one playbook, and changes it once", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      yield* ACE.compile(sort, options).pipe(withModel(model))
      const asked = model.requests.filter((request) => !isRun(request))
      const first = asked.slice(0, 7)
      assert.deepStrictEqual(first.map(isCuration), [false, false, false, false, false, false, true])
      assert.isTrue(first.every((request) => section(request, "playbook") === ""))
      // Two bullets in each of three steps; in the fourth all is known.
      assert.strictEqual(asked.filter(isCuration).length, 3)
      // The second batch is run with what the first one taught.
      const second = asked.slice(7, 13).map((request) => section(request, "playbook"))
      assert.isTrue(second.every((text) => text === second[0] && text.includes("[b2 +0 -0]")))
    }))

  it.effect("keeps the best playbook, not the last", () =>
    Effect.gen(function*() {
      let curations = 0
      // From the third step on everything is forgotten.
      const forgetting = (request: LanguageModel.Request) => {
        if (!isCuration(request)) return answer(request)
        return ++curations < 3
          ? curate(request)
          : curating(bulletsIn(section(request, "playbook")).map((id) => ({ op: "REMOVE", id })))
      }
      const bulletsIn = (text: string) => Array.from(text.matchAll(/\[(b\d+)/g), ([, id]) => id!)
      const { compiled, of } = yield* run(ACE.events(sort, options)).pipe(withModel(simulate({ answer: forgetting })))
      assert.isAbove(of("Proposal").length, 3)
      assert.strictEqual(bullets(playbookOf(compiled)).length, 4)
      assert.strictEqual(compiled.candidates[0]?.index, 2)
    }))

  it.effect("tells every predictor", () =>
    Effect.gen(function*() {
      const two = Module.make(
        { first: Predict.make("item -> guess"), second: Predict.make("item, guess -> box") },
        function*(m, input: { readonly item: string }) {
          const { guess } = yield* m.first(input)
          return yield* m.second({ item: input.item, guess })
        }
      )
      const model = simulate({
        answer: (request) =>
          isRun(request) && system(request).includes("- `guess` (string)\n\nA field")
            ? render({ guess: "any" })
            : answer(request)
      })
      const compiled = yield* ACE.compile(two, options).pipe(withModel(model))
      assert.isAtLeast(compiled.score.mean, 0.5)
      assert.deepStrictEqual(playbookOf(compiled, "first"), playbookOf(compiled, "second"))
      const seen = section(model.requests.find(isReflection)!, "run")
      assert.match(seen, /Given to first:\nitem: kind\d-\d+\nAnswered:\nguess: any\nGiven to second:/)
      assert.match(seen, /Score: 0 of 1\nFeedback: Not that\. .*\nExpected: \{"box":"box \w{4}"\}/)
    }))

  it.effect("goes on where a compiled module is", () =>
    Effect.gen(function*() {
      const model = simulate({ answer })
      const first = yield* ACE.compile(sort, { ...options, trainset: trainset.slice(0, 6) }).pipe(withModel(model))
      const before = bullets(playbookOf(first))
      assert.strictEqual(before.length, 2)
      const second = yield* ACE.compile(first.module, options).pipe(withModel(model))
      const after = bullets(playbookOf(second))
      assert.deepStrictEqual(
        after.slice(0, 2).map(({ id, text }) => [id, text]),
        before.map(({ id, text }) => [id, text])
      )
      assert.deepStrictEqual(after.map(({ id }) => id), after.map((_, index) => `b${index + 1}`))
      assert.isAbove(after.length, 2)
      assert.strictEqual(second.baseline.mean, first.score.mean)
    }))

  it.effect("goes through the training set again from the best so far", () =>
    Effect.gen(function*() {
      const once = yield* ACE.compile(sort, { ...options, batchSize: 12 }).pipe(withModel(simulate({ answer })))
      const twice = yield* ACE.compile(sort, { ...options, batchSize: 12, maxEpochs: 2 }).pipe(
        withModel(simulate({ answer }))
      )
      assert.strictEqual(bullets(playbookOf(once)).length, 4)
      assert.strictEqual(bullets(playbookOf(twice)).length, 6)
    }))

  it.effect("asks for nothing where there is nothing to learn", () =>
    Effect.gen(function*() {
      const model = simulate({
        answer: (request) => render({ box: boxOf(kindOf(field(textOf(request.messages.at(-1)), "item") ?? "")) })
      })
      const compiled = yield* ACE.compile(sort, options).pipe(withModel(model))
      assert.isTrue(model.requests.every(isRun))
      assert.deepStrictEqual(compiled.parameters, { "": { demos: [] } })
    }))

  it.effect("does without answers that cannot be used", () =>
    Effect.gen(function*() {
      for (
        const useless of [
          (request: LanguageModel.Request) => isRun(request) ? solve(request) : "no field",
          (request: LanguageModel.Request) =>
            isCuration(request) ? curating([{ op: "UPDATE", id: "b9" }]) : answer(request)
        ]
      ) {
        const model = simulate({ answer: useless })
        const compiled = yield* ACE.compile(sort, options).pipe(withModel(model))
        assert.deepStrictEqual(compiled.parameters, { "": { demos: [] } })
        assert.strictEqual(compiled.spend.calls, model.requests.length)
      }
    }))

  it.effect("runs no example twice with the same playbook", () =>
    Effect.gen(function*() {
      for (const data of [{ trainset, valset }, { trainset }]) {
        const model = simulate({ answer })
        yield* ACE.compile(sort, { ...options, valset: undefined, ...data }).pipe(withModel(model))
        const runs = model.requests.filter(isRun).map((request) => Json.hash(request))
        assert.strictEqual(new Set(runs).size, runs.length)
      }
    }))

  it.effect("finds as much when every fifth call fails", () =>
    Effect.gen(function*() {
      // Whoever curates knows everything from the first lesson on.
      const knowing = (request: LanguageModel.Request) =>
        isCuration(request)
          ? curating([0, 1, 2, 3, 4, 5].map((kind) => ({ op: "ADD", section: "Boxes", text: rule(`kind${kind}`) })))
          : answer(request)
      for (let seed = 0; seed < 4; seed++) {
        const words = (fails: (hash: string) => boolean) =>
          ACE.compile(sort, { ...options, seed }).pipe(
            Effect.map((compiled) => bullets(playbookOf(compiled)).map(({ text }) => text)),
            withModel(simulate({ answer: knowing, fails }))
          )
        const sound = yield* words(() => false)
        assert.strictEqual(sound.length, 6)
        assert.deepStrictEqual(yield* words((hash) => chance(seed, hash) < 0.2), sound)
      }
    }))

  it.effect("does without what throws, and ends the run where nothing else comes of it", () =>
    Effect.gen(function*() {
      const reflecting = (throws: (reflection: number) => boolean) => {
        let reflections = 0
        const reflect = Module.map(ACE.modules.reflect, (reflection) => {
          if (throws(++reflections)) throw new Error("no word for it")
          return reflection
        })
        return ACE.compile(sort, { ...options, concurrency: 1, modules: { reflect } }).pipe(
          withModel(simulate({ answer }))
        )
      }
      const compiled = yield* reflecting((reflection) => reflection % 5 === 0)
      assert.isAbove(compiled.score.mean, compiled.baseline.mean)
      const error = yield* Effect.flip(reflecting(() => true))
      assert.strictEqual(error._tag, "TooManyFailures")
      assert.include(error.message, "questions to the prompt model failed")
      assert.include(error.message, "it threw: no word for it")
    }))

  it.effect("takes the time of what must wait for each other", () =>
    Effect.gen(function*() {
      const model = simulate({ answer, latency: () => Effect.sleep("1 second") })
      const begun = yield* Clock.currentTimeMillis
      const compiling = yield* Effect.fork(
        ACE.compile(sort, { ...options, concurrency: 1000 }).pipe(withModel(model))
      )
      yield* Effect.repeat(TestClock.adjust("1 second"), { until: () => compiling.unsafePoll() !== null, times: 100 })
      // As given; four times a batch, what it teaches, and what is made of it; two rounds of the race.
      assert.isAtMost(((yield* Clock.currentTimeMillis) - begun) / 1000, 1 + 4 * 3 + 3)
    }))

  it.effect("refuses what makes no sense", () =>
    Effect.gen(function*() {
      for (const option of ["maxEpochs", "batchSize", "maxSectionSize"]) {
        const error = yield* ACE.compile(sort, { ...options, [option]: 0 }).pipe(
          withModel(simulate({ answer })),
          Effect.flip
        )
        assert.strictEqual(error.message, `${option} must be a whole number of at least 1, not 0`)
      }
    }))
})

contract("ACE", {
  events: (given) =>
    ACE.events(sort, { trainset: examples(9, 3), valset: examples(8, 3, 100), metric, batchSize: 3, ...given }),
  answer,
  budgets: [9, 14, 20, 30],
  seeds: 5,
  stride: 2
})
