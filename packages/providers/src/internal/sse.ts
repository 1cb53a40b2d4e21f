/**
 * Server-sent events, decoded in linear time from bytes split anywhere.
 *
 * @since 0.1.0
 */
import { defaults } from "../Bounds.ts"

/**
 * One event. `event` is `"message"` when the server named none. `terminated`
 * is false only for a last event that no blank line ended: it may have been cut.
 */
export interface SseEvent {
  readonly event: string
  readonly data: string
  readonly terminated: boolean
}

/**
 * Bounds on what a server may make us hold. `maxEvent` counts the decoded
 * characters of one event, `maxTotal` the bytes of the whole stream; default
 * those of `Bounds`.
 */
export interface Limits {
  readonly maxEvent?: number | undefined
  readonly maxTotal?: number | undefined
}

/**
 * An incremental decoder. The events of `push` and `end` together depend on the
 * bytes only, not on how they were split. Once `exceeded` is set (to the bound
 * that was passed) nothing more is decoded.
 */
export interface Decoder {
  readonly push: (bytes: Uint8Array) => ReadonlyArray<SseEvent>
  readonly end: () => ReadonlyArray<SseEvent>
  readonly exceeded: number | undefined
}

const Lf = 10
const Space = 32
const Colon = 58
const ByteOrderMark = 0xfeff

// The mark is removed by hand: decoders differ in what they do with one that is split.
const utf8 = { ignoreBOM: true }

// Keeps nothing between two calls, so one serves all streams.
const whole = new TextDecoder("utf-8", utf8)

const none: ReadonlyArray<SseEvent> = []

/**
 * A decoder at the start of a stream.
 */
export const make = (limits: Limits = {}): Decoder => {
  const maxEvent = limits.maxEvent ?? defaults.event
  const maxTotal = limits.maxTotal ?? defaults.stream
  let partial: TextDecoder | undefined
  let total = 0
  let exceeded: number | undefined
  let started = false
  // Between two chunks: inside a character, or between the CR and the LF of one line end.
  let midCharacter = false
  let midLineEnd = false
  // The unfinished line, in pieces so that a line in a thousand chunks is joined once.
  let line: Array<string> = []
  let lineLength = 0
  // The unfinished event.
  let name = ""
  let data: string | undefined
  let moreData: Array<string> | undefined
  let size = 0

  const text = (bytes: Uint8Array): string => {
    // A streaming TextDecoder is several times slower than a one-shot one, and only
    // needed when a character may be cut.
    const cut = bytes[bytes.length - 1]! >= 0x80
    if (!cut && !midCharacter) return whole.decode(bytes)
    midCharacter = cut
    partial ??= new TextDecoder("utf-8", utf8)
    return partial.decode(bytes, { stream: true })
  }

  const field = (source: string, start: number, end: number): void => {
    if (size + end - start > maxEvent) {
      exceeded = maxEvent
      return
    }
    const isData = source.startsWith("data", start)
    if (!isData && !source.startsWith("event", start)) return
    const colon = start + (isData ? 4 : 5)
    if (colon < end && source.charCodeAt(colon) !== Colon) return
    const from = source.charCodeAt(colon + 1) === Space ? colon + 2 : colon + 1
    const value = from < end ? source.slice(from, end) : ""
    if (!isData) {
      name = value
      return
    }
    size += end - start + 1
    if (data === undefined) data = value
    else if (moreData === undefined) moreData = [data, value]
    else moreData.push(value)
  }

  const dispatch = (out: Array<SseEvent>, terminated: boolean): void => {
    if (data !== undefined) {
      out.push({
        event: name === "" ? "message" : name,
        data: moreData === undefined ? data : moreData.join("\n"),
        terminated
      })
      data = undefined
      moreData = undefined
      size = 0
    }
    name = ""
  }

  const finishLine = (source: string, start: number, end: number, out: Array<SseEvent>): void => {
    if (lineLength > 0) {
      line.push(source.slice(start, end))
      const joined = line.join("")
      line = []
      lineLength = 0
      field(joined, 0, joined.length)
    } else if (start === end) dispatch(out, true)
    else field(source, start, end)
  }

  const scan = (source: string, out: Array<SseEvent>): void => {
    if (source.length === 0) return
    let position = 0
    if (!started) {
      started = true
      if (source.charCodeAt(0) === ByteOrderMark) position = 1
    }
    if (midLineEnd) {
      midLineEnd = false
      if (source.charCodeAt(0) === Lf) position = 1
    }
    // Each kind of line end is searched from where its last one was, so no character is
    // looked at twice for the same kind.
    let lf = source.indexOf("\n", position)
    let cr = source.indexOf("\r", position)
    for (;;) {
      const end = cr === -1 || (lf !== -1 && lf < cr) ? lf : cr
      if (end === -1) break
      finishLine(source, position, end, out)
      if (exceeded !== undefined) return
      position = end + 1
      if (end === cr) {
        if (position === source.length) midLineEnd = true
        else if (source.charCodeAt(position) === Lf) position++
        cr = source.indexOf("\r", position)
      }
      if (lf !== -1 && lf < position) lf = source.indexOf("\n", position)
    }
    if (position < source.length) {
      line.push(source.slice(position))
      lineLength += source.length - position
      if (size + lineLength > maxEvent) exceeded = maxEvent
    }
  }

  return {
    push(bytes) {
      if (exceeded !== undefined || bytes.length === 0) return none
      const room = maxTotal - total
      total += bytes.length
      const out: Array<SseEvent> = []
      if (room > 0) scan(text(bytes.length > room ? bytes.subarray(0, room) : bytes), out)
      if (total > maxTotal && exceeded === undefined) exceeded = maxTotal
      return out
    },
    end() {
      if (exceeded !== undefined) return none
      const out: Array<SseEvent> = []
      if (partial !== undefined) scan(partial.decode(), out)
      if (lineLength > 0) finishLine("", 0, 0, out)
      if (exceeded === undefined) dispatch(out, false)
      return out
    },
    get exceeded() {
      return exceeded
    }
  }
}
