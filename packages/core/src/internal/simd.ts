/**
 * Dot products by the vector instructions of the processor, which JavaScript
 * has no words for: WebAssembly, written by hand.
 */

/** Writes to `out` the dot products of a query with the rows from `row` to `end`. All are addresses in bytes. */
export type Products = (row: number, end: number, query: number, queryEnd: number, out: number) => void

/** Rows and query are 32-bit floats, their number a multiple of this. */
export const lanes = 8

// As `wat2wasm` of WABT assembles it:
//
// (module
//   (memory (import "m" "m") 1)
//   (func (export "f") (param $row i32) (param $end i32) (param $query i32) (param $queryEnd i32) (param $out i32)
//     (local $at i32) (local $a v128) (local $b v128)
//     (loop $rows
//       (local.set $a (v128.const i32x4 0 0 0 0))
//       (local.set $b (v128.const i32x4 0 0 0 0))
//       (local.set $at (local.get $query))
//       (loop $eight
//         (local.set $a (f32x4.add (local.get $a) (f32x4.mul (v128.load (local.get $row)) (v128.load (local.get $at)))))
//         (local.set $b (f32x4.add (local.get $b)
//           (f32x4.mul (v128.load offset=16 (local.get $row)) (v128.load offset=16 (local.get $at)))))
//         (local.set $row (i32.add (local.get $row) (i32.const 32)))
//         (br_if $eight (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 32))) (local.get $queryEnd))))
//       (local.set $a (f32x4.add (local.get $a) (local.get $b)))
//       (f32.store (local.get $out) (f32.add
//         (f32.add (f32x4.extract_lane 0 (local.get $a)) (f32x4.extract_lane 1 (local.get $a)))
//         (f32.add (f32x4.extract_lane 2 (local.get $a)) (f32x4.extract_lane 3 (local.get $a)))))
//       (local.set $out (i32.add (local.get $out) (i32.const 4)))
//       (br_if $rows (i32.lt_u (local.get $row) (local.get $end))))))
const code =
  "AGFzbQEAAAABCQFgBX9/f39/AAIIAQFtAW0CAAEDAgEABwUBAWYAAAqtAQGqAQIBfwJ7A0D9DAAAAAAAAAAAAAAAAAAAAAAhBv0MAAAAAAAA" +
  "AAAAAAAAAAAAACEHIAIhBQNAIAYgAP0ABAAgBf0ABAD95gH95AEhBiAHIAD9AAQQIAX9AAQQ/eYB/eQBIQcgAEEgaiEAIAVBIGoiBSADSQ0ACyAG" +
  "IAf95AEhBiAEIAb9HwAgBv0fAZIgBv0fAiAG/R8DkpI4AgAgBEEEaiEEIAAgAUkNAAsL"

// Compiled once: an engine makes it fast only after it has run for a while, and then it is so for every index.
let compiled: WebAssembly.Module | undefined

const page = 65_536
const addressable = 2 ** 32 - page

/**
 * Memory of so many bytes, and what multiplies in it; `undefined` where there is
 * no WebAssembly, where a policy forbids it, or where it cannot have so much
 * memory.
 */
export const make = (
  bytes: number
): { readonly buffer: ArrayBuffer; readonly products: Products } | undefined => {
  if (typeof WebAssembly === "undefined" || bytes > addressable) return undefined
  try {
    compiled ??= new WebAssembly.Module(Uint8Array.from(atob(code), (byte) => byte.charCodeAt(0)))
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / page) })
    const { f } = new WebAssembly.Instance(compiled, { m: { m: memory } }).exports
    return { buffer: memory.buffer, products: f as Products } // as its code says
  } catch {
    return undefined
  }
}
