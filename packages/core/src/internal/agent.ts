/** What modules that work in rounds share: the rounds themselves, and how they are told to the model. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Agent from "../Agent.ts"
import * as LanguageModelError from "../LanguageModelError.ts"
import type * as Predict from "../Predict.ts"
import * as Signature from "../Signature.ts"

/** One round; most have one step. */
export interface Round<out Step extends Agent.Step> {
  readonly steps: ReadonlyArray<Step>
}

/** What became of what the model said: whether it was the last, and which outputs it gave then, if it did. */
export interface Done<out Round> {
  readonly round: Round
  readonly end?: "finished" | { readonly outputs: object } | undefined
}

export interface Work<in out R0, in out Said, out E, out R, out R2> {
  readonly module: string
  readonly maxIters: number
  /** How many of the oldest rounds may be left out for want of room, one after the other for each question; 3 by default. */
  readonly cuts?: number | undefined
  /** Asks what to do in a round, in view of those before it that there is room for. */
  readonly ask: (rounds: ReadonlyArray<R0>, number: number) => Effect.Effect<Said, Predict.PredictError, R>
  readonly act: (said: Said, number: number) => Effect.Effect<Done<R0>, E, R2>
  /** The round in which an answer could not be read. */
  readonly unread: (step: Agent.Step) => R0
  /** Makes the outputs of what is known. */
  readonly extract: (rounds: ReadonlyArray<R0>) => Effect.Effect<object, Predict.PredictError, R>
}

// An answer that cannot be read is told to the model; so many in a row are the end.
const maxUnreadable = 2

/** Rounds until the model knows enough, or there can be no more; then the outputs. */
export const work = <Step extends Agent.Step, R0 extends Round<Step>, Said, E, R, R2>(
  { act, ask, cuts = 3, extract, maxIters, module, unread }: Work<R0, Said, E, R, R2>
) =>
  Effect.gen(function*() {
    const rounds: Array<R0> = []
    const withRoom = room(rounds, cuts)
    let unreadable = 0
    let termination: Agent.Termination = "maxIters"
    let outputs: object | undefined
    while (rounds.length < maxIters && termination === "maxIters") {
      const number = rounds.length + 1
      const asked = yield* Effect.either(withRoom((rounds) => ask(rounds, number)))
      if (Either.isRight(asked)) {
        unreadable = 0
        const { end, round } = yield* act(asked.right, number)
        rounds.push(round)
        if (end === "finished") termination = end
        else if (end !== undefined) {
          termination = "submitted"
          outputs = end.outputs
        }
        continue
      }
      const error = asked.left
      if (error._tag === "AdapterParseError") {
        const observation = `Your answer could not be used: ${
          error.problems.map(({ description }) => description).join("; ")
        }`
        rounds.push(unread({ round: number, thought: error.text, observation, failed: true }))
        if (++unreadable < maxUnreadable) continue
        termination = "unreadable"
      } else if (isFull(error)) termination = "contextWindow"
      else return yield* error
      yield* Effect.logWarning(`The rounds of ${module} are over: ${error.message}`)
    }
    outputs ??= yield* withRoom(extract)
    const [last] = rounds.at(-1)?.steps ?? []
    const trajectory = rounds.flatMap(({ steps }) => steps)
    return { reasoning: last?.thought ?? "", ...outputs, trajectory, termination }
  })

// -----------------------------------------------------------------------------
// Room
// -----------------------------------------------------------------------------

const isFull = (error: unknown): boolean =>
  LanguageModelError.isLanguageModelError(error) && error.reason._tag === "ContextWindowExceeded"

// Asks about the rounds that there is room for, in one run of a module: leaves out the oldest one while there is none. The
// last one must stay, and what had no room once stays out.
const room = <R0>(rounds: ReadonlyArray<R0>, cuts: number) => {
  let from = 0
  const ask = <A, E, R>(
    question: (rounds: ReadonlyArray<R0>) => Effect.Effect<A, E, R>,
    left = cuts
  ): Effect.Effect<A, E, R> =>
    Effect.catchIf(
      Effect.suspend(() => question(rounds.slice(from))),
      (error) => isFull(error) && left > 0 && rounds.length - from > 1,
      () => {
        from += 1
        return ask(question, left - 1)
      }
    )
  return ask
}

