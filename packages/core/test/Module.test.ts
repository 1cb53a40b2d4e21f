import * as ChainOfThought from "@effect-dspy/core/ChainOfThought"
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as ModuleEvent from "@effect-dspy/core/ModuleEvent"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as Predict from "@effect-dspy/core/Predict"
import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
import * as Trace from "@effect-dspy/core/Trace"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Either, Exit, Fiber, Layer, Logger, Random, Ref } from "effect"

const answer = Predict.make("question -> answer")

const content = (request: LanguageModel.Request): string =>
  request.messages.map((message) => typeof message.content === "string" ? message.content : "").join("\n")
    // without the field markers, so that it can be the value of a field
    .replaceAll("[[", "((")

// A model whose answer is the whole prompt it was shown.
const mirror = TestLanguageModel.layer((request: LanguageModel.Request) =>
  TestLanguageModel.fields({
    reasoning: "because",
    answer: content(request),
    query: content(request),
    reply: content(request)
  })
)

const instructed = (instructions: string): Parameters.Entry => ({ instructions, demos: [] })

const apply = <M extends Module.Any>(module: M, parameters: Parameters.Parameters): M =>
  Either.getOrThrow(Module.withParameters(module, parameters))

const paths = (module: Module.Any) => module.predictors.map((predictor) => predictor.path)

describe("paths", () => {
  const nested = Module.make(
    {
      outer: Module.make(
        { inner: ChainOfThought.make("question -> answer") },
        function*(m, input: { question: string }) {
          return yield* m.inner(input)
        }
      ),
      writers: [answer, answer],
      tools: { x: answer, "a b": answer }
    },
    function*(m, input: { question: string }) {
      return yield* m.outer(input)
    }
  )

  it("are those of the parts, in their order", () => {
    assert.deepStrictEqual(paths(answer), [""])
    assert.deepStrictEqual(paths(ChainOfThought.make("a -> b")), ["predict"])
    assert.deepStrictEqual(paths(nested), [
      "outer.inner.predict",
      "writers[0]",
      "writers[1]",
      "tools['x']",
      "tools['a b']"
    ])
  })

  it("of steps, branches and parallel parts", () => {
    const step = Predict.make("answer -> answer2").pipe(Module.map(({ answer2 }) => ({ answer: answer2 })))
    assert.deepStrictEqual(paths(answer.pipe(Module.andThen(step), Module.andThen(step))), [
      "steps[0]",
      "steps[1]",
      "steps[2]"
    ])
    assert.deepStrictEqual(paths(Module.branch({ a: answer, b: answer }, () => "a")), ["a", "b"])
    assert.deepStrictEqual(paths(Module.all([answer, answer])), ["steps[0]", "steps[1]"])
    assert.deepStrictEqual(paths(Module.all({ left: answer, right: answer })), ["left", "right"])
    assert.deepStrictEqual(paths(Module.batch(Module.either(answer))), [""])
  })

  it("two predictors of one path are refused when the module is made", () => {
    assert.throws(
      () =>
        Module.make(
          { "a.predict": answer, a: ChainOfThought.make("question -> answer") },
          function*(m, input: { question: string }) {
            return yield* m.a(input)
          }
        ),
      /"a\.predict"/
    )
  })

  it("a part cannot be called __proto__, which records drop", () => {
    assert.throws(() => Module.all({ ["__proto__"]: answer }), /__proto__/)
  })

  it.effect("a part may have any other name", () =>
    Effect.gen(function*() {
      const names = ["constructor", "it's", "[0]", ".x", "1", ""]
      const parts = Object.fromEntries(names.map((name) => [name, answer]))
      const outputs = yield* Module.all(parts)({ question: "?" })
      assert.deepStrictEqual(Object.keys(outputs).sort(), [...names].sort())
      const parameters = Object.fromEntries(names.map((name) => [name, instructed(`rule of <${name}>`)]))
      const tuned = apply(Module.all(parts), parameters)
      assert.deepStrictEqual(Object.entries(Module.parameters(tuned)).sort(), Object.entries(parameters).sort())
      for (const [name, output] of Object.entries(yield* tuned({ question: "?" }))) {
        assert.include(output.answer, `rule of <${name}>`)
      }
    }).pipe(Effect.provide(mirror)))

  it.effect("reach the leaf that runs", () =>
    Effect.gen(function*() {
      const [, trace] = yield* Trace.capture(nested({ question: "?" }))
      assert.deepStrictEqual(trace.map(({ listed, path }) => ({ listed, path })), [
        { listed: true, path: "outer.inner.predict" }
      ])
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ reasoning: "r", answer: "a" })]))))
})

