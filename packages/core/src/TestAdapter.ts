/**
 * What every adapter has to do, tried with values and answers of all kinds, for
 * tests of adapters of your own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Adapter from "./Adapter.ts"
import * as adapterCases from "./internal/adapterCases.ts"
import * as Json from "./Json.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Parameters from "./Parameters.ts"
import * as Signature from "./Signature.ts"

/**
 * How an adapter is tried.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Which texts the values of fields may be, and have inside; all by default. */
  readonly holds?: ((text: string) => boolean) | undefined
  /** How many cases are made for each law, 200 by default. */
  readonly runs?: number | undefined
  /** What the cases are made from, 1 by default: the same seed gives the same ones. */
  readonly seed?: number | undefined
}

/**
 * A law that an adapter breaks, and the smallest case found that shows it.
 *
 * - `values`: outputs, one at least, that the adapter shows in a demonstration are
 *   read back as they were, with nothing to be mended.
 * - `events`: a field that was found began once, ended once, and had its text
 *   told in between.
 * - `splits`: wherever an answer is split, what is told and what is found are the
 *   same.
 * - `states`: a state of the parser goes on as if no newer one had ever been.
 * - `damage`: an answer with something missing, doubled or out of place gives
 *   values of the signature's types, or problems; nothing is thrown.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdapterBroken extends Schema.TaggedError<AdapterBroken>("@effect-dspy/core/TestAdapter/AdapterBroken")(
  "AdapterBroken",
  {
    adapter: Schema.String,
    law: Schema.Literal("values", "events", "splits", "states", "damage"),
    description: Schema.String
  }
) {
  override get message(): string {
    return `The ${this.adapter} adapter breaks the law of ${this.law}: ${this.description}`
  }
}

/**
 * Tries all laws, see `AdapterBroken`, and fails with the first that does not
 * hold. Texts are made of what could be mistaken for structure, also of pieces of
 * the adapter's own answers.
 *
 * It is about the form of answers: of an adapter with an `extraction`, check the
 * one that reads the second answer. With `holds`, an adapter is not tried with
 * texts that it is not made for.
 *
 * @example
 * ```ts
 * import * as Adapter from "@effect-dspy/core/Adapter"
 * import * as TestAdapter from "@effect-dspy/core/TestAdapter"
 * import { Effect } from "effect"
 *
 * const messages = Adapter.messages({
 *   structure: (outputs) => `Answer with these headings:\n${outputs.map(({ name }) => `## ${name}`).join("\n")}`,
 *   answer: (outputs) => outputs.map(({ field, text }) => `## ${field.name}\n${text}`).join("\n\n"),
 *   reminder: () => "Answer with the headings."
 * })
 *
 * const markdown = Adapter.make({
 *   name: "markdown",
 *   format: (input) => ({ messages: messages(input) }),
 *   parser: Adapter.delimited({ start: (field) => `\n## ${field}\n` })
 * })
 *
 * // Text that has such a heading in it, or white space around it, does not come back as it was.
 * const program = Effect.all([
 *   TestAdapter.check(markdown, { holds: (text) => text === text.trim() && !text.includes("## "), runs: 50 }),
 *   Effect.flip(TestAdapter.check(markdown))
 * ])
 *
 * Effect.runPromise(program).then(([, broken]) => assert.strictEqual(broken.law, "values"))
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const check = (adapter: Adapter.Adapter, options: Options = {}): Effect.Effect<void, AdapterBroken> =>
  Effect.suspend(() => {
    const { holds, runs = 200, seed = 1 } = options
    const pieces = piecesOf(adapter)
    const answered = adapterCases.cases({ holds, pieces })
    const damaged = FastCheck.tuple(answered, adapterCases.damages(pieces)).map((
      [{ encoded, signature }, damages]
    ) => ({
      signature,
      text: adapterCases.damaged(answer(adapter, signature, encoded), damages)
    }))
    const places = FastCheck.array(FastCheck.nat(), { maxLength: 8 })
    const broken = (law: AdapterBroken["law"], description: string | undefined) =>
      description === undefined
        ? Effect.void
        : Effect.fail(new AdapterBroken({ adapter: adapter.name, law, description }))
    const law = <Case>(
      name: AdapterBroken["law"],
      cases: FastCheck.Arbitrary<Case>,
      fault: (of: Case) => string | undefined
    ) =>
      Effect.suspend(() => {
        const { counterexample } = FastCheck.check(
          FastCheck.property(cases, (of) => faultOf(fault, of) === undefined),
          { numRuns: runs, seed }
        )
        return broken(name, counterexample === null ? undefined : faultOf(fault, counterexample[0]))
      })
    return Effect.all([
      law("values", answered.filter(({ encoded }) => Object.keys(encoded).length > 0), (of) => values(adapter, of)),
      law("events", damaged, ({ signature, text }) => events(adapter, signature, text)),
      law(
        "splits",
        FastCheck.tuple(damaged, places),
        ([{ signature, text }, places]) => splits(adapter, signature, text, places)
      ),
      law(
        "states",
        FastCheck.tuple(damaged, FastCheck.nat()),
        ([{ signature, text }, place]) => states(adapter, signature, text, place)
      ),
      law("damage", damaged, ({ signature, text }) => damage(adapter, signature, text))
    ], { discard: true })
  })

const faultOf = <Case>(fault: (of: Case) => string | undefined, of: Case): string | undefined => {
  try {
    return fault(of)
  } catch (cause) {
    return `it throws ${cause instanceof Error ? cause.message : String(cause)}`
  }
}

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

// What stands in the answer of a demonstration that has these outputs.
const answer = (adapter: Adapter.Adapter, signature: Signature.Any, outputs: Json.JsonRecord): string => {
  const { messages } = adapter.format({
    signature,
    instructions: signature.instructions,
    demos: [Parameters.demo({ q: "?", ...outputs })],
    inputs: { q: "?" },
    capabilities: LanguageModel.defaultCapabilities
  })
  const message = messages.findLast(({ role }) => role === "assistant")
  if (message === undefined) throw new Error("format shows no demonstration as a turn of the assistant")
  return typeof message.content === "string"
    ? message.content
    : message.content.map((part) => part._tag === "Text" ? part.text : "").join("")
}

const plain = Signature.parse("q -> a, b")

// What the adapter writes around values: whole, and cut into words and what is between them.
const piecesOf = (adapter: Adapter.Adapter): ReadonlyArray<string> =>
  Either.match(Either.try(() => answer(adapter, plain, { a: "1", b: "2" })), {
    onLeft: () => [], // which is what the first law says
    onRight: (text) => [...text.split(/(?<=\w)(?=\W)|(?<=\W)(?=\w)/), ...text.split("\n")]
  })

const parse = (adapter: Adapter.Adapter, signature: Signature.Any, pieces: ReadonlyArray<string>): string =>
  shown(adapterCases.read(adapter, signature, pieces))

// Which of two repairs was noticed first may depend on the pieces.
const shown = ({ events, parsed }: adapterCases.Reading): string =>
  Json.canonical({
    events,
    found: Either.match(parsed, {
      onLeft: (problem) => problem,
      onRight: ({ fields, repairs }) => ({ fields, repairs: new Set(repairs) })
    })
  })

// The schemas of the cases are synchronous.
const decode = (signature: Signature.Any, parsed: Adapter.Parsed) =>
  Effect.runSync(Effect.either(Adapter.decode(signature, parsed)))

// -----------------------------------------------------------------------------
// Laws
// -----------------------------------------------------------------------------

const values = (
  adapter: Adapter.Adapter,
  { encoded, signature }: adapterCases.Case
): string | undefined => {
  const text = answer(adapter, signature, encoded)
  const { parsed } = adapterCases.read(adapter, signature, [text])
  const what = `${JSON.stringify(encoded)}, shown as ${JSON.stringify(text)},`
  const decoded = Either.isLeft(parsed) ? Either.left([parsed.left]) : decode(signature, parsed.right)
  if (Either.isLeft(decoded)) return `${what} is refused: ${decoded.left.map(Adapter.describe).join("; ")}`
  const found = decoded.right
  if (Json.canonical(found.encoded) !== Json.canonical(encoded)) {
    return `${what} is read as ${JSON.stringify(found.encoded)}`
  }
  return found.repairs.length === 0 ? undefined : `${what} is mended: ${found.repairs.join("; ")}`
}

const events = (adapter: Adapter.Adapter, signature: Signature.Any, text: string): string | undefined => {
  const { events, parsed } = adapterCases.read(adapter, signature, [text])
  if (Either.isLeft(parsed)) return undefined
  for (const [field, raw] of parsed.right.fields) {
    const told = events.filter((event) => event.field === field)
    const tags = told.map(({ _tag }) => _tag).join(" ")
    const deltas = told.flatMap((event) => event._tag === "FieldDelta" ? [event.text] : []).join("")
    const found = raw._tag === "Text" ? raw.text : typeof raw.value === "string" ? raw.value : deltas
    if (!/^FieldStart (?:FieldDelta )*FieldEnd$/.test(tags) || deltas !== found) {
      return `of ${JSON.stringify(text)} the field "${field}" is found to be ${JSON.stringify(found)}, and told by ${
        JSON.stringify(told)
      }`
    }
  }
  return undefined
}

const splits = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  text: string,
  places: ReadonlyArray<number>
): string | undefined => {
  const whole = parse(adapter, signature, [text])
  const pieces = [adapterCases.split(text, places), Array.from(text)].find((pieces) =>
    parse(adapter, signature, pieces) !== whole
  )
  return pieces &&
    `${JSON.stringify(text)} is read as ${whole}, and in the pieces ${JSON.stringify(pieces)} as ${
      parse(adapter, signature, pieces)
    }`
}

const states = (
  adapter: Adapter.Adapter,
  signature: Signature.Any,
  text: string,
  place: number
): string | undefined => {
  const [before = "", after = ""] = adapterCases.split(text, [place])
  return adapter.parser(signature, (parser) => {
    const end = (state: typeof parser.initial) =>
      Either.match(parser.end(state)[1], {
        onLeft: (problem) => Json.canonical(problem),
        onRight: ({ fields }) => Json.canonical(fields)
      })
    const [older] = parser.step(parser.initial, before)
    const [newer] = parser.step(older, after)
    const [first, second] = [end(newer), end(older)]
    const again = end(parser.step(older, after)[0])
    const fresh = end(parser.step(parser.initial, before)[0])
    return again !== first
      ? `${JSON.stringify(before)} followed by ${JSON.stringify(after)} is ${first}, and for the second time ${again}`
      : fresh !== second
      ? `${JSON.stringify(before)} is ${fresh}, and ${second} after it was followed by ${JSON.stringify(after)}`
      : undefined
  })
}

const damage = (adapter: Adapter.Adapter, signature: Signature.Any, text: string): string | undefined => {
  const { parsed } = adapterCases.read(adapter, signature, [text])
  if (Either.isLeft(parsed)) return undefined
  const decoded = decode(signature, parsed.right)
  if (Either.isLeft(decoded)) {
    return decoded.left.length > 0 ? undefined : `${JSON.stringify(text)} is refused, and nothing is wrong with it`
  }
  return Schema.is(Schema.make(signature.output.ast))(decoded.right.value)
    ? undefined
    : `${JSON.stringify(text)} is read as values of other types than the signature's`
}
