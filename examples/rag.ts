/**
 * Questions answered from documents: passages are found, the model answers from
 * them and says which it used. Finding is measured on its own first: what no
 * passage says, no model can answer.
 */
import { ChainOfThought, Evaluate, Example, Metric, Module, Retriever, Signature } from "@effect-dspy/core"
import { Embedded } from "@effect-dspy/providers"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import * as Model from "./model.ts"

// ---- Documents: the handbook of a made-up company

const handbook: ReadonlyArray<Retriever.Document> = [
  ["refunds", "Refunds are paid to the original card within ten working days."],
  ["trial", "The free trial lasts thirty days and needs no card."],
  ["invoices", "Invoices are sent by mail on the first day of each month."],
  ["sharing", "Shared links expire after seven days unless the owner extends them."],
  ["trash", "Deleted files stay in the trash for sixty days."],
  ["upload", "A single upload may be up to five gigabytes."],
  ["sync", "The desktop app syncs changes every two minutes."],
  ["password", "A forgotten password is reset from the login page."],
  ["factor", "A lost phone with the second factor is replaced by the security team after an identity check."],
  ["export", "A copy of all personal data can be requested under privacy settings."],
  ["seats", "More seats can be bought by any owner of the team."],
  ["calls", "Video calls hold up to fifty participants."]
].map(([id, text]) => ({ id: id!, text: text! }))

// ---- The program: find, answer, and say where it stands

const Answer = Signature.make({
  instructions: "Answer the question from the passages, and quote the sentence that says so.",
  input: { context: Schema.Array(Schema.String), question: Schema.String },
  output: {
    quote: Schema.String.annotations({ description: "one sentence of the passages, word for word" }),
    answer: Schema.String.annotations({ description: "as short as can be" })
  }
})

interface Question {
  readonly question: string
}

const find = Module.make({}, function*(_, { question }: Question) {
  return { passages: yield* Retriever.search(question, { k: 2 }) }
})

const ask = Module.make({ find, answer: ChainOfThought.make(Answer) }, function*(m, { question }: Question) {
  const { passages } = yield* m.find({ question })
  const { answer, quote } = yield* m.answer({ context: passages.map(({ text }) => text), question })
  // A quote that no passage has is none.
  return { answer, citations: passages.filter(({ text }) => quote !== "" && text.includes(quote)).map(({ id }) => id) }
})

// ---- What is asked, and what should come of it

const examples = [
  ["How many days until a refund is paid to my card?", "ten working days", "refunds"],
  ["How long does the free trial last?", "thirty days", "trial"],
  ["When are invoices sent?", "the first day of each month", "invoices"],
  ["When do shared links expire?", "seven days", "sharing"],
  ["For how many days do deleted files stay in the trash?", "sixty days", "trash"],
  ["How large may a single upload be?", "five gigabytes", "upload"],
  ["How often does the desktop app sync changes?", "every two minutes", "sync"],
  ["Where is a forgotten password reset?", "the login page", "password"],
  ["Who replaces a lost phone with the second factor?", "the security team", "factor"],
  ["Where can I request a copy of my data?", "privacy settings", "export"],
  ["Who can buy more seats?", "any owner", "seats"],
  ["How many participants can a video call hold?", "fifty", "calls"]
].map(([question, answer, source]) =>
  Example.make({ inputs: { question: question! }, labels: { answer: answer!, source: source! } })
)

type Asked = Example.Example<Question, { readonly answer: string; readonly source: string }>

const cited = Metric.make(({ labels }: Asked, { citations }: Module.Output<typeof ask>) =>
  citations.includes(labels.source)
)

// ---- The same program over three retrievers

const both = Effect.map(Effect.all([Retriever.cosine(handbook), Retriever.bm25(handbook)]), Retriever.fuse)

const retrievers = {
  "by vectors": Retriever.layerCosine(handbook),
  "by words": Retriever.layerBm25(handbook),
  "by both": Layer.effect(Retriever.Retriever, both)
}

const main = Effect.gen(function*() {
  const texts = Module.map(find, ({ passages }) => ({ texts: passages.map(({ text }) => text) }))
  const found = Metric.passageMatch({ passages: "texts", answers: "answer" })
  for (const [name, retriever] of Object.entries(retrievers)) {
    const { score } = yield* Effect.provide(Evaluate.run(texts, { examples, metric: found }), retriever)
    yield* Console.log(`The answer is in what is found ${name}: ${score.toFixed(3)}`)
  }
  yield* Console.log("\nAnswers from what is found by both: half a point for the words, half for the citation")
  const report = yield* Effect.provide(
    Evaluate.run(ask, { examples, metric: Metric.mean(Metric.f1("answer"), cited) }),
    retrievers["by both"]
  )
  yield* Console.log(Evaluate.format(report, { rows: 3 }))
})

main.pipe(Effect.provide([Model.layer, Embedded.embedderLayer]), NodeRuntime.runMain)