describe("withParameters", () => {
  const pair = Module.make({ first: answer, second: answer }, function*(m, input: { question: string }) {
    const a = yield* m.first(input)
    const b = yield* m.second(input)
    return { first: a.answer, second: b.answer }
  })

  it.effect("reaches the named predictor and no other", () =>
    Effect.gen(function*() {
      const output = yield* apply(pair, { second: instructed("TUNED") })({ question: "?" })
      assert.notInclude(output.first, "TUNED")
      assert.include(output.second, "TUNED")
      // the module itself is unchanged
      assert.notInclude((yield* pair({ question: "?" })).second, "TUNED")
    }).pipe(Effect.provide(mirror)))

  it.effect("given further out wins, path by path", () =>
    Effect.gen(function*() {
      const inner = apply(pair, { first: instructed("INNER-1"), second: instructed("INNER-2") })
      const whole = Module.make({ pair: inner }, function*(m, input: { question: string }) {
        return yield* m.pair(input)
      })
      assert.deepStrictEqual(Module.parameters(whole), {
        "pair.first": instructed("INNER-1"),
        "pair.second": instructed("INNER-2")
      })
      const output = yield* apply(whole, { "pair.second": instructed("OUTER-2") })({ question: "?" })
      assert.include(output.first, "INNER-1")
      assert.include(output.second, "OUTER-2")
      assert.notInclude(output.second, "INNER-2")
    }).pipe(Effect.provide(mirror)))

  it("an unknown path is an error that lists the known ones", () => {
    const wrong = Module.withParameters(pair, { third: instructed("x") })
    assert.isTrue(Either.isLeft(wrong))
    if (Either.isLeft(wrong)) {
      assert.deepStrictEqual(wrong.left.known, ["first", "second"])
      assert.include(wrong.left.message, "\"third\"")
    }
  })

  it.effect("reaches a part that a body changes before it calls it", () =>
    Effect.gen(function*() {
      const module = Module.make(
        { think: ChainOfThought.make("question -> answer") },
        function*(m, input: { question: string }) {
          const [predictor] = m.think.predictors
          return yield* apply(m.think, { [predictor!.path]: instructed("FROM THE BODY") })(input)
        }
      )
      const { answer } = yield* module({ question: "?" })
      assert.include(answer, "FROM THE BODY")
      const outer = yield* apply(module, { "think.predict": instructed("FROM OUTSIDE") })({ question: "?" })
      assert.include(outer.answer, "FROM OUTSIDE")
    }).pipe(Effect.provide(mirror)))

  it.effect("reaches every call of a module that calls itself", () =>
    Effect.gen(function*() {
      const deep: Module.Module<
        { readonly question: string; readonly left: number },
        { readonly answer: string },
        Predict.PredictError,
        LanguageModel.LanguageModel
      > = Module.make({ step: answer }, function*(m, input: { readonly question: string; readonly left: number }) {
        const { answer } = yield* m.step({ question: input.question })
        return input.left === 0 ? { answer } : yield* deep({ question: "again", left: input.left - 1 })
      })
      const module = Module.make({ deep }, function*(m, input: { readonly question: string; readonly left: number }) {
        return yield* m.deep(input)
      })
      const tuned = apply(module, { "deep.step": instructed("TUNED") })
      const [output, trace] = yield* Trace.capture(tuned({ question: "?", left: 2 }))
      assert.include(output.answer, "TUNED")
      assert.deepStrictEqual(
        trace.map(({ listed, path }) => ({ listed, path })),
        Array.from({ length: 3 }, () => ({ listed: true, path: "deep.step" }))
      )
    }).pipe(Effect.provide(mirror)))

  it.effect("never reaches a module that is made inside a body under a listed path", () =>
    Effect.gen(function*() {
      const sneaky = Module.make({ first: answer }, function*(_, input: { question: string }) {
        const made = Module.make(
          { first: Predict.make("question -> answer") },
          function*(m, input: { question: string }) {
            return yield* m.first(input)
          }
        )
        return yield* made(input)
      })
      const output = yield* apply(sneaky, { first: instructed("TUNED") })({ question: "?" })
      assert.notInclude(output.answer, "TUNED")
    }).pipe(Effect.provide(mirror)))

  it.effect(
    "1,000 concurrent calls under different parameters give what one by one gives",
    () =>
      Effect.gen(function*() {
        const delays = yield* Random.shuffle(Array.from({ length: 1000 }, (_, index) => index % 7))
        const order = Array.from(delays)
        const model = TestLanguageModel.layer((request: LanguageModel.Request, n: number) =>
          Effect.as(
            Effect.repeatN(Effect.yieldNow(), order[n % order.length] ?? 0),
            TestLanguageModel.fields({ answer: content(request) })
          )
        )
        const call = (index: number) =>
          apply(pair, { first: instructed(`rule ${index}.`), second: instructed(`other ${index}.`) })({
            question: `q${index}`
          })
        const indices = Array.from({ length: 1000 }, (_, index) => index)
        const parallel = yield* Effect.forEach(indices, call, { concurrency: "unbounded" }).pipe(Effect.provide(model))
        const serial = yield* Effect.forEach(indices, call).pipe(Effect.provide(model))
        assert.deepStrictEqual(parallel, serial)
        assert.include(parallel[123]!.first, "rule 123.")
      }).pipe(Effect.withRandom(Random.make("delays"))),
    60_000
  )
})

