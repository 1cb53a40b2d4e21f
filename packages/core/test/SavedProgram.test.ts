import {
  BestOfN,
  ChainOfThought,
  CodeAct,
  Module,
  MultiChainComparison,
  Parameters,
  Predict,
  ProgramOfThought,
  ReAct,
  RLM,
  SavedProgram,
  Signature,
  TestLanguageModel,
  Tool
} from "@effect-dspy/core"
import { FileSystem, type Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { SystemError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import { Array, DateTime, Effect, Either, FastCheck, Layer, Logger, Schema } from "effect"
import { readFileSync } from "node:fs"

// =============================================================================
// Programs
// =============================================================================

const instructions = "Answer the question."

const qa = Predict.make(Signature.parse("question -> answer", { instructions }))

// The parts are never called here: a saved program concerns only what is listed.
const program = <const C extends Module.Children>(children: C) =>
  Module.make(children, function*(_, input: string) {
    return yield* Effect.succeed(input)
  })

const rag = program({
  query: ChainOfThought.make("question -> query"),
  writers: [qa, Predict.make(Signature.parse("ticket, tone?: 'warm' | 'neutral' -> reply, urgency: int"))],
  tools: { "look up": Predict.make("name -> addresses: string[]") }
})

const tuned = <M extends Module.Any>(module: M, parameters: Parameters.Parameters): M =>
  Either.getOrThrow(Module.withParameters(module, parameters))

const someParameters: Parameters.Parameters = {
  "query.predict": {
    instructions: "Write a query.\n\n1. Keep „Grüße“ and 日本語 🎫.\n2. Stop.",
    demos: [
      Parameters.augmented({ question: "Who?", reasoning: "A person.", query: "who" }),
      Parameters.demo({ question: "partial" })
    ]
  },
  "writers[1]": { demos: [], settings: { temperature: 0.7, stop: ["\n\n"], extensions: { top_k: 40 } } }
}

const text = (module: Module.Any, provenance?: SavedProgram.Provenance) =>
  Either.getOrThrow(SavedProgram.encode(module, provenance))

const edited = (edit: (file: any) => void, module: Module.Any = tuned(rag, someParameters)): string => {
  const file = JSON.parse(text(module))
  edit(file)
  return JSON.stringify(file)
}

const problems = (result: Either.Either<unknown, SavedProgram.SavedProgramError>) =>
  Either.getOrThrow(Either.flip(result)).problems

const kinds = (result: Either.Either<unknown, SavedProgram.SavedProgramError>) =>
  problems(result).map(({ field, kind, path }) => Array.filter([kind, path, field], (part) => part !== undefined))

const descriptions = (result: Either.Either<unknown, SavedProgram.SavedProgramError>) =>
  problems(result).map(({ description }) => description)

// =============================================================================
// Arbitrary parameters
// =============================================================================

const json = FastCheck.jsonValue({ maxDepth: 5, noUnicodeString: false })
  .map((value) => JSON.parse(JSON.stringify(value))) // as a file would have it: no -0, plain objects
  .filter((value) => !JSON.stringify(value).includes("__proto__"))

const values = FastCheck.array(
  FastCheck.tuple(FastCheck.constantFrom("question", "answer", "reasoning", "ünïcode"), json)
)
  .map((entries) => Object.fromEntries(entries))

const withoutUndefined = <A extends object>(record: A): A =>
  Object.fromEntries(Object.entries(record).filter(([_, value]) => value !== undefined)) as A

const optional = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined })

const settings = FastCheck.record({
  temperature: optional(FastCheck.double({ min: 0.01, max: 2, noNaN: true })),
  maxTokens: optional(FastCheck.nat()),
  stop: optional(FastCheck.array(FastCheck.string())),
  extensions: optional(values)
}).map(withoutUndefined)

const entry: FastCheck.Arbitrary<Parameters.Entry> = FastCheck.record({
  instructions: optional(FastCheck.string({ unit: "binary" })),
  demos: FastCheck.array(FastCheck.record({ augmented: FastCheck.boolean(), values })),
  settings: optional(settings)
}).map(withoutUndefined)

const parameters = FastCheck.array(
  FastCheck.tuple(FastCheck.constantFrom(...rag.predictors.map(({ path }) => path)), entry)
).map((entries): Parameters.Parameters => Object.fromEntries(entries))

// =============================================================================
// Our format
// =============================================================================

