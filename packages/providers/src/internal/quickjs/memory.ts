/**
 * The most memory that an engine may have, whatever it does. Its own limit counts what it has asked for, and not what
 * lies between: a list that grows leaves holes that are larger than the list.
 *
 * @since 0.1.0
 */

const page = 2 ** 16

const memorySection = 5

/**
 * The same WebAssembly, whose memory cannot become larger than this many bytes: an engine that asks for more is told that
 * there is none.
 */
export const withMaximum = (wasm: Uint8Array, bytes: number): Uint8Array<ArrayBuffer> => {
  let at = 8 // behind the magic number and the version
  const read = (): number => {
    for (let value = 0, shift = 0;; shift += 7) {
      const byte = wasm[at++]
      if (byte === undefined) throw new RangeError("the WebAssembly of the engine ends too early")
      value += (byte % 128) * 2 ** shift
      if (byte < 128) return value
    }
  }
  while (at < wasm.length) {
    const start = at
    const section = read()
    const size = read()
    const end = at + size
    if (section === memorySection) {
      const count = read()
      const limits = read()
      const least = read()
      // Neither shared nor of 64 bits.
      if (count !== 1 || limits > 1) break
      const most = Math.max(least, Math.ceil(bytes / page))
      const content = [1, 1, ...written(least), ...written(most)]
      const changed = [memorySection, ...written(content.length), ...content]
      const out = new Uint8Array(start + changed.length + wasm.length - end)
      out.set(wasm.subarray(0, start))
      out.set(changed, start)
      out.set(wasm.subarray(end), start + changed.length)
      return out
    }
    at = end
  }
  throw new RangeError("the memory of the engine cannot be limited; is quickjs-wasi of another version?")
}

// Seven bits a byte, the lowest first.
const written = (value: number): ReadonlyArray<number> =>
  value < 128 ? [value] : [128 + value % 128, ...written(Math.floor(value / 128))]