describe("a part that is not called through the body's argument", () => {
  it.effect("runs with its own defaults and says that it cannot be tuned", () =>
    Effect.gen(function*() {
      const closure = Predict.make("question -> answer")
      const module = Module.make({ closure }, function*(_, input: { question: string }) {
        return yield* closure(input)
      })
      const events: Array<ModuleEvent.Emitted> = []
      const output = yield* apply(module, { closure: instructed("TUNED") })({ question: "?" }).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) })
      )
      assert.notInclude(output.answer, "TUNED")
      assert.isTrue(events.some((event) => event._tag === "Untuned"))
      assert.isTrue(events.some((event) => event._tag === "PredictorEnd" && !event.listed))
    }).pipe(Effect.provide(mirror)))
})

describe("a warning that a predictor cannot be tuned", () => {
  it.effect("comes once for each place, however often it is made anew", () =>
    Effect.gen(function*() {
      const warnings: Array<unknown> = []
      const logger = Logger.make(({ message }) => warnings.push(message))
      const module = Module.make({ answer }, function*(_, input: { question: string }) {
        return yield* Predict.make("question -> answer")(input)
      })
      yield* Effect.repeatN(module({ question: "?" }), 9).pipe(Effect.provide(Logger.add(logger)))
      assert.strictEqual(warnings.length, 1)
      assert.include(String(warnings[0]), "Module.freeze")
    }).pipe(Effect.provide(mirror)))
})

describe("freeze", () => {
  it.effect("may be called on a part inside a body", () =>
    Effect.gen(function*() {
      const module = Module.make(
        { think: ChainOfThought.make("question -> answer") },
        function*(m, input: { question: string }) {
          return yield* Module.freeze(m.think)(input)
        }
      )
      const events: Array<ModuleEvent.Emitted> = []
      yield* module({ question: "?" }).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) })
      )
      assert.isFalse(events.some((event) => event._tag === "Untuned"))
      assert.isTrue(events.some((event) => event._tag === "PredictorEnd" && !event.listed))
    }).pipe(Effect.provide(mirror)))

  it.effect("hides the predictors, keeps their parameters, and is not called untuned", () =>
    Effect.gen(function*() {
      const frozen = Module.freeze(apply(answer, { "": instructed("BAKED") }))
      const module = Module.make({ frozen, free: answer }, function*(m, input: { question: string }) {
        return yield* m.frozen(input)
      })
      assert.deepStrictEqual(paths(module), ["free"])
      const events: Array<ModuleEvent.Emitted> = []
      const output = yield* module({ question: "?" }).pipe(
        ModuleEvent.listen({ deltas: false, emit: (more) => Effect.sync(() => events.push(...more)) })
      )
      assert.include(output.answer, "BAKED")
      assert.isFalse(events.some((event) => event._tag === "Untuned"))
      assert.isTrue(events.some((event) => event._tag === "PredictorEnd" && !event.listed))
    }).pipe(Effect.provide(mirror)))
})