describe("SavedProgram, our format", () => {
  it.prop("what is saved is what is loaded, for any parameters", [parameters], ([parameters]) => {
    const saved = text(tuned(rag, parameters))
    const loaded = Either.getOrThrow(SavedProgram.decode(saved, rag))
    assert.deepStrictEqual(Module.parameters(loaded), parameters)
    assert.strictEqual(text(loaded), saved)
  }, { fastCheck: { seed: 7, numRuns: 100 } })

  it("is JSON with names, types, parameters and provenance, in one order", () => {
    const module = tuned(qa, {
      "": { settings: { seed: 1, temperature: 0 }, demos: [{ values: { question: "2+2?" }, augmented: true }] }
    })
    assert.strictEqual(
      text(module, { seed: 9, createdAt: DateTime.unsafeMake(0), score: { mean: 0.5 } }),
      `{
  "format": "effect-dspy/program",
  "version": 1,
  "predictors": [
    {
      "path": "",
      "signature": {
        "instructions": "Answer the question.",
        "inputs": [
          {
            "name": "question",
            "type": "string"
          }
        ],
        "outputs": [
          {
            "name": "answer",
            "type": "string"
          }
        ]
      },
      "parameters": {
        "demos": [
          {
            "augmented": true,
            "values": {
              "question": "2+2?"
            }
          }
        ],
        "settings": {
          "temperature": 0,
          "seed": 1
        }
      }
    }
  ],
  "provenance": {
    "seed": 9,
    "score": {
      "mean": 0.5
    },
    "createdAt": "1970-01-01T00:00:00.000Z"
  }
}
`
    )
  })

  it("lists predictors in the order of the program, with encoded types", () => {
    const { predictors } = Either.getOrThrow(SavedProgram.parse(text(rag)))
    assert.deepStrictEqual(
      predictors.map(({ path, signature: { inputs, outputs } }) =>
        [path, ...inputs, ...outputs].map((part) => typeof part === "string" ? part : `${part.name}: ${part.type}`)
      ),
      [
        ["query.predict", "question: string", "reasoning: string", "query: string"],
        ["writers[0]", "question: string", "answer: string"],
        [
          "writers[1]",
          "ticket: string",
          "tone: \"warm\" | \"neutral\" | undefined",
          "reply: string",
          "urgency: integer"
        ],
        ["tools['look up']", "name: string", "addresses: string[]"]
      ]
    )
  })

  it("gives provenance back", () => {
    const provenance: SavedProgram.Provenance = {
      optimizer: "RandomSearch",
      model: "ollama/llama3.2",
      seed: 9,
      dataHash: "5f",
      score: { mean: 0.8, interval: { lower: 0.7, upper: 0.9 } },
      calls: 120,
      cost: 0.25,
      createdAt: DateTime.unsafeMake("2025-01-02T03:04:05Z")
    }
    assert.deepStrictEqual(Either.getOrThrow(SavedProgram.parse(text(rag, provenance))).provenance, provenance)
  })

  it.effect("a loaded program runs with what was saved", () =>
    Effect.gen(function*() {
      const saved = text(
        tuned(qa, {
          "": { instructions: "One word.", demos: [Parameters.demo({ question: "1 + 3?", answer: "four" })] }
        })
      )
      const loaded = yield* SavedProgram.decode(saved, qa)
      assert.deepStrictEqual(yield* loaded({ question: "2 + 2?" }), { answer: "4" })
      const asked = JSON.stringify(yield* TestLanguageModel.requests)
      assert.include(asked, "One word.")
      assert.include(asked, "four")
    }).pipe(Effect.provide(TestLanguageModel.layer([TestLanguageModel.fields({ answer: "4" })]))))

  it("a predictor without parameters in the file loses those baked into the program", () => {
    const baked = tuned(rag, { "writers[0]": { instructions: "baked", demos: [] }, ...someParameters })
    const loaded = Either.getOrThrow(SavedProgram.decode(text(tuned(rag, someParameters)), baked))
    assert.deepStrictEqual(Module.parameters(loaded), { ...someParameters, "writers[0]": { demos: [] } })
  })

  it("the order of predictors and fields does not matter", () => {
    const reordered = edited((file) => {
      file.predictors.reverse()
      for (const { signature } of file.predictors) signature.outputs.reverse()
    })
    assert.deepStrictEqual(Module.parameters(Either.getOrThrow(SavedProgram.decode(reordered, rag))), someParameters)
  })

  it("frozen parts are not in the file", () => {
    const module = program({
      open: qa,
      closed: Module.freeze(tuned(qa, { "": { instructions: "secret", demos: [] } }))
    })
    assert.notInclude(text(module), "secret")
    assert.deepStrictEqual(
      Either.getOrThrow(SavedProgram.parse(text(module))).predictors.map(({ path }) => path),
      ["open"]
    )
  })

  it("a file of another program names every difference", () => {
    const other = edited((file) => {
      const [query, writer] = file.predictors
      query.signature.inputs[0].name = "topic"
      query.signature.outputs[1].type = "integer"
      writer.signature.outputs.push({ name: "confidence", type: "number" })
      const [moved] = file.predictors[2].signature.inputs.splice(1)
      file.predictors[2].signature.outputs = [file.predictors[2].signature.outputs[0], moved]
      file.predictors[3].path = "tools['search']"
    })
    const result = SavedProgram.decode(other, rag)
    assert.deepStrictEqual(kinds(result), [
      ["renamedField", "query.predict", "question"],
      ["changedType", "query.predict", "query"],
      ["extraField", "writers[0]", "confidence"],
      ["movedField", "writers[1]", "tone"],
      ["missingField", "writers[1]", "urgency"],
      ["missingPredictor", "tools['look up']"],
      ["extraPredictor", "tools['search']"]
    ])
    assert.deepStrictEqual(descriptions(result), [
      `predictor "query.predict": input "topic" of the file is called "question" in the program`,
      `predictor "query.predict": output "query" is integer in the file and string in the program`,
      `predictor "writers[0]": output "confidence" of the file is not in the program`,
      `predictor "writers[1]": "tone" is an output in the file and an input in the program`,
      `predictor "writers[1]": output "urgency" of the program is not in the file`,
      `the file has no predictor "tools['look up']"`,
      `the program has no predictor "tools['search']"`
    ])
  })

  it("as many differences as there are, of which the message names the first", () => {
    const other = edited((file) => {
      file.predictors[0].signature.inputs = Array.makeBy(150_000, (n) => ({ name: `n${n}`, type: "string" }))
    })
    const error = Either.getOrThrow(Either.flip(SavedProgram.decode(other, rag)))
    assert.isAbove(error.problems.length, 149_999)
    assert.isBelow(error.message.length, 2_000)
    assert.match(error.message, /and \d+ more$/)
  })

  it("optional and required are different types", () => {
    const result = SavedProgram.decode(text(Predict.make("a?: int -> b")), Predict.make("a: int -> b"))
    assert.deepStrictEqual(descriptions(result), [
      `bare predictor: input "a" is integer | undefined in the file and integer in the program`
    ])
  })

  it("two predictors at one path", () => {
    const twice = edited((file) => file.predictors.push(file.predictors[0]))
    assert.deepStrictEqual(descriptions(SavedProgram.decode(twice, rag)), [
      "predictors: two of them have the same path"
    ])
  })

  it("another version or format", () => {
    const of = (file: unknown) => descriptions(SavedProgram.decode(JSON.stringify(file), qa))
    assert.deepStrictEqual(of({ ...JSON.parse(text(qa)), version: 2 }), [
      "it is of version 2, and only version 1 is known here: update @effect-dspy/core"
    ])
    for (const file of [{}, [], null, 1, { format: "other" }]) {
      assert.deepStrictEqual(of(file), [`it is not a saved program: it has no "format": "effect-dspy/program"`])
    }
    assert.deepStrictEqual(of({ metadata: { dependency_versions: {} } }), [
      "it is a state file of DSPy: read it with SavedProgram.fromDspy"
    ])
  })

  it("what does not fit the schema is said with its place, and nothing that is not data is taken", () => {
    const wrong = edited((file) => {
      file.predictors[0].parameters.demos[1].augmented = "yes"
      file.predictors[2].parameters.settings.api_base = "https://models.example"
      file.predictors[3].signature.inputs[0].type = 1
    })
    assert.deepStrictEqual(descriptions(SavedProgram.decode(wrong, rag)), [
      "predictors[0].parameters.demos[1].augmented: Expected boolean, actual \"yes\"",
      "predictors[2].parameters.settings.api_base: is unexpected, expected: \"temperature\" | \"topP\" | \"maxTokens\" | \"stop\" | \"seed\" | \"n\" | \"logprobs\" | \"reasoningEffort\" | \"rollout\" | \"extensions\"",
      "predictors[3].signature.inputs[0].type: Expected string, actual 1"
    ])
  })

  it("what could not be read again is not saved", () => {
    const deep = Array.range(1, 70).reduce<Parameters.Demo["values"]>((inner) => ({ inner }), {})
    const saving = (values: Parameters.Demo["values"], settings = {}) =>
      SavedProgram.encode(tuned(qa, { "": { demos: [Parameters.demo(values)], settings } }))
    assert.deepStrictEqual(kinds(saving(deep)), [["depth"]])
    assert.deepStrictEqual(kinds(saving({ question: "x".repeat(17 * 1024 * 1024) })), [["size"]])
    assert.deepStrictEqual(kinds(saving(JSON.parse(`{ "question": { "__proto__": 1 } }`))), [["forbiddenKey"]])
    assert.deepStrictEqual(kinds(saving({}, { temperature: Number.NaN })), [["schema"]])
    assert.strictEqual(
      Either.getOrThrow(Either.flip(saving(deep))).message,
      "The program cannot be saved: it is nested more than 64 levels deep at line 84, column 138"
    )
  })
})

