import { Gathered } from "../gathered.ts"

/**
 * The frames of a WebSocket, as RFC 6455 has them, read on the side of a server
 * and written on it. Bytes may come in any pieces; nothing is kept of a message
 * that is larger than the limit, and no length is believed before its bytes are
 * there.
 */
export type Frame =
  | { readonly _tag: "Text"; readonly text: string }
  | { readonly _tag: "Ping"; readonly payload: Uint8Array }
  | { readonly _tag: "Pong" }
  | { readonly _tag: "Close" }
  /** What must not be sent: the connection is closed with this code. */
  | { readonly _tag: "Violation"; readonly code: number; readonly reason: string }

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

// More parts than any client sends, and few enough to keep.
const maxParts = 4096

const violation = (code: number, reason: string): Frame => ({ _tag: "Violation", code, reason })

interface Header {
  readonly isFinal: boolean
  readonly opcode: number
  readonly length: number
  readonly mask: Uint8Array
  readonly payload: Gathered
}

const joined = (parts: ReadonlyArray<Uint8Array>, length: number): Uint8Array => {
  if (parts.length === 1) return parts[0]! // the only one
  const all = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    all.set(part, offset)
    offset += part.length
  }
  return all
}

export class Reader {
  readonly #limit: number
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  #head: Uint8Array<ArrayBufferLike> = new Uint8Array(0)
  #header: Header | undefined
  #message: Array<Uint8Array> = []
  #messageLength = 0
  #inMessage = false
  #isOver = false

  constructor(limit: number) {
    this.#limit = limit
  }

  push(bytes: Uint8Array): ReadonlyArray<Frame> {
    const frames: Array<Frame> = []
    let rest = bytes
    while (!this.#isOver) {
      if (this.#header === undefined) {
        const head = this.#head.length === 0 ? rest : joined([this.#head, rest], this.#head.length + rest.length)
        const read = this.#readHeader(head)
        if (read === undefined) {
          this.#head = head.slice()
          break
        }
        if ("_tag" in read) {
          this.#end(frames, read)
          break
        }
        this.#head = new Uint8Array(0)
        this.#header = read.header
        rest = head.subarray(read.size)
      }
      const { length, mask, payload } = this.#header
      const offset = payload.size
      const part = payload.add(rest.subarray(0, length - offset))
      for (let i = 0; i < part.length; i++) {
        part[i]! ^= mask[(offset + i) & 3]! // within both
      }
      rest = rest.subarray(part.length)
      if (payload.size < length) break
      const frame = this.#complete(this.#header)
      this.#header = undefined
      if (frame?._tag === "Violation" || frame?._tag === "Close") this.#end(frames, frame)
      else if (frame !== undefined) frames.push(frame)
    }
    return frames
  }

  #end(frames: Array<Frame>, frame: Frame): void {
    this.#isOver = true
    this.#message = []
    frames.push(frame)
  }

  #readHeader(head: Uint8Array): { readonly header: Header; readonly size: number } | Frame | undefined {
    if (head.length < 2) return undefined
    const [first, second] = head as unknown as readonly [number, number] // it has at least two
    const opcode = first & 15
    const isFinal = (first & 128) !== 0
    const isControl = opcode >= 8
    if ((first & 112) !== 0) return violation(1002, "reserved bits are set")
    if ((second & 128) === 0) return violation(1002, "a client has to mask its frames")
    const short = second & 127
    if (isControl && (!isFinal || short > 125)) return violation(1002, "a control frame is short and whole")
    const size = (short === 126 ? 4 : short === 127 ? 10 : 2) + 4
    if (head.length < size) return undefined
    const view = new DataView(head.buffer, head.byteOffset, head.length)
    const length = short === 126 ? view.getUint16(2) : short === 127 ? Number(view.getBigUint64(2)) : short
    switch (opcode) {
      case opcodes.continuation:
        if (!this.#inMessage) return violation(1002, "there is nothing to continue")
        break
      case opcodes.text:
        if (this.#inMessage) return violation(1002, "the message before is not complete")
        break
      case opcodes.binary:
        return violation(1003, "messages are texts")
      case opcodes.close:
      case opcodes.ping:
      case opcodes.pong:
        break
      default:
        return violation(1002, "there is no such frame")
    }
    if (!isControl && (length + this.#messageLength > this.#limit || this.#message.length >= maxParts)) {
      return violation(1009, `a message is larger than ${this.#limit} bytes`)
    }
    const mask = head.slice(size - 4, size)
    return { header: { isFinal, opcode, length, mask, payload: new Gathered(length) }, size }
  }

  #complete({ isFinal, opcode, payload: gathered }: Header): Frame | undefined {
    const payload = gathered.take()
    switch (opcode) {
      case opcodes.ping:
        return { _tag: "Ping", payload }
      case opcodes.pong:
        return { _tag: "Pong" }
      case opcodes.close:
        return { _tag: "Close" }
    }
    this.#inMessage = !isFinal
    this.#message.push(payload)
    this.#messageLength += payload.length
    if (!isFinal) return undefined
    const message = joined(this.#message, this.#messageLength)
    this.#message = []
    this.#messageLength = 0
    try {
      return { _tag: "Text", text: this.#decoder.decode(message) }
    } catch {
      return violation(1007, "a message is not UTF-8")
    }
  }
}

const encoder = new TextEncoder()

const write = (opcode: number, payload: Uint8Array): Uint8Array => {
  const { length } = payload
  const size = length < 126 ? 2 : length < 65536 ? 4 : 10
  const frame = new Uint8Array(size + length)
  const view = new DataView(frame.buffer)
  frame[0] = 128 | opcode
  frame[1] = length < 126 ? length : length < 65536 ? 126 : 127
  if (size === 4) view.setUint16(2, length)
  if (size === 10) view.setBigUint64(2, BigInt(length))
  frame.set(payload, size)
  return frame
}

export const text = (content: string): Uint8Array => write(opcodes.text, encoder.encode(content))

export const ping: Uint8Array = write(opcodes.ping, new Uint8Array(0))

export const pong = (payload: Uint8Array): Uint8Array => write(opcodes.pong, payload)

export const close = (code: number, reason: string): Uint8Array => {
  const words = encoder.encode(reason).subarray(0, 123)
  const payload = new Uint8Array(2 + words.length)
  new DataView(payload.buffer).setUint16(0, code)
  payload.set(words, 2)
  return write(opcodes.close, payload)
}