describe("composition", () => {
  it.effect("a function that throws is a defect of the run, not of the call", () =>
    Effect.gen(function*() {
      const thrown = new Error("no")
      const fail = () => {
        throw thrown
      }
      for (const module of [Module.mapInput(answer, fail), Module.map(answer, fail)]) {
        const exit = yield* Effect.exit(module({ question: "?" }))
        assert.deepStrictEqual(exit, Exit.die(thrown))
      }
    }).pipe(Effect.provide(mirror)))

  it.effect("andThen passes outputs on", () =>
    Effect.gen(function*() {
      const pipeline = Predict.make("question -> query").pipe(
        Module.andThen(Predict.make("query -> reply")),
        Module.map(({ reply }) => reply.toUpperCase())
      )
      assert.strictEqual(yield* pipeline({ question: "?" }), "DONE")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ query: "look" }),
      TestLanguageModel.fields({ reply: "done" })
    ]))))

  it.effect("branch runs the chosen module only", () =>
    Effect.gen(function*() {
      const module = Module.branch(
        { short: answer, long: ChainOfThought.make("question -> answer") },
        (input) => input.question.length > 5 ? "long" : "short"
      )
      const [, short] = yield* Trace.capture(module({ question: "?" }))
      const [, long] = yield* Trace.capture(module({ question: "??????" }))
      assert.deepStrictEqual([short[0]?.path, long[0]?.path], ["short", "long.predict"])
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.fields({ answer: "a" }),
      TestLanguageModel.fields({ reasoning: "r", answer: "b" })
    ]))))

  it.effect("all that ends because one part failed has failed, and the others were interrupted", () =>
    Effect.gen(function*() {
      const part = Module.make({ answer }, function*(m, input: { question: string }) {
        return yield* m.answer(input)
      })
      const module = Module.all({ a: part, b: part })
      const ends: Array<string> = []
      const exit = yield* module({ question: "?" }).pipe(
        ModuleEvent.listen({
          deltas: false,
          emit: (events) =>
            Effect.sync(() => {
              for (const event of events) if (event._tag === "ModuleEnd") ends.push(`${event.path} ${event.exit}`)
            })
        }),
        Effect.exit
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(ends.sort(), [" failure", "a failure", "b interruption"])
    }).pipe(
      Effect.provide(
        TestLanguageModel.layer((_, __, predictor) =>
          predictor === "a.answer" ? TestLanguageModel.fail("Overloaded") : Effect.never
        )
      )
    ))

  it.effect("all runs its parts at the same time", () =>
    Effect.gen(function*() {
      const started = yield* Ref.make(0)
      const both = yield* Deferred.make<void>()
      const model = TestLanguageModel.layer(() =>
        Ref.updateAndGet(started, (n) => n + 1).pipe(
          Effect.tap((n) => n === 2 ? Deferred.succeed(both, undefined) : Effect.void),
          Effect.zipRight(Deferred.await(both)),
          Effect.as(TestLanguageModel.fields({ answer: "x" }))
        )
      )
      const module = Module.all({ a: answer, b: answer }, ({ a, b }) => a.answer + b.answer)
      const output = yield* module({ question: "?" }).pipe(Effect.provide(model))
      assert.strictEqual(output, "xx")
    }))

  it.effect("batch keeps the order and, with either, every result", () =>
    Effect.gen(function*() {
      const module = Module.batch(Module.either(answer), { concurrency: 3 })
      const results = yield* module([{ question: "1" }, { question: "fail" }, { question: "3" }])
      assert.deepStrictEqual(results.map((result) => Either.isRight(result) ? result.right.answer : result.left._tag), [
        "ok 1",
        "LanguageModelError",
        "ok 3"
      ])
    }).pipe(Effect.provide(TestLanguageModel.layer((request: LanguageModel.Request) => {
      const text = content(request)
      return text.includes("fail")
        ? TestLanguageModel.fail("Overloaded")
        : TestLanguageModel.fields({ answer: text.includes("1") ? "ok 1" : "ok 3" })
    }))))

  it.effect("batches of batches keep the order, and have the paths of their part", () =>
    Effect.gen(function*() {
      const nested = Module.batch(Module.batch(Module.map(answer, ({ answer }) => answer)), { concurrency: 2 })
      assert.deepStrictEqual(paths(nested), [""])
      const questions = [["a", "b"], [], ["c"]]
      const outputs = yield* nested(questions.map((group) => group.map((question) => ({ question }))))
      assert.deepStrictEqual(
        outputs.map((group) => group.map((text) => /\(\( ## question ## \]\]\n(\w)/.exec(text)?.[1])),
        questions
      )
    }).pipe(Effect.provide(mirror)))

  it.effect("interrupting a composition interrupts its calls", () =>
    Effect.gen(function*() {
      const running = yield* Ref.make(0)
      const all = yield* Deferred.make<void>()
      const model = TestLanguageModel.layer(() =>
        Effect.acquireUseRelease(
          Effect.tap(
            Ref.updateAndGet(running, (n) => n + 1),
            (n) => n === 8 ? Deferred.succeed(all, undefined) : Effect.void
          ),
          () => Effect.never,
          () => Ref.update(running, (n) => n - 1)
        )
      )
      const inputs = Array.from({ length: 8 }, () => ({ question: "?" }))
      const fiber = yield* Effect.fork(Module.batch(answer)(inputs).pipe(Effect.provide(model)))
      yield* Deferred.await(all)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* Ref.get(running), 0)
    }))
})

describe("path", () => {
  it.effect("is that of the predictor for the model, of the module for its body, and empty outside", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const note = Effect.map(Module.path, (path) => void seen.push(path))
      const inner = Module.make(
        { ask: answer },
        function*(m, input: { readonly question: string }) {
          yield* note
          return yield* m.ask(input)
        }
      )
      const outer = Module.make({ parts: [inner] }, function*(m, input: { readonly question: string }) {
        return yield* m.parts[0]!(input)
      })
      yield* note
      yield* outer({ question: "?" }).pipe(
        Effect.provideService(
          LanguageModel.LanguageModel,
          LanguageModel.make({
            id: "test/m",
            generate: () => Effect.as(note, LanguageModel.text("[[ ## answer ## ]]\nyes", "test/m"))
          })
        )
      )
      assert.deepStrictEqual(seen, ["", "parts[0]", "parts[0].ask"])
    }))
})