describe("SavedProgram, text", () => {
  const of = (text: string) => descriptions(SavedProgram.parse(text))

  it("that is not JSON is refused with line and column", () => {
    const whole = text(qa)
    assert.deepStrictEqual(of(""), ["the JSON ends too early at line 1, column 1"])
    assert.deepStrictEqual(of(whole.slice(0, whole.indexOf("outputs") - 10)), [
      "the JSON ends too early at line 14, column 11"
    ])
    assert.deepStrictEqual(of(whole.replace("  \"version\"", "<<<<<<< ours\n  \"version\"")), [
      `it is not JSON: unexpected "<<<<<<< ours" at line 3, column 1`
    ])
  })

  it("with a key __proto__, however it is written, is refused", () => {
    for (const key of ["__proto__", "\\u005f_proto__"]) {
      assert.deepStrictEqual(of(`{"format":\n{"${key}": 1}}`), ["the key __proto__ is refused at line 2, column 2"])
    }
    assert.deepStrictEqual(kinds(SavedProgram.parse(`["__proto__"]`)), [["format"]])
  })

  it("that is nested too deeply or too large is refused before it is parsed", () => {
    assert.deepStrictEqual(of("[".repeat(1_000_000)), ["it is nested more than 64 levels deep at line 1, column 65"])
    assert.deepStrictEqual(of(" ".repeat(16 * 1024 * 1024 + 1)), ["it is larger than 16 MiB"])
  })

  const mutated = FastCheck.tuple(
    FastCheck.json(),
    FastCheck.array(FastCheck.tuple(
      FastCheck.nat(),
      FastCheck.constantFrom(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "0",
        "1",
        "-",
        ".",
        "e",
        "t",
        "\n",
        "\t",
        " ",
        "\\u",
        ""
      )
    ))
  ).map(([text, edits]) =>
    edits.reduce((text, [at, char]) => {
      const index = at % (text.length + 1)
      return text.slice(0, index) + char + text.slice(index + (at % 2))
    }, text)
  )

  it.prop("is told from what is not JSON as JSON.parse does", [mutated], ([text]) => {
    const isJson = Either.isRight(Either.try(() => JSON.parse(text)))
    const refused = kinds(SavedProgram.parse(text))
    if (refused[0]![0] !== "depth" && refused[0]![0] !== "forbiddenKey") {
      assert.strictEqual(refused[0]![0] !== "syntax", isJson, text)
    }
  }, { fastCheck: { seed: 3, numRuns: 2000 } })
})

// =============================================================================
// DSPy's format
// =============================================================================

const fixture = (name: string) => readFileSync(new URL(`fixtures/dspy/${name}.json`, import.meta.url), "utf8")

// The versions DSPy found around it, and the demonstrations' keys that are of no use outside the run that made them.
const withoutTraces = (text: string) =>
  text.replace(/"dependency_versions": \{[^}]*\}/, `"dependency_versions": {}`).replace(/,\n *"dspy_\w+": "[^"]*"/g, "")

const field = <A extends Schema.Schema.AnyNoContext>(schema: A, description: string) =>
  schema.annotations({ description }) as A // the same schema with a description

