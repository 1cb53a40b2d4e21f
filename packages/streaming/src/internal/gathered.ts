/**
 * Bytes that come in pieces, in one place that grows with them: pieces that come
 * byte by byte would each take far more room than they hold. Of what is larger
 * than the limit nothing more is held, but all of it is counted.
 */
export class Gathered {
  readonly limit: number
  #room = new Uint8Array(0)
  #size = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** How many bytes have come. */
  get size(): number {
    return this.#size
  }

  get isTooLarge(): boolean {
    return this.#size > this.limit
  }

  /** Holds a copy of a piece, and gives where it is held. */
  add(piece: Uint8Array): Uint8Array {
    const start = this.#size
    const end = start + piece.length
    this.#size = end
    if (end > this.limit) return none
    if (end > this.#room.length) {
      const larger = new Uint8Array(Math.min(this.limit, Math.max(end, 2 * this.#room.length)))
      larger.set(this.#room.subarray(0, start))
      this.#room = larger
    }
    this.#room.set(piece, start)
    return this.#room.subarray(start, end)
  }

  /** What has come, unless it is too large, and begins anew. */
  take(): Uint8Array {
    const bytes = this.isTooLarge ? none : this.#room.subarray(0, this.#size)
    this.#room = none
    this.#size = 0
    return bytes
  }
}

const none = new Uint8Array(0)