describe("surroundings", () => {
  const settingsOf = (module: typeof answer) =>
    Effect.gen(function*() {
      yield* module({ question: "?" })
      return (yield* TestLanguageModel.requests)[0]?.settings
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "a" })])))

  it.effect("settings: the predictor's own, then its parameters, then what is further out", () =>
    Effect.gen(function*() {
      const own = Predict.make("question -> answer", { settings: { temperature: 0.1, maxTokens: 10, topP: 0.5 } })
      const tuned = apply(own, { "": { demos: [], settings: { temperature: 0.2, maxTokens: 20 } } })
      const outer = tuned.pipe(Module.withSettings({ temperature: 0.3 }), Module.withSettings({ temperature: 0.4 }))
      assert.deepStrictEqual(yield* settingsOf(outer), { temperature: 0.4, maxTokens: 20, topP: 0.5 })
    }))

  it.effect("rollouts combine", () =>
    Effect.gen(function*() {
      const one = yield* settingsOf(Module.withRollout(answer, "1"))
      const nested = yield* settingsOf(answer.pipe(Module.withRollout("1"), Module.withRollout("2")))
      const swapped = yield* settingsOf(answer.pipe(Module.withRollout("2"), Module.withRollout("1")))
      assert.strictEqual(one?.rollout, "1")
      assert.strictEqual(new Set([one?.rollout, "2", nested?.rollout, swapped?.rollout]).size, 4)
    }))

  it.effect("a rollout of the settings is combined with that of the surroundings", () =>
    Effect.gen(function*() {
      const of = (own: string, outer: string) =>
        Effect.map(
          settingsOf(Module.withRollout(Predict.make("question -> answer", { settings: { rollout: own } }), outer)),
          (settings) => settings?.rollout
        )
      const rollouts = yield* Effect.all([of("a", "1"), of("b", "1"), of("a", "2"), of("a", "1")])
      assert.strictEqual(new Set(["a", "b", "1", "2", ...rollouts]).size, 7)
      assert.strictEqual(rollouts[0], rollouts[3])
    }))

  it.effect("a setting that is undefined hides none further in", () =>
    Effect.gen(function*() {
      const own = Predict.make("question -> answer", { settings: { temperature: 0.1 } })
      const outer = own.pipe(
        Module.withSettings({ maxTokens: 9 }),
        Module.withSettings({ temperature: undefined, maxTokens: undefined })
      )
      assert.deepStrictEqual(yield* settingsOf(outer), { temperature: 0.1, maxTokens: 9 })
    }))

  it.effect("provideModel replaces the model of one part", () =>
    Effect.gen(function*() {
      const small = yield* Layer.build(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "small" })]))
      const module = Module.make(
        { a: answer.pipe(Module.provideModel(Context.pick(LanguageModel.LanguageModel)(small))), b: answer },
        function*(m, input: { question: string }) {
          return [(yield* m.a(input)).answer, (yield* m.b(input)).answer]
        }
      )
      assert.deepStrictEqual(paths(module), ["a", "b"])
      assert.deepStrictEqual(yield* module({ question: "?" }), ["small", "large"])
    }).pipe(
      Effect.scoped,
      Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "large" })]))
    ))
})