const route = Predict.make(Signature.make({
  instructions:
    "Route a support ticket to one team.\n\nRules:\n  - money and invoices go to \"billing\"\n  - anything broken goes to \"technical\"\nAntworte auch auf Grüße aus Köln; 日本語 is welcome: 🎫.",
  input: {
    ticket: field(Schema.String, "as the customer wrote it"),
    previousTickets: Schema.Array(Schema.String)
  },
  output: { team: Schema.Literal("billing", "technical", "account"), urgency: field(Schema.Int, "1 to 5") }
}))

// DSPy describes the field by its name only.
const reasoned = (signature: Signature.Any) => program({ predict: Predict.make(signature) })

const described = Predict.make(Signature.make({
  instructions: "Describe what the picture shows.",
  input: {
    image: Schema.String,
    photographer: Schema.NullOr(Schema.Struct({ name: Schema.String, languages: Schema.Array(Schema.String) }))
  },
  output: { caption: Schema.String }
}))

const math = "question -> reasoning, answer: number, isHTTPSSecure123: bool"

const nestedOf = (reasoned: (signature: Signature.Any) => Module.Any) =>
  program({
    search: program({
      query: Predict.make(Signature.parse("question -> query", { instructions: "Write a search query." })),
      frozen: Predict.make("query -> passages: string[]"),
      check: reasoned(
        Signature.parse("passages: string[] -> relevant: bool", { instructions: "Relevant?" })
      )
    }),
    writers: [
      Predict.make(Signature.parse("ticket -> reply", { instructions: "Write a short reply." })),
      reasoned(Signature.parse("ticket -> reply", { instructions: "Write a long reply." }))
    ],
    tools: {
      "look up": Predict.make(Signature.parse("name -> address", { instructions: "Look it up." })),
      日本: reasoned(Signature.parse("text -> translation", { instructions: "Translate into Japanese." })),
      "it's": Predict.make(Signature.parse("text -> label: 'a' | 'b'", { instructions: "Label it." }))
    },
    frozen: Module.freeze(ChainOfThought.make("question -> answer"))
  })

const nested = nestedOf((signature) => ChainOfThought.make(signature))

const nestedByName = nestedOf((signature) =>
  reasoned(Signature.make({
    instructions: signature.instructions,
    input: signature.input.fields as Signature.DynamicFields,
    output: { reasoning: Schema.String, ...signature.output.fields as Signature.DynamicFields }
  }))
)

const add = Tool.make("add", {
  description: "Adds two numbers.",
  parameters: { a: Schema.Int, b: Schema.Int },
  run: ({ a, b }) => Effect.succeed(a + b)
})

const research = ReAct.make("question -> answer", { tools: [add] })

const agents = program({
  helpers: [
    ReAct.make("task -> report", { tools: [add] }),
    ChainOfThought.make("task -> report"),
    Predict.make("task -> report")
  ],
  compute: ProgramOfThought.make("question -> answer: int"),
  act: CodeAct.make("question -> answer", { tools: [add] }),
  read: RLM.make("text, question -> answer"),
  compare: MultiChainComparison.make("question -> answer", { m: 2 }),
  best: BestOfN.make(ChainOfThought.make("question -> answer"), { n: 2, reward: () => Effect.succeed(1) })
})

// What is said about fields in words is not DSPy's, and no part of the format.
const withoutWords = (text: string) => text.replaceAll(/"(prefix|description)": "[^"]*"/g, `"$1": ""`)

const read = <M extends Module.Any>(name: string, module: M) =>
  Either.getOrThrow(SavedProgram.fromDspy(fixture(name), module))

const written = (module: Module.Any) => Either.getOrThrow(SavedProgram.toDspy(module))

describe("SavedProgram, state files written by DSPy 3.3", () => {
  it("a bare Predict", () => {
    const { lost, module } = read("predict", route)
    assert.deepStrictEqual(lost, [])
    assert.deepStrictEqual(Module.parameters(module), {
      "": {
        demos: [
          Parameters.augmented({
            ticket: "Die Rechnung enthält \"doppelte\" Posten\n\tbitte prüfen \\ danke",
            previousTickets: ["Größe ändern", "日本語のチケット", ""],
            team: "billing",
            urgency: 3
          }),
          Parameters.demo({
            ticket: "Printer on floor 3 smells of smoke 🔥\u0001\u007f\u2028",
            previousTickets: [],
            team: "technical",
            urgency: 5
          }),
          Parameters.demo({ ticket: "a plain dict, and partial", team: "account" })
        ]
      }
    })
  })

  it("a ChainOfThought as BootstrapFewShot leaves it", () => {
    const { lost, module } = read(
      "chain-of-thought",
      ChainOfThought.make("question -> answer: number, isHTTPSSecure123: bool")
    )
    assert.deepStrictEqual(lost, [])
    assert.deepStrictEqual(Module.parameters(module), {
      predict: {
        instructions: "Given the fields `question`, produce the fields `answer`, `isHTTPSSecure123`.",
        demos: [
          Parameters.augmented({
            question: "6 * 7 + 0.5?",
            reasoning: "Six times seven.",
            answer: 42.5,
            isHTTPSSecure123: true
          }),
          Parameters.augmented({ question: "1 / 2?", reasoning: "Half of one.", answer: 0.5, isHTTPSSecure123: false }),
          Parameters.demo({ question: "1 / 4?", answer: 0.25, isHTTPSSecure123: false })
        ]
      }
    })
  })

  it("lists, maps and nested modules, without what is frozen", () => {
    const { lost, module } = read("nested", nested)
    assert.deepStrictEqual(lost, [])
    assert.deepStrictEqual(Module.parameters(module), {
      "search.frozen": { instructions: "Given the fields `query`, produce the fields `passages`.", demos: [] },
      "search.check.predict": {
        instructions: "Answer true only if a passage\nstates the fact.\n\n1. Read all of them.\n2. Decide.",
        demos: []
      },
      "writers[0]": { demos: [Parameters.augmented({ ticket: "Hallo", reply: "Guten Tag,\n\n  schöne Grüße" })] },
      "tools['日本'].predict": {
        demos: [
          Parameters.augmented({ text: "Good morning", reasoning: "A greeting.", translation: "おはようございます" })
        ]
      }
    })
  })

  it("custom types stay the texts DSPy marks them with", () => {
    const [demo] = Module.parameters(read("custom-types", described).module)[""]!.demos
    assert.deepStrictEqual(
      demo,
      Parameters.demo({
        image:
          `<<CUSTOM-TYPE-START-IDENTIFIER>>[{"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png"}}]<<CUSTOM-TYPE-END-IDENTIFIER>>`,
        photographer: { name: "Zoë", languages: ["nl", "en"] },
        caption: "A cat."
      })
    )
  })

  it("of a model, the sampling settings and nothing else", () => {
    const one = Predict.make(Signature.parse("question -> answer", { instructions: "Answer in one word." }))
    const { lost, module } = read("with-lm", one)
    assert.deepStrictEqual(Module.parameters(module), {
      "": { demos: [], settings: { temperature: 0.3, topP: 0.9, maxTokens: 800, stop: ["\n\n"] } }
    })
    assert.deepStrictEqual(
      lost.map(({ part }) => part),
      ["lm._dspy_lm_class", "lm.model", "lm.model_type", "lm.cache", "lm.num_retries", "lm.api_base"]
    )
    assert.notInclude(JSON.stringify(lost), "models.example")
    assert.deepStrictEqual(Module.parameters(read("with-default-lm", one).module), {})
  })

  it("a predictor in two places is there once", () => {
    const answer = Predict.make(Signature.parse("question -> answer", { instructions: "Answer." }))
    const entry = { demos: [Parameters.augmented({ question: "2 + 2?", answer: "4" })] }
    const { module } = read("shared", program({ first: answer, second: answer }))
    assert.deepStrictEqual(Module.parameters(module), { first: entry, second: entry })

    const apart = program({
      first: answer,
      second: Predict.make(Signature.parse("question -> answer", { instructions: "Answer." }))
    })
    assert.deepStrictEqual(kinds(SavedProgram.fromDspy(fixture("shared"), apart)), [["missingPredictor", "second"]])
  })
})

