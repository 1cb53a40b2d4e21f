import { assert, describe, it } from "@effect/vitest"
import { retryAfter } from "../src/internal/retryAfter.ts"

const now = Date.UTC(2024, 5, 1, 12, 0, 0)
const at = (seconds: number) => new Date(now + seconds * 1000)

const cases: ReadonlyArray<readonly [name: string, headers: Record<string, string>, millis: number | undefined]> = [
  ["nothing", {}, undefined],
  ["seconds", { "retry-after": "7" }, 7000],
  ["fractions of a second", { "retry-after": " 0.25 " }, 250],
  ["zero", { "retry-after": "0" }, 0],
  ["milliseconds", { "retry-after-ms": "300" }, 300],
  ["milliseconds of zero win over seconds", { "retry-after-ms": "0", "retry-after": "60" }, 0],
  ["both", { "retry-after-ms": "250", "retry-after": "7" }, 250],
  ["bad milliseconds leave the seconds", { "retry-after-ms": "soon", "retry-after": "7" }, 7000],
  ["a date", { "retry-after": at(20).toUTCString() }, 20_000],
  ["a date that has passed", { "retry-after": at(-20).toUTCString() }, undefined],
  ["a date by a server whose clock is an hour ahead", {
    "retry-after": at(3620).toUTCString(),
    "date": at(3600).toUTCString()
  }, 20_000],
  ["a huge wait is told, not judged", { "retry-after": "86400" }, 86_400_000],
  ["negative", { "retry-after": "-5" }, undefined],
  ["negative milliseconds", { "retry-after-ms": "-5" }, undefined],
  ["words", { "retry-after": "soon" }, undefined],
  ["empty", { "retry-after": "" }, undefined],
  ["NaN and Infinity", { "retry-after": "Infinity", "retry-after-ms": "NaN" }, undefined],
  ["hexadecimal and exponents are junk", { "retry-after": "0x10", "retry-after-ms": "1e3" }, undefined],
  ["more than a number can hold", { "retry-after-ms": "9".repeat(400) }, undefined],
  ["the reset of an empty bucket", {
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s"
  }, 1000],
  ["the later of two empty buckets", {
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "20ms",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "1m2.5s"
  }, 62_500],
  ["a bucket that is not empty", {
    "x-ratelimit-remaining-requests": "10",
    "x-ratelimit-reset-requests": "1s"
  }, undefined],
  ["retry-after wins over buckets", {
    "retry-after": "3",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": "60"
  }, 3000],
  ["a reset in seconds", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "60" }, 60_000],
  [
    "a reset as a moment in seconds",
    { "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(now / 1000 + 30) },
    30_000
  ],
  ["a reset as a moment in milliseconds", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": String(now + 5) }, 5],
  ["a reset as a date", {
    "anthropic-ratelimit-tokens-remaining": "0",
    "anthropic-ratelimit-tokens-reset": at(12).toISOString()
  }, 12_000],
  ["a reset that is junk", { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "later" }, undefined]
]

describe("retryAfter", () => {
  for (const [name, headers, millis] of cases) {
    it(name, () => {
      assert.strictEqual(retryAfter(headers, now), millis)
    })
  }

  it("is linear in what a server may send", () => {
    assert.isUndefined(
      retryAfter({ "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1s".repeat(50_000) + "x" }, now)
    )
  })
})