// -----------------------------------------------------------------------------
// In words
// -----------------------------------------------------------------------------

export const finish = "finish"
export const submit = "submit"

// What only says that the rounds are over has nothing to show.
const isEnd = (step: Agent.ToolStep | Agent.CodeStep): boolean =>
  step.observation === "" && ("code" in step ? step.code === "" : step.tool === finish || step.tool === submit)

const done = (step: Agent.ToolStep | Agent.CodeStep): ReadonlyArray<string> =>
  "code" in step
    ? step.code === "" ? [] : ["Code:", step.code]
    : step.tool === ""
    ? []
    : [`Tool: ${step.tool} ${JSON.stringify(step.arguments)}`]

export const told = (rounds: ReadonlyArray<Round<Agent.ToolStep | Agent.CodeStep>>): string =>
  rounds.map(({ steps }) =>
    steps.flatMap((step, index) => [
      ...(index === 0 ? [`Round ${step.round}`] : []),
      ...(step.thought === "" ? [] : [`Thought: ${step.thought}`]),
      ...done(step),
      ...(isEnd(step) ? [] : [`Observation: ${step.observation}`])
    ]).join("\n")
  ).join("\n\n")

/** Both ends of a text, and how much is missing between them. */
export const clipped = (text: string, limit: number): string => {
  if (text.length <= limit) return text
  const half = Math.ceil(limit / 2)
  const end = text.length - (limit - half)
  // Half a character is refused by some services.
  const head = isInside(text, half) ? half - 1 : half
  const tail = isInside(text, end) ? end + 1 : end
  return `${text.slice(0, head)}\n… ${tail - head} characters are left out here …\n${text.slice(tail)}`
}

// Whether a place is in the middle of a character.
const isInside = (text: string, at: number): boolean => (text.codePointAt(at - 1) ?? 0) > 0xFFFF

export const namesOf = (fields: ReadonlyArray<Signature.Field>): string =>
  fields.map(({ name }) => `\`${name}\``).join(", ")

// -----------------------------------------------------------------------------
// Signatures
// -----------------------------------------------------------------------------

export const field = Schema.String.annotations({ description: "what was thought, done and seen so far" })

/** The inputs of a signature in a variable, of which the compiler knows nothing; `{}` says so. */
export const inputsOf = (signature: Signature.Any): {} => signature.input.fields

/** The signature, to be changed: the compiler refuses that for one of which it does not know that it has fields. */
export const changeable = (signature: Signature.Any) => signature as Signature.Signature<{}, {}>

/** The signature with what happened as a further input. */
export const extracting = (signature: Signature.Any) =>
  Signature.appendInput(changeable(signature), "trajectory", field)

// -----------------------------------------------------------------------------
// What cannot be
// -----------------------------------------------------------------------------

/** Throws for limits that are none. */
export const limits = (module: string, values: { readonly [name: string]: number }): void => {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`${module}: ${name} must be a whole number of at least 1, not ${value}`)
    }
  }
}

// What every answer has beside the outputs.
const answered = ["reasoning", "trajectory", "termination"]

/** Throws for fields with names that the module itself gives to something. */
export const free = (
  module: string,
  signature: Signature.Any,
  own: { readonly inputs: ReadonlyArray<string>; readonly outputs?: ReadonlyArray<string> }
): void => {
  const { inputs, outputs } = Signature.fields(signature)
  const ownOutputs = new Set([...answered, ...own.outputs ?? []])
  const taken = inputs.find(({ name }) => own.inputs.includes(name)) ?? outputs.find(({ name }) => ownOutputs.has(name))
  if (taken !== undefined) {
    throw new RangeError(
      `${module}: no ${taken.kind} can be called "${taken.name}", as something of its own is; give it another name`
    )
  }
}