describe("SavedProgram, state files written by DSPy 3.3 for modules of several predictors", () => {
  const told = (path: string) => `What ${path} is told:\n\n- nothing of DSPy's.`

  it("a ReAct as BootstrapFewShot leaves it", () => {
    const { lost, module } = read("react", research)
    assert.deepStrictEqual(lost, [])
    const { "extract.predict": extract, react } = Module.parameters(module)
    assert.deepStrictEqual(react, {
      instructions: told("react"),
      demos: [
        Parameters.augmented({
          question: "2 + 3?",
          trajectory: "",
          next_thought: "I add \"them\".",
          next_tool_name: "add",
          next_tool_args: { a: 2, b: 3 }
        }),
        Parameters.augmented({
          question: "Größe?",
          trajectory: "",
          next_thought: "look\nit up",
          next_tool_name: "add",
          next_tool_args: { a: 1, b: -1 }
        })
      ]
    })
    const values = extract?.demos[0]?.values
    assert.deepStrictEqual([values?.["question"], values?.["answer"]], ["2 + 3?", "5"])
    assert.include(String(values?.["trajectory"]), "[[ ## observation_0 ## ]]\n5")
    assert.strictEqual(withoutWords(written(module).text), withoutWords(withoutTraces(fixture("react"))))
  })

  it.effect("a ReAct, which then runs with its instructions and demonstrations", () =>
    Effect.gen(function*() {
      const output = yield* read("react", research).module({ question: "1 + 1?" })
      assert.deepStrictEqual([output.answer, output.termination], ["2", "finished"])
      const [act, , extract] = yield* TestLanguageModel.requests
      assert.include(JSON.stringify(act?.messages), "What react is told:")
      assert.include(JSON.stringify(act?.messages), "Größe?")
      assert.include(JSON.stringify(extract?.messages), "2 + 3 is 5.")
    }).pipe(Effect.provide(TestLanguageModel.layer([
      TestLanguageModel.toolCalls([{ name: "add", arguments: { a: 1, b: 1 } }]),
      TestLanguageModel.toolCalls([{ name: "finish", arguments: {} }]),
      TestLanguageModel.fields({ reasoning: "As added.", answer: "2" })
    ]))))

  it("ProgramOfThought, CodeAct, RLM, MultiChainComparison, BestOfN, and a list of agents", () => {
    const { lost, module } = read("agents", agents)
    // What DSPy says of the fields of these modules is in other words than what we say.
    assert.isTrue(lost.every(({ part }) => part.endsWith(".description")))
    const demos: { readonly [path: string]: Parameters.Demo } = {
      "compute.code_generate.predict": Parameters.augmented({
        question: "6 * 7?",
        reasoning: "multiply",
        generated_code: "const n = 6 * 7\nsubmit(n)"
      }),
      "act.codeact": Parameters.augmented({ question: "?", trajectory: "", generated_code: "1 + 1", finished: false })
    }
    assert.deepStrictEqual(
      Module.parameters(module),
      Object.fromEntries(agents.predictors.map(({ path }) => {
        const demo = demos[path]
        return [path, { instructions: told(path), demos: demo === undefined ? [] : [demo] }]
      }))
    )
    assert.strictEqual(withoutWords(written(module).text), withoutWords(withoutTraces(fixture("agents"))))
  })
})

