import * as Module from "@effect-dspy/core/Module"
import * as StreamProcessor from "@effect-dspy/streaming/StreamProcessor"
import { type Effect, Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"

declare const source: Stream.Stream<string, "lost", "source">
declare const lengths: Module.Module<ReadonlyArray<string>, ReadonlyArray<number>, "broken", "model">
declare const report: (items: ReadonlyArray<string>) => Effect.Effect<void, never, "store">

describe("StreamProcessor", () => {
  it("keeps errors of the module in the results, and every requirement", () => {
    expectTypeOf(
      source.pipe(StreamProcessor.items(lengths, { size: 2, within: "1 second", onUnprocessed: report }))
    ).toEqualTypeOf<
      Stream.Stream<
        StreamProcessor.Item<string, number, "broken" | StreamProcessor.WrongCount>,
        "lost",
        "source" | "model" | "store"
      >
    >()
    expectTypeOf(StreamProcessor.batches(source, lengths, { size: 2, within: "1 second" })).toEqualTypeOf<
      Stream.Stream<StreamProcessor.Batch<string, ReadonlyArray<number>, "broken">, "lost", "source" | "model">
    >()
  })

  it("refuses a module of other items, and results for items of a module that gives one", () => {
    // @ts-expect-error the module takes texts
    StreamProcessor.batches(Stream.make(1), lengths, { size: 2, within: "1 second" })
    // @ts-expect-error it answers with one number
    StreamProcessor.items(source, Module.map(lengths, (all) => all.length), { size: 2, within: "1 second" })
  })
})
