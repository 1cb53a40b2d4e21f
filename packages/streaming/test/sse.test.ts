/**
 * Server-sent events as they are read: in any pieces, with any ends of lines, and
 * in no more room than they may have.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as sse from "../src/internal/serving/sse.ts"
import { held } from "./held.ts"

const encoder = new TextEncoder()

describe("server-sent events", () => {
  it("are the same in any pieces and with any ends of lines", () => {
    const event = FastCheck.record({
      id: FastCheck.stringMatching(/^[a-z]{1,5}\/\d{1,3}$/),
      lines: FastCheck.array(FastCheck.string({ unit: "grapheme" }).map((text) => text.replace(/[\r\n]/g, "")), {
        minLength: 1,
        maxLength: 3
      }),
      end: FastCheck.constantFrom("\n", "\r", "\r\n")
    })
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(event, { maxLength: 6 }),
        FastCheck.infiniteStream(FastCheck.integer({ min: 1, max: 20 })),
        (events, sizes) => {
          const sent = encoder.encode(
            events.map(({ end, id, lines }) =>
              [": still here", "", `id: ${id}`, ...lines.map((line) => `data: ${line}`), "", ""].join(end)
            ).join("")
          )
          const reader = new sse.Reader(10_000)
          const read: Array<sse.Message> = []
          for (let at = 0; at < sent.length;) {
            const size = sizes.next().value!
            read.push(...reader.push(sent.subarray(at, at + size))!)
            at += size
          }
          assert.deepStrictEqual(read, events.map(({ id, lines }) => ({ id, data: lines.join("\n") })))
        }
      ),
      { numRuns: 300, seed: 6 }
    )
  })

  it("are refused when one is larger than the limit, in one line or in many, whole or in pieces", () => {
    for (const text of [`data: ${"a".repeat(200)}\n\n`, "data:\n".repeat(50), `data: ${"a".repeat(200)}`]) {
      const bytes = encoder.encode(text)
      assert.isUndefined(new sse.Reader(100).push(bytes))
      const reader = new sse.Reader(100)
      const read = Array.from(bytes, (_, at) => reader.push(bytes.subarray(at, at + 1)))
      assert.isUndefined(read.at(-1))
      assert.isTrue(read.every((messages) => messages === undefined || messages.length === 0))
    }
  })

  it.live("take the room of what has come, also when they come byte by byte", () =>
    Effect.gen(function*() {
      const bytes = encoder.encode(`data: ${"a".repeat(200_000)}`)
      const reader = new sse.Reader(1_000_000)
      const before = yield* held
      for (let at = 0; at < bytes.length; at++) reader.push(bytes.slice(at, at + 1))
      assert.isBelow((yield* held) - before, 1_000_000)
      assert.strictEqual(reader.push(encoder.encode("\n\n"))?.[0]?.data.length, 200_000)
    }))
})
