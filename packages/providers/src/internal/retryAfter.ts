/**
 * How long a server asked to wait, from its response headers.
 *
 * @since 0.1.0
 */

const decimal = /^\d+(\.\d+)?$/

const number = (text: string | undefined): number | undefined =>
  text !== undefined && decimal.test(text.trim()) ? Number(text) : undefined

const factors: { readonly [unit: string]: number } = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

// `20ms`, `1s`, `6m0s`, `2m59.56s`: what OpenAI and Groq write.
const duration = (text: string): number | undefined => {
  let sum = 0
  let rest = text
  while (rest !== "") {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)/.exec(rest)
    if (match === null) return undefined
    sum += Number(match[1]) * factors[match[2]!]!
    rest = rest.slice(match[0].length)
  }
  return text === "" ? undefined : sum
}

const positive = (millis: number): number | undefined => Number.isFinite(millis) && millis >= 0 ? millis : undefined

// A moment in time, in milliseconds since the epoch. Written by a server whose clock may be
// off, so the difference is taken to the server's own `date` where there is one.
const until = (moment: number, headers: Headers, now: number): number | undefined => {
  const serverNow = Date.parse(headers["date"] ?? "")
  return positive(moment - (Number.isNaN(serverNow) ? now : serverNow))
}

// The reset of an exhausted bucket: a duration, a number of seconds, or a moment as a date or
// as seconds or milliseconds since the epoch.
const reset = (text: string, headers: Headers, now: number): number | undefined => {
  const value = number(text)
  if (value === undefined) return duration(text.trim()) ?? until(Date.parse(text), headers, now)
  return value > 1e11 ? until(value, headers, now) : value > 1e8 ? until(value * 1000, headers, now) : value * 1000
}

interface Headers {
  readonly [name: string]: string | undefined
}

/**
 * Milliseconds to wait, or nothing when no header says so in a form that can be
 * trusted. `retry-after-ms` wins over `retry-after` in seconds, that over a
 * date, and that over the reset of an exhausted `ratelimit` bucket. `now` is
 * the local clock, in milliseconds since the epoch.
 */
export const retryAfter = (headers: Headers, now: number): number | undefined => {
  const millis = number(headers["retry-after-ms"])
  if (millis !== undefined) return positive(millis)
  const told = headers["retry-after"]
  if (told !== undefined) {
    const seconds = number(told)
    // A bare number is never a date, though `Date.parse` takes some ("-5") for one.
    const wait = seconds !== undefined
      ? positive(seconds * 1000)
      : /[a-z]/i.test(told)
      ? until(Date.parse(told), headers, now)
      : undefined
    if (wait !== undefined) return wait
  }
  // Several buckets may be empty at once; the last one to refill decides.
  let longest: number | undefined
  for (const name of Object.keys(headers)) {
    if (!name.includes("ratelimit-") || !name.includes("reset")) continue
    if (number(headers[name.replace("reset", "remaining")]) !== 0) continue
    const wait = reset(headers[name]!, headers, now)
    if (wait !== undefined && (longest === undefined || wait > longest)) longest = wait
  }
  return longest
}