describe("SavedProgram, state files written for DSPy 3.3", () => {
  it("are what DSPy writes, byte for byte", () => {
    const programs = {
      predict: route,
      "chain-of-thought": reasoned(Signature.parse(math)),
      nested: nestedByName,
      "custom-types": described
    }
    for (const [name, module] of Object.entries(programs)) {
      assert.strictEqual(written(read(name, module).module).text, withoutTraces(fixture(name)), name)
    }
  })

  // `programs.py check` loads these into DSPy and compares what DSPy saves again.
  it("are the ones DSPy loaded and saved again unchanged", () => {
    const programs = {
      predict: tuned(route, {
        "": {
          instructions:
            "Route the ticket.\n\n  - \"billing\": money\n  - \"technical\": broken\nSchöne Grüße, 日本語, 🎫, \\n is no newline.",
          demos: [
            Parameters.demo({ ticket: "\u0001\u007f\u2028\t\"\\", previousTickets: [], team: "account", urgency: -1 }),
            Parameters.augmented({ ticket: "", team: "billing", nothing: null, deep: { a: [1.5, { b: [] }, {}] } })
          ]
        }
      }),
      "chain-of-thought": tuned(ChainOfThought.make("question -> answer: number, isHTTPSSecure123: bool"), {
        predict: { demos: [Parameters.augmented({ question: "1 / 2?", reasoning: "Half.", answer: 0.5 })] }
      }),
      nested: tuned(nested, {
        "search.query": { instructions: "Write two words.", demos: [Parameters.demo({ question: "q", query: "a b" })] },
        "search.check.predict": { demos: [Parameters.augmented({ passages: ["p"], relevant: true })] },
        "writers[1].predict": { instructions: "", demos: [] },
        "tools['it's']": { demos: [Parameters.demo({ text: "x", label: "a" })] }
      }),
      react: tuned(research, {
        react: {
          instructions: "Add.",
          demos: [
            Parameters.augmented({
              question: "1 + 1?",
              trajectory: "Round 1\nThought: hm",
              next_thought: "I add.",
              next_tool_name: "add",
              next_tool_args: { a: 1, b: 1 }
            })
          ]
        }
      }),
      agents: tuned(agents, {
        "helpers[0].extract.predict": { demos: [Parameters.demo({ task: "t", trajectory: "", report: "r" })] },
        "compute.code_regenerate.predict": {
          instructions: "Find the mistake.",
          demos: [Parameters.augmented({ previous_code: "x", error: "x is not defined", generated_code: "submit(1)" })]
        },
        "read.extract": { instructions: "Say what is known.", demos: [] },
        "best.module.predict": { demos: [Parameters.augmented({ question: "?", reasoning: "r", answer: "a" })] }
      })
    }
    for (const [name, module] of Object.entries(programs)) {
      const { lost, text } = written(module)
      assert.deepStrictEqual(lost, [], name)
      assert.strictEqual(text, fixture(`${name}.ours`), name)
    }
  })

  it.prop("keep instructions and demonstrations, and report settings", [parameters], ([parameters]) => {
    const module = tuned(rag, parameters)
    const result = SavedProgram.toDspy(module)
    if (Either.isLeft(result)) {
      assert.isTrue(problems(result).every(({ description }) => description.includes("half a character")))
      return
    }
    const { lost, text } = result.right
    const again = Either.getOrThrow(SavedProgram.fromDspy(text, rag)).module
    for (const [index, { parameters, signature }] of module.predictors.entries()) {
      const loaded = again.predictors[index]!.parameters
      assert.strictEqual(
        loaded?.instructions ?? signature.instructions,
        parameters?.instructions ?? signature.instructions
      )
      assert.deepStrictEqual(loaded?.demos ?? [], parameters?.demos ?? [])
    }
    assert.strictEqual(
      lost.filter(({ part }) => part.startsWith("settings.")).length,
      Object.values(parameters).flatMap(({ settings }) => Object.keys(settings ?? {})).length
    )
  }, { fastCheck: { seed: 11, numRuns: 100 } })

  it("say what DSPy has no place for", () => {
    const { lost, text } = written(tuned(qa, {
      "": {
        instructions: "\n  indented",
        demos: [Parameters.augmented({ answer: "4", augmented: "x", dspy_uuid: "y" })],
        settings: { temperature: 1, topP: undefined }
      }
    }))
    assert.deepStrictEqual(
      lost.map(({ part }) => part),
      ["settings.temperature", "instructions", "demos[0].augmented", "demos[0].dspy_uuid"]
    )
    assert.deepStrictEqual(JSON.parse(text).demos, [{ augmented: true, answer: "4" }])
  })

  it("hold images, sound, documents and conversations as DSPy does, and give them back", () => {
    const module = Predict.make(
      "history: History, photo?: Image, sound: Audio, note: Document, scan: File, photos: Image[] -> answer"
    )
    const demo = {
      history: [{ photo: { url: "https://a.test/b.png" }, answer: "x" }],
      photo: { url: "data:image/png;base64,AAAA" },
      sound: { url: "data:audio/mpeg;base64,AAAA" },
      note: { text: "n", title: "Note" },
      scan: { url: "data:application/pdf;base64,AAAA" },
      photos: [{ url: "https://a.test/b.png" }],
      answer: "y"
    }
    const { lost, text } = written(tuned(module, { "": { demos: [Parameters.demo(demo)] } }))
    assert.deepStrictEqual(lost, [])
    const marked = (block: object) =>
      `<<CUSTOM-TYPE-START-IDENTIFIER>>${JSON.stringify([block])}<<CUSTOM-TYPE-END-IDENTIFIER>>`
    assert.deepStrictEqual(JSON.parse(text).demos, [{
      ...demo,
      history: { messages: demo.history },
      photo: marked({ type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } }),
      sound: marked({ type: "input_audio", input_audio: { data: "AAAA", format: "mp3" } }),
      note: marked({
        type: "document",
        source: { type: "text", media_type: "text/plain", data: "n" },
        citations: { enabled: true },
        title: "Note"
      }),
      scan: marked({ type: "file", file: { file_data: "data:application/pdf;base64,AAAA" } })
    }])
    assert.deepStrictEqual(
      Module.parameters(Either.getOrThrow(SavedProgram.fromDspy(text, module)).module)[""]?.demos,
      [Parameters.demo(demo)]
    )
    // What is no such block stays the text that it is, and is never shown as an image.
    const odd = text.replaceAll("image_url", "video_url")
    const [read] = Module.parameters(Either.getOrThrow(SavedProgram.fromDspy(odd, module)).module)[""]?.demos ?? []
    assert.isString(read?.values["photo"])
  })

  it("keep a field called augmented, and lose the mark", () => {
    const image = Predict.make("image -> augmented: bool")
    const { lost, text } = written(tuned(image, { "": { demos: [Parameters.augmented({ augmented: true })] } }))
    assert.deepStrictEqual(lost.map(({ part }) => part), ["demos[0].augmented"])
    assert.deepStrictEqual(Module.parameters(Either.getOrThrow(SavedProgram.fromDspy(text, image)).module), {
      "": { demos: [Parameters.demo({ augmented: true })] }
    })
  })

  it("are refused where DSPy could not load them", () => {
    assert.deepStrictEqual(kinds(SavedProgram.toDspy(program({ metadata: qa }))), [["unsupported", "metadata"]])
    const half = (text: string) =>
      SavedProgram.toDspy(tuned(qa, { "": { demos: [Parameters.demo({ answer: text })] } }))
    assert.deepStrictEqual(kinds(half("\ud83d")), [["unsupported", ""]])
    assert.isTrue(Either.isRight(half("\\ud83d")))
    assert.isTrue(Either.isRight(half("🎫")))
  })
})

