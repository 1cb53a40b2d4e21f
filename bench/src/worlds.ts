/**
 * Whether the simulated worlds behave as the real one is known to: `pnpm bench worlds`, with `--check` for fewer seeds. Where one of
 * these does not hold, comparisons of optimizers in the worlds say nothing.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import type * as Parameters from "@effect-dspy/core/Parameters"
import * as BootstrapFewShot from "@effect-dspy/optimizers/BootstrapFewShot"
import * as LabeledFewShot from "@effect-dspy/optimizers/LabeledFewShot"
import * as RandomSearch from "@effect-dspy/optimizers/RandomSearch"
import * as Tpe from "@effect-dspy/optimizers/Tpe"
import { Effect, Either, Option } from "effect"
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import * as path from "node:path"
import { parseArgs } from "node:util"
import { table } from "./fixture/measure.ts"
import * as virtualTime from "./fixture/virtualTime.ts"
import { dice } from "./worlds/chance.ts"
import * as model from "./worlds/model.ts"
import * as problem from "./worlds/problem.ts"
import type { Message } from "./worlds/prompt.ts"
import * as rules from "./worlds/rules.ts"
import * as World from "./worlds/World.ts"

const { values: options } = parseArgs({ options: { check: { type: "boolean", default: false } } })
const seeds = options.check ? 3 : 20

let failures = 0
const gate = (claim: string, holds: boolean, figures = ""): void => {
  if (!holds) failures++
  console.log(`${holds ? "ok  " : "FAIL"} ${claim}${figures === "" ? "" : `: ${figures}`}`)
}

// -----------------------------------------------------------------------------
// Programs that say or show the same in every world
// -----------------------------------------------------------------------------

interface Setting {
  readonly world: World.World
  readonly problem: problem.Problem
  readonly given: Parameters.Parameters
  readonly run: <A, E>(self: Effect.Effect<A, E, LanguageModel.LanguageModel>) => Promise<A>
  readonly score: (parameters: Parameters.Parameters) => Promise<number>
  readonly compiled: (optimizer: "labeled" | "bootstrapped") => Promise<Parameters.Parameters>
}

const setting = (kind: World.Kind, seed: number): Setting => {
  const world = World.make(kind, seed)
  const task = problem.make(world)
  const { service } = model.make(world)
  const run = <A, E>(self: Effect.Effect<A, E, LanguageModel.LanguageModel>) =>
    Effect.runPromise(Effect.provideService(self, LanguageModel.LanguageModel, service))
  return {
    world,
    problem: task,
    run,
    given: Object.fromEntries(task.module.predictors.map(({ path }) => [path, { demos: [] }])),
    score: async (parameters) => {
      const module = Either.getOrThrow(Module.withParameters(task.module, parameters))
      const scores = await run(problem.scores(module, task))
      return mean(scores)
    },
    compiled: async (optimizer) => {
      const options = { trainset: task.trainset, metric: task.metric, seed }
      const { candidates } = await run(
        optimizer === "labeled"
          ? LabeledFewShot.compile(task.module, options)
          : BootstrapFewShot.compile(task.module, options)
      )
      return candidates.find(({ origin }) => origin === optimizer)!.parameters // each makes one of its own
    }
  }
}

const instructed = (given: Parameters.Parameters, instructions: string): Parameters.Parameters =>
  Object.fromEntries(Object.entries(given).map(([path, entry]) => [path, { ...entry, instructions }]))

const stated = (world: World.World, change: (rule: rules.Rule) => rules.Rule = (rule) => rule): string =>
  rules.trueRules(world).map((rule) => rules.state(world, change(rule))).join(" ")

// -----------------------------------------------------------------------------
// Orderings
// -----------------------------------------------------------------------------

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length

const contenders: Readonly<
  Record<string, (setting: Setting) => Promise<Parameters.Parameters> | Parameters.Parameters>
> = {
  "as given": ({ given }) => given,
  "wrong rules": ({ given, world }) =>
    instructed(
      given,
      stated(world, (rule) => ({ ...rule, answer: (rule.answer + 1) % world.steps[rule.step]!.answers.length }))
    ),
  "true rules": ({ given, world }) => instructed(given, stated(world)),
  labeled: ({ compiled }) => compiled("labeled"),
  bootstrapped: ({ compiled }) => compiled("bootstrapped"),
  "bootstrapped, true rules": async ({ compiled, world }) => instructed(await compiled("bootstrapped"), stated(world))
}

const scores = new Map<string, number>()
for (const kind of World.kinds) {
  const settings = Array.from({ length: seeds }, (_, seed) => setting(kind, seed))
  for (const [name, contender] of Object.entries(contenders)) {
    const all: Array<number> = []
    for (const setting of settings) all.push(await setting.score(await contender(setting)))
    scores.set(`${kind.name}/${name}`, mean(all))
  }
}
const of = (kind: string, name: string) => scores.get(`${kind}/${name}`)!

console.log(`mean share of right answers on the test set, ${seeds} seeds (synthetic)`)
table(
  ["", ...Object.keys(contenders)],
  World.kinds.map(({ name }) => [name, ...Object.keys(contenders).map((contender) => of(name, contender).toFixed(2))])
)

const more = (kind: string, better: string, worse: string, by: number): void => {
  const [a, b] = [of(kind, better), of(kind, worse)]
  gate(`${kind}: ${better} is better than ${worse} by ${by}`, a - b >= by, `${a.toFixed(2)} against ${b.toFixed(2)}`)
}
for (const kind of ["demo", "demo-2", "mixed", "mixed-2"]) {
  more(kind, "labeled", "as given", 0.03)
  more(kind, "bootstrapped", "labeled", 0.05)
}
for (const kind of ["rule", "rule-2"]) {
  more(kind, "true rules", "bootstrapped", 0.3)
  more(kind, "as given", "wrong rules", 0.05)
}
for (const kind of ["mixed", "mixed-2"]) {
  more(kind, "true rules", "as given", 0.15)
  more(kind, "bootstrapped, true rules", "true rules", 0.1)
  more(kind, "bootstrapped, true rules", "bootstrapped", 0.1)
  more(kind, "as given", "wrong rules", 0.05)
}
for (const kind of ["demo", "demo-2"]) {
  const difference = of(kind, "true rules") - of(kind, "as given")
  gate(`${kind}: rules make no difference`, Math.abs(difference) < 0.04, difference.toFixed(3))
}

// Demonstrations of both steps from the same runs, and from different ones.
{
  const matched: Array<number> = []
  const crossed: Array<number> = []
  const kind = World.kinds.find(({ dialects }) => dialects === 2)!
  for (let seed = 0; seed < seeds; seed++) {
    const { given, score, world } = setting(kind, seed)
    const [first, last] = world.steps as [World.Step, World.Step] // two dialects are for two steps
    const shown = (dialectOfFirst: number, dialectOfLast: number): Parameters.Parameters => {
      const values = (dialect: number) =>
        World.inputs(world, "train").slice(0, 6).map((input) => ({
          manifest: World.manifest(world, input),
          reasoning: "Compared.",
          grade: first.answers[World.truth(first, input)]![dialect]!,
          berth: last.answers[World.truth(last, input)]![0]!
        }))
      const demos = (values: ReadonlyArray<Parameters.Demo["values"]>) =>
        values.map((values) => ({ augmented: true, values }))
      return Object.fromEntries(
        Object.keys(given).map((path) => [path, {
          demos: path.startsWith("grade")
            ? demos(values(dialectOfFirst).map(({ berth: _, ...values }) => values))
            : demos(values(dialectOfLast))
        }])
      )
    }
    matched.push(await score(shown(0, 0)), await score(shown(1, 1)))
    crossed.push(await score(shown(0, 1)), await score(shown(1, 0)))
  }
  gate(
    `${kind.name}: demonstrations that agree are better than the same ones in two dialects`,
    mean(matched) - mean(crossed) > 0.1,
    `${mean(matched).toFixed(2)} against ${mean(crossed).toFixed(2)}`
  )
}

// -----------------------------------------------------------------------------
// Reflection
// -----------------------------------------------------------------------------

const reflection = async (kind: World.Kind, feedback: problem.Feedback): Promise<number> => {
  const all: Array<number> = []
  for (let seed = 0; seed < seeds; seed++) {
    const { given, score, world } = setting(kind, seed)
    const { exact, trainset } = problem.make(world, feedback)
    const answer = model.answerer(world)
    const draw = dice(seed, "reflection")
    // What the program would say at first: mostly wrong.
    const records = trainset.slice(0, 8).map((example) => {
      const berth = draw.uniform() < 0.25
        ? example.labels.berth
        : world.steps.at(-1)!.answers[draw.below(6)]![0]!
      const { feedback } = Effect.runSync(exact(example, { grade: "", berth, reasoning: "" }, []))
      return `# Example\n## Inputs\n${example.inputs.manifest}\n## Output\nberth: ${berth}\n## Feedback\n${feedback}`
    })
    const written = answer([{
      role: "user",
      content: `These are the instructions:\n\`\`\`\nName the berth.\n\`\`\`\n${
        records.join("\n\n")
      }\nWrite better ones within \`\`\`.`
    }])
    all.push(await score(instructed(given, written.replaceAll("```", ""))))
  }
  return mean(all)
}

for (const name of ["rule", "mixed"]) {
  const kind = World.kinds.find((kind) => kind.name === name)!
  const [rich, poor] = [await reflection(kind, "rich"), await reflection(kind, "poor")]
  gate(
    `${name}: what is written after rich feedback is better than after poor feedback`,
    rich - poor > 0.05,
    `${rich.toFixed(2)} against ${poor.toFixed(2)}`
  )
}

// -----------------------------------------------------------------------------
// Searching
// -----------------------------------------------------------------------------

// The same trials of the same combinations, chosen by Tpe and at random. It takes a minute, and many seeds to be seen at all.
const searched = async (kind: World.Kind, nStartupTrials: number): Promise<number> => {
  const trials = 30
  const all: Array<number> = []
  for (let seed = 0; seed < seeds; seed++) {
    const { given, problem: task, run, score, world } = setting(kind, seed)
    const { metric, module, trainset, valset } = task
    const few = { trainset, valset: valset.slice(0, 2), metric, seed, maxLabeledDemos: 4, numCandidatePrograms: 6 }
    const sets = (await run(RandomSearch.compile(module, few))).candidates
      .filter(({ origin }) => origin === "bootstrapped at random")
      .map(({ parameters }) => parameters)
    const examples = trainset.slice(0, 10).map(({ inputs, labels }) => `${inputs.manifest} -> ${labels.berth}`).join(
      "\n"
    )
    const write = model.answerer(world)
    const texts = [
      undefined,
      ...["one", "another"].map((rollout) =>
        write([{ role: "user", content: `${examples}\nWrite instructions.` }], rollout).replaceAll("```", "")
      )
    ]
    const paths = Object.keys(given)
    const space = Object.fromEntries(paths.flatMap((path) => [[`${path} text`, texts.length], [path, sets.length]]))
    const parametersOf = (choices: Tpe.Choices): Parameters.Parameters =>
      Object.fromEntries(paths.map((path) => {
        const instructions = texts[choices[`${path} text`]!]
        const { demos } = sets[choices[path]!]![path]! // choices are within the space, and every set is for all paths
        return [path, instructions === undefined ? { demos } : { demos, instructions }]
      }))
    const tried: Array<Tpe.Trial> = []
    const means = new Map<string, { readonly choices: Tpe.Choices; readonly values: Array<number> }>()
    for (let n = 0; n < trials; n++) {
      const choices = Option.getOrThrow(Tpe.suggest(space, tried, { path: [seed, n], nStartupTrials }))
      const batch = dice(seed, n, "batch").shuffle(valset).slice(0, 35)
      const candidate = Either.getOrThrow(Module.withParameters(module, parametersOf(choices)))
      const value = mean(await run(problem.scores(candidate, { ...task, population: batch })))
      tried.push({ choices, value })
      const key = JSON.stringify(choices)
      const known = means.get(key) ?? { choices, values: [] }
      means.set(key, known)
      known.values.push(value)
    }
    const best = Array.from(means.values()).reduce((a, b) => mean(b.values) > mean(a.values) ? b : a)
    all.push(await score(parametersOf(best.choices)))
  }
  return mean(all)
}

if (!options.check) {
  for (const name of ["mixed-2", "interacting"]) {
    const kind = World.kinds.find((kind) => kind.name === name)!
    const [tpe, random] = [await searched(kind, 10), await searched(kind, Number.POSITIVE_INFINITY)]
    gate(
      `${name}: what Tpe finds is no worse than what is found at random`,
      tpe >= random - 0.01,
      `${tpe.toFixed(3)} against ${random.toFixed(3)}`
    )
  }
}

// -----------------------------------------------------------------------------
// Nothing but the prompt
// -----------------------------------------------------------------------------

{
  const { problem: task, world } = setting(World.kinds.find(({ name }) => name === "mixed")!, 1)
  const asked: Array<ReadonlyArray<Message>> = []
  const recording = LanguageModel.make({
    id: "recording",
    generate: (request) => {
      const messages = request.messages.map(({ content, role }) => ({ role, content: String(content) }))
      asked.push(messages)
      return Effect.succeed(LanguageModel.text(model.answerer(world)(messages), "recording"))
    }
  })
  await Effect.runPromise(
    Effect.provideService(problem.scores(task.module, task), LanguageModel.LanguageModel, recording)
  )
  const once = model.answerer(world)
  const first = asked.map((messages) => once(messages))
  const again = model.answerer(world)
  const second = [...asked].reverse().map((messages) => again(messages)).reverse()
  gate("the same prompt has the same answer, in any order and instance", first.every((text, n) => text === second[n]))
  const other = asked.map((messages) => once(messages, "another"))
  gate("another rollout is another sample", first.some((text, n) => text !== other[n]))
  gate("a rollout has one answer", asked.every((messages, n) => once(messages, "another") === other[n]))

  const nothing = once([{ role: "user", content: "Write better instructions for an assistant in a harbour." }])
  gate("a writer that is shown nothing states nothing", rules.read(world, nothing).rules.length === 0)
  const words = (text: string) =>
    Array.from(text.matchAll(/[a-z]+/g), ([word]) => word).filter((word) => world.words.has(word))
  gate(
    "a writer uses no word that its prompt does not have",
    Array.from({ length: 200 }, (_, n) => n).every((n) => {
      const prompt = dice(n).shuffle(task.trainset).slice(0, 10)
        .map(({ inputs, labels }) => `${inputs.manifest} -> ${labels.berth}`).join("\n")
      const shown = new Set(words(prompt))
      return words(once([{ role: "user", content: `${prompt}\nState the rules.` }], `${n}`)).every((word) =>
        shown.has(word)
      )
    })
  )

  const { service } = model.make(world)
  const requests = asked.map((messages) => ({
    messages: messages.map(({ content, role }) => ({ content, role: role as "system" | "user" })) // nothing was shown
  }))
  const calls = 20_000
  const loop = Effect.forEach(
    Array.from({ length: calls }, (_, n) => requests[n % requests.length]!),
    service.generate,
    { discard: true }
  )
  await Effect.runPromise(loop)
  const before = process.cpuUsage()
  await Effect.runPromise(loop)
  const { system, user } = process.cpuUsage(before)
  const rate = calls / (user + system) * 1e6
  gate("at least 5000 calls a second of CPU time", rate >= 5000, `${Math.round(rate)}`)
}

// -----------------------------------------------------------------------------
// Frozen
// -----------------------------------------------------------------------------

// Of data and answers, with and without demonstrations and rules. A new kind does not change it.
const frozen = ["demo", "rule", "mixed", "deceptive", "noisy", "demo-2", "rule-2", "mixed-2", "interacting"]
const digest = "1aa3566ff2bc8fce"

{
  const all = createHash("sha256")
  for (const name of frozen) {
    for (const seed of [0, 1]) {
      const world = World.named(`${name}/${seed}`)
      const answer = model.answerer(world)
      const examples = World.inputs(world, "train").map((input) => {
        const answers = world.steps.map((step) => step.answers[World.truth(step, input)]!.at(input.number % 2 - 1)!) // -1 or 0
        return { asked: [World.manifest(world, input), ...answers.slice(0, -1)].join("\n"), answered: answers.at(-1)! }
      })
      const said = stated(world).split(". ")
      for (const [n, { asked, answered }] of examples.entries()) {
        const shown = dice(n, "shown").shuffle(examples).slice(0, n % 6)
        const system = [
          `Your output fields are:\n1. \`reasoning\` (str):\n2. \`${world.steps.at(-1)!.field}\` (str):`,
          ...dice(n, "said").shuffle(said).slice(0, n % 4)
        ].join("\n")
        const demos = shown.flatMap((demo, index): ReadonlyArray<Message> => [
          { role: "user", content: demo.asked },
          { role: "assistant", content: index % 3 === 0 ? `not given\n${demo.answered}` : demo.answered }
        ])
        all.update(answer([{ role: "system", content: system }, ...demos, { role: "user", content: asked }]))
        const judged = shown.map(({ answered, asked }, index) =>
          `${asked}\n${answered}: ${index % 2 === 0 ? "right" : "wrong"}`
        )
        all.update(
          answer([{ role: "user", content: [...judged, `${asked}\nexpected ${answered}`].join("\n") }], `${n}`)
        )
      }
    }
  }
  const now = all.digest("hex").slice(0, 16)
  gate("the worlds are what they were", now === digest, now)
}

// -----------------------------------------------------------------------------
// What the worlds are used through
// -----------------------------------------------------------------------------

{
  const { service } = model.make(World.named("mixed/1"), { latency: 1000 })
  const call = service.generate({ messages: [{ role: "user", content: "Write instructions." }] })
  const { milliseconds } = await virtualTime.run(
    Effect.forEach(Array.from({ length: 100 }), () => call, { concurrency: 50 })
  )
  gate("in virtual time 100 calls of a second, 50 at once, take two", milliseconds === 2000, `${milliseconds} ms`)
}

{
  const child = spawn(process.execPath, [...process.execArgv, path.join(import.meta.dirname, "worlds/server.ts")], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  try {
    const [line] = await once(child.stdout, "data") as [Buffer] // it prints its address and nothing else
    const url = line.toString().trim()
    const get = async (path: string): Promise<unknown> => (await fetch(`${url}${path}`)).json()
    const world = World.named("mixed/1")
    const answer = model.answerer(world)
    const prompts = World.inputs(world, "test").slice(0, 20).map((input): ReadonlyArray<Message> => [
      { role: "system", content: "Your output fields are:\n1. `reasoning` (str):\n2. `berth` (str):" },
      { role: "user", content: `[[ ## manifest ## ]]\n${World.manifest(world, input)}` }
    ])
    const ask = async (messages: ReadonlyArray<Message>, temperature: number) => {
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        body: JSON.stringify({ model: "mixed/1", messages, temperature })
      })
      const { choices } = await response.json() as {
        readonly choices: ReadonlyArray<{ readonly message: { readonly content: string } }>
      }
      return choices[0]?.message.content
    }
    const texts = await Promise.all(prompts.map((messages) => ask(messages, 0)))
    gate("the server gives the same answers", prompts.every((messages, n) => answer(messages) === texts[n]))
    const [first, second] = [await ask(prompts[0]!, 1), await ask(prompts[0]!, 1)]
    gate("the server gives another sample at a temperature above 0", first === texts[0] && second !== first)
    const { calls } = await get("/meter") as { readonly calls: number }
    gate("the server counts its calls", calls === 22, String(calls))
  } finally {
    child.kill()
  }
}

if (failures > 0) process.exitCode = 1
