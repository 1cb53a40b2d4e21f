import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as Sse from "../src/internal/sse.ts"

const encoder = new TextEncoder()

const decodeAll = (pieces: ReadonlyArray<Uint8Array>, limits?: Sse.Limits) => {
  const decoder = Sse.make(limits)
  const events = pieces.flatMap((piece) => decoder.push(piece))
  events.push(...decoder.end())
  return { events, exceeded: decoder.exceeded }
}

const decode = (text: string, limits?: Sse.Limits) => decodeAll([encoder.encode(text)], limits)

const data = (text: string) => decode(text).events.map((event) => event.data)

const cut = (bytes: Uint8Array, at: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const ends = [...at.filter((offset) => offset <= bytes.length).sort((a, b) => a - b), bytes.length]
  return ends.map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end))
}

// One stream with everything in it; `\n` stands for the line end under test.
const everything = [
  "\uFEFFdata: first\n\n",
  ": a comment\n\n",
  "event: ping\n\n",
  "event: named\ndata: {\"a\":\"zażółć 🙂 \u2028\"}\n\n",
  "id: 7\nretry: 60000\ndata:no space\ndata:  two spaces\ndata\ndata: \n\n",
  "nonsense\ndatabase: not a field\nevents: neither\n data: indented\n\n",
  "\n\n\n",
  "data: [DONE]\n\n",
  "data: unterminated 🙂"
].join("")

const expected = [
  { event: "message", data: "first", terminated: true },
  { event: "named", data: "{\"a\":\"zażółć 🙂 \u2028\"}", terminated: true },
  { event: "message", data: "no space\n two spaces\n\n", terminated: true },
  { event: "message", data: "[DONE]", terminated: true },
  { event: "message", data: "unterminated 🙂", terminated: false }
]

const lineEnds = { LF: "\n", CR: "\r", CRLF: "\r\n" }

describe("sse", () => {
  for (const [name, lineEnd] of Object.entries(lineEnds)) {
    const bytes = encoder.encode(everything.replaceAll("\n", lineEnd))

    it(`decodes every framing rule with ${name} line ends`, () => {
      assert.deepStrictEqual(decodeAll([bytes]).events, expected)
    })

    it(`gives the same events for every two-way split and byte by byte, ${name}`, () => {
      for (let offset = 0; offset <= bytes.length; offset++) {
        assert.deepStrictEqual(decodeAll(cut(bytes, [offset])).events, expected, `split at ${offset}`)
      }
      assert.deepStrictEqual(decodeAll(Array.from(bytes, (byte) => Uint8Array.of(byte))).events, expected)
    })
  }

  it("gives the same events for random texts, line ends and splits", () => {
    const part = FastCheck.constantFrom(
      "data: x",
      "data:",
      "data",
      "data: [DONE]",
      "event: e",
      "event:",
      ": c",
      ":",
      "id: 1",
      "retry: 5",
      "é🙂",
      "\uFEFF",
      "\n",
      "\r",
      "\r\n",
      "\n\n",
      "\r\r",
      "\r\n\r\n",
      " ",
      "a:b"
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(part, { maxLength: 40 }).map((parts) => encoder.encode(parts.join(""))),
        FastCheck.array(FastCheck.nat(200), { maxLength: 12 }),
        FastCheck.option(FastCheck.integer({ min: 1, max: 30 }), { nil: undefined }),
        (bytes, at, maxEvent) => {
          assert.deepStrictEqual(decodeAll(cut(bytes, at), { maxEvent }), decodeAll([bytes], { maxEvent }))
        }
      ),
      { seed: 20240917, numRuns: 2000 }
    )
  })

  it("does not reuse an event name and delivers nothing for an event without data", () => {
    assert.deepStrictEqual(decode("event: a\n\ndata: x\n\nevent: b\ndata: y\n\ndata: z\n\n").events, [
      { event: "message", data: "x", terminated: true },
      { event: "b", data: "y", terminated: true },
      { event: "message", data: "z", terminated: true }
    ])
  })

  it("replaces invalid UTF-8 and shows a truncated last character", () => {
    const invalid = decodeAll([Uint8Array.of(0x64, 0x61, 0x74, 0x61, 0x3a, 0xff, 0x0a, 0x0a)])
    assert.deepStrictEqual(invalid.events.map((event) => event.data), ["\uFFFD"])
    const smile = encoder.encode("data: 🙂")
    const truncated = decodeAll([smile.subarray(0, smile.length - 1)])
    assert.deepStrictEqual(truncated.events, [{ event: "message", data: "\uFFFD", terminated: false }])
  })

  it("keeps only the first byte order mark out of the data", () => {
    assert.deepStrictEqual(data("\uFEFFdata: a\n\ndata: \uFEFFb\n\n"), ["a", "\uFEFFb"])
    assert.deepStrictEqual(data("\uFEFF\uFEFFdata: a\n\ndata: b\n\n"), ["b"])
  })

  it("delivers what fits and then reports the bound on one event", () => {
    const { events, exceeded } = decode(`data: ok\n\ndata: ${"x".repeat(100)}\n\ndata: never\n\n`, { maxEvent: 64 })
    assert.deepStrictEqual(events.map((event) => event.data), ["ok"])
    assert.strictEqual(exceeded, 64)
  })

  it("bounds an event of many short lines and a line that never ends", () => {
    assert.strictEqual(decode("data: 1234\n".repeat(10), { maxEvent: 64 }).exceeded, 64)
    assert.strictEqual(decode(": comment\n".repeat(1000), { maxEvent: 64 }).exceeded, undefined)
    const decoder = Sse.make({ maxEvent: 1000 })
    const piece = encoder.encode("a".repeat(100))
    let pushed = 0
    while (decoder.exceeded === undefined && pushed < 1000) {
      decoder.push(piece)
      pushed++
    }
    assert.strictEqual(pushed, 11)
    assert.deepStrictEqual(decoder.push(encoder.encode("\n\ndata: late\n\n")), [])
    assert.deepStrictEqual(decoder.end(), [])
  })

  it("bounds the whole stream in bytes", () => {
    const event = "data: abc\n\n"
    const { events, exceeded } = decode(event.repeat(10), { maxTotal: event.length * 3 })
    assert.deepStrictEqual(events.map((event) => event.data), ["abc", "abc", "abc"])
    assert.strictEqual(exceeded, event.length * 3)
    assert.strictEqual(decode(event.repeat(3), { maxTotal: event.length * 3 }).exceeded, undefined)
  })

  it("decodes megabytes of line ends and thousands of events in one chunk", () => {
    assert.deepStrictEqual(data("\n".repeat(4 * 1024 * 1024)), [])
    assert.deepStrictEqual(data("\r\n".repeat(2 * 1024 * 1024)), [])
    assert.strictEqual(data("data: x\n\n".repeat(16_000)).length, 16_000)
  })
})
