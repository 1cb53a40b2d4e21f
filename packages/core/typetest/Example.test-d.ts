import * as Example from "@effect-dspy/core/Example"
import * as Signature from "@effect-dspy/core/Signature"
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import { type Effect, pipe, Schema } from "effect"
import { describe, expectTypeOf, it } from "vitest"

const route = Signature.parse("ticket -> team: 'billing' | 'technical', urgent: boolean")

describe("Example", () => {
  it("has the types of the signature's two sides", () => {
    const examples = Example.fromJsonl("", { inputs: route.input, labels: route.output })
    expectTypeOf(examples).toEqualTypeOf<
      Effect.Effect<
        ReadonlyArray<
          Example.Example<
            { readonly ticket: string },
            { readonly team: "billing" | "technical"; readonly urgent: boolean }
          >
        >,
        Example.DatasetError
      >
    >()
  })

  it("takes a part of a side, and schemas whose encoded side is another", () => {
    const part = Example.fromCsv("", {
      inputs: Schema.Struct({ at: Schema.Date }),
      labels: route.output.pick("urgent")
    })
    expectTypeOf(part).toEqualTypeOf<
      Effect.Effect<
        ReadonlyArray<Example.Example<{ readonly at: Date }, { readonly urgent: boolean }>>,
        Example.DatasetError
      >
    >()
  })

  it("a file needs a file system", () => {
    const loaded = Example.load("tickets.csv", { inputs: route.input, labels: route.output })
    expectTypeOf(loaded).toExtend<
      Effect.Effect<unknown, Example.DatasetError | PlatformError, FileSystem.FileSystem>
    >()
    // @ts-expect-error a file system is needed
    expectTypeOf(loaded).toExtend<Effect.Effect<unknown, Example.DatasetError | PlatformError>>()
  })

  it("a schema that needs services is refused", () => {
    const needy = Schema.Struct({
      ticket: Schema.transformOrFail(Schema.String, Schema.String, {
        // This only has to have the type.
        decode: () => null as unknown as Effect.Effect<string, never, "service">,
        encode: () => null as unknown as Effect.Effect<string, never, "service">
      })
    })
    // @ts-expect-error the service is missing
    Example.fromJson("", { inputs: needy, labels: route.output })
  })

  it("a split has the names of its parts, and the type of its examples", () => {
    const examples = [Example.make({ inputs: { n: 1 }, labels: { even: false } })]
    const parts = Example.split(examples, { train: 1, test: 1 }, {
      seed: 1,
      by: (example) => String(example.labels.even)
    })
    expectTypeOf(parts.train).toEqualTypeOf<
      ReadonlyArray<Example.Example<{ n: number }, { even: boolean }>>
    >()
    // @ts-expect-error there is no such part
    void parts.validation
    const piped = pipe(examples, Example.split({ a: 0.9, b: 0.1 }, { seed: 1 }))
    expectTypeOf(piped.b[0]!.labels.even).toEqualTypeOf<boolean>()
  })
})