describe("SavedProgram, state files of DSPy for another program", () => {
  const state = {
    demos: [],
    signature: { instructions, fields: [{ description: "${question}" }, { description: "${answer}" }] },
    lm: null
  }
  const versions = { metadata: { dependency_versions: { python: "3.12" } } }
  const pair = program({ first: qa, second: Predict.make(Signature.parse("question -> answer", { instructions })) })
  const reading = (file: unknown, module: Module.Any = pair) => SavedProgram.fromDspy(JSON.stringify(file), module)

  it("the states of both predictors", () => {
    assert.deepStrictEqual(
      Module.parameters(
        Either.getOrThrow(reading({ first: state, second: { ...state, demos: [{ answer: "4" }] }, ...versions })).module
      ),
      { second: { demos: [Parameters.demo({ answer: "4" })] } }
    )
  })

  it("names missing and extra predictors", () => {
    assert.deepStrictEqual(kinds(reading({ third: state, ...versions })), [
      ["missingPredictor", "first"],
      ["missingPredictor", "second"],
      ["extraPredictor", "third"]
    ])
    assert.deepStrictEqual(kinds(reading({ ...state, ...versions })), [
      ["missingPredictor", "first"],
      ["missingPredictor", "second"],
      ["extraPredictor", ""]
    ])
  })

  it("names fields that do not agree", () => {
    const fields = (...descriptions: ReadonlyArray<string | null>) => ({
      ...state,
      signature: { instructions, fields: descriptions.map((description) => ({ prefix: "x", description })) }
    })
    const result = reading({
      first: fields("${question}", "${reasoning}", "the answer"),
      second: fields("${topic}", "${answer}"),
      ...versions
    })
    assert.deepStrictEqual(kinds(result), [["fieldCount", "first"], ["renamedField", "second", "question"]])
    assert.deepStrictEqual(descriptions(result), [
      `predictor "first" has 3 fields in the file (question, reasoning, "the answer") and 2 in the program (question, answer)`,
      `field 1 of predictor "second" is called "topic" in the file and "question" in the program`
    ])

    const { lost } = Either.getOrThrow(reading({ first: fields("a question", null), second: state, ...versions }))
    assert.deepStrictEqual(lost.map(({ part, path }) => [path, part]), [["first", "fields.question.description"]])
  })

  it("names what is not a state", () => {
    const result = reading({
      first: { ...state, extended_signature: {} },
      second: { ...state, demos: ["x"], lm: undefined },
      ...versions
    })
    assert.deepStrictEqual(kinds(result), [["unsupported", "first"], ["schema", "second"], ["schema", "second"]])
    assert.deepStrictEqual(descriptions(result), [
      `predictor "first" was saved by DSPy 2.5 or older: load and save it with DSPy 2.6 or newer first`,
      `predictor "second": demos[0]: Expected JsonRecord, actual "x"`,
      `predictor "second": lm: is missing`
    ])
    assert.deepStrictEqual(kinds(reading({ first: state, second: state })), [["format"]])
    assert.deepStrictEqual(kinds(SavedProgram.fromDspy(text(pair), pair)), [["format"]])
    assert.deepStrictEqual(kinds(SavedProgram.fromDspy("{", pair)), [["syntax"]])
  })

  it("says of everything that it does not take, however much it is", () => {
    const lm = Object.fromEntries(Array.makeBy(150_000, (n) => [`k${n}`, 1]))
    const { lost } = Either.getOrThrow(reading({ first: { ...state, lm }, second: state, ...versions }))
    assert.strictEqual(lost.length, 150_000)
  })

  it("takes no state that is not a predictor's, and says so", () => {
    const others = { retrieve: { k: 3 }, flex: { module_src: "…", lm: null }, typescript: true }
    const { lost } = Either.getOrThrow(reading({ first: state, ...others, second: state, ...versions }))
    assert.deepStrictEqual(lost.map(({ part, path }) => [path, part]), [
      ["retrieve", "state"],
      ["flex", "state"],
      ["typescript", "state"]
    ])
  })

  it("takes what any version wrote around and beside a state", () => {
    const older = {
      ...state,
      traces: [{}],
      train: [],
      config: { n: 2 },
      signature: {
        instructions,
        fields: [{ prefix: "Q:", description: "${question}" }, { prefix: "A:", description: "${answer}", more: 1 }]
      }
    }
    for (const dependency_versions of [{}, { python: "3.9", dspy: "2.6.0", cloudpickle: "2.0" }, { julia: "1" }]) {
      const { lost, module } = Either.getOrThrow(
        reading({ first: older, second: older, metadata: { dependency_versions } })
      )
      assert.deepStrictEqual([lost, Module.parameters(module)], [[], {}])
    }
  })

  it("reads a bare Predict under the name self too", () => {
    const result = reading({ self: { ...state, demos: [{ answer: "4" }] }, ...versions }, qa)
    assert.deepStrictEqual(Module.parameters(Either.getOrThrow(result).module), {
      "": { demos: [Parameters.demo({ answer: "4" })] }
    })
  })

  it("takes the sampling settings it understands", () => {
    const lm = {
      temperature: null,
      max_completion_tokens: 5,
      stop: "END",
      seed: 3,
      n: 2,
      reasoning_effort: "extreme",
      top_p: "high",
      launch_kwargs: {}
    }
    const { lost, module } = Either.getOrThrow(reading({ ...state, lm, ...versions }, qa))
    assert.deepStrictEqual(Module.parameters(module)[""]!.settings, { maxTokens: 5, stop: ["END"], seed: 3, n: 2 })
    assert.deepStrictEqual(lost.map(({ part }) => part), ["lm.reasoning_effort", "lm.top_p"])
  })
})

// =============================================================================
// Files
// =============================================================================

const inDirectory = <A, E>(
  use: (directory: string) => Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>
): Effect.Effect<A, E> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    return yield* use(yield* Effect.orDie(fs.makeTempDirectoryScoped()))
  }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

describe("SavedProgram, files", () => {
  it.effect("are written whole and read back", () =>
    inDirectory((directory) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/rag.json`
        yield* SavedProgram.save(file, rag)
        yield* SavedProgram.save(file, tuned(rag, someParameters), { seed: 9 })
        assert.strictEqual(yield* fs.readFileString(file), text(tuned(rag, someParameters), { seed: 9 }))
        assert.deepStrictEqual(yield* fs.readDirectory(directory), ["rag.json"])
        const loaded = yield* SavedProgram.load(file, rag)
        assert.deepStrictEqual(Module.parameters(loaded), someParameters)
      })
    ))

  it.effect("keep the old content when the new one cannot be put in place", () =>
    inDirectory((directory) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/rag.json`
        yield* SavedProgram.save(file, rag)
        const failing = Layer.succeed(FileSystem.FileSystem, {
          ...fs,
          rename: () => new SystemError({ module: "FileSystem", method: "rename", reason: "Busy" })
        })
        const error = yield* Effect.flip(Effect.provide(SavedProgram.save(file, tuned(rag, someParameters)), failing))
        assert.strictEqual(error._tag, "SystemError")
        assert.strictEqual(yield* fs.readFileString(file), text(rag))
        assert.deepStrictEqual(yield* fs.readDirectory(directory), ["rag.json"])
      })
    ))

  it.effect("are not touched by a program that cannot be saved", () =>
    inDirectory((directory) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/rag.json`
        const broken = tuned(qa, { "": { demos: [Parameters.demo(JSON.parse(`{ "__proto__": 1 }`))] } })
        const error = yield* Effect.flip(SavedProgram.save(file, broken))
        assert.strictEqual(error._tag, "SavedProgramError")
        assert.include(error.message, `cannot be saved to ${file}: the key __proto__ is refused`)
        assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
      })
    ))

  it.effect("of another program are named in the error", () =>
    inDirectory((directory) =>
      Effect.gen(function*() {
        const file = `${directory}/rag.json`
        yield* SavedProgram.save(file, rag)
        const error = yield* Effect.flip(SavedProgram.load(file, qa))
        assert.strictEqual(error._tag, "SavedProgramError")
        assert.include(error.message, `The program cannot be loaded from ${file}: the file has no bare predictor; `)
        const missing = yield* Effect.flip(SavedProgram.load(`${directory}/none.json`, qa))
        assert.strictEqual(missing._tag, "SystemError")
      })
    ))

  it.effect("that are not UTF-8 are refused, not read with other characters", () =>
    inDirectory((directory) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${directory}/latin1.json`
        yield* fs.writeFile(file, Buffer.from(text(tuned(qa, { "": { instructions: "Grüße", demos: [] } })), "latin1"))
        const error = yield* Effect.flip(SavedProgram.load(file, qa))
        assert.strictEqual(error.message, `The program cannot be loaded from ${file}: the text is not UTF-8`)
      })
    ))

  it.effect("are not read when they are too large", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(SavedProgram.load("huge.json", qa))
      assert.strictEqual(error.message, "The program cannot be loaded from huge.json: it is larger than 16 MiB")
    }).pipe(Effect.provide(FileSystem.layerNoop({
      stat: () => Effect.succeed({ size: FileSystem.Size(16 * 1024 * 1024 + 1) } as FileSystem.File.Info), // only the size is read
      readFile: () => Effect.dieMessage("read")
    }))))

  it.effect("of DSPy are recognised, and what is not taken from them is logged", () => {
    const logged: Array<unknown> = []
    return inDirectory((directory) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        yield* fs.writeFileString(`${directory}/dspy.json`, fixture("with-lm"))
        const loaded = yield* SavedProgram.load(`${directory}/dspy.json`, qa)
        assert.deepStrictEqual(Module.parameters(loaded)[""]!.instructions, "Answer in one word.")
        yield* fs.writeFileString(`${directory}/ours.json`, text(Predict.make("question -> answer")))
        yield* SavedProgram.load(`${directory}/ours.json`, qa)
        yield* SavedProgram.save(`${directory}/ours.json`, qa)
        yield* SavedProgram.load(`${directory}/ours.json`, qa)
        assert.strictEqual(logged.length, 2)
        assert.match(String(logged[0]), /^Not taken from .*dspy\.json: lm\._dspy_lm_class of bare predictor \(/)
        assert.match(String(logged[1]), /ours\.json: signature\.instructions of bare predictor \(they were others when/)
      })
    ).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => logged.push(message)))))
  })
})
