/**
 * A language model of a few hundred kilobytes, made on the spot: the llama
 * architecture with weights that are random but the same for the same seed, and
 * a vocabulary of bytes. What it writes is nonsense, how it runs is not.
 */
const alignment = 32
const sizes = { width: 64, layers: 2, heads: 4, keyHeads: 2, feedForward: 128 }

const typeOf = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 }

const padded = (size: number): number => Math.ceil(size / alignment) * alignment

class Writer {
  readonly #parts: Array<Buffer> = []
  size = 0

  bytes(part: Buffer): this {
    this.#parts.push(part)
    this.size += part.length
    return this
  }
  uint32(value: number): this {
    const part = Buffer.alloc(4)
    part.writeUInt32LE(value)
    return this.bytes(part)
  }
  uint64(value: number): this {
    const part = Buffer.alloc(8)
    part.writeBigUInt64LE(BigInt(value))
    return this.bytes(part)
  }
  text(value: string): this {
    const part = Buffer.from(value)
    return this.uint64(part.length).bytes(part)
  }
  pad(): this {
    return this.bytes(Buffer.alloc(padded(this.size) - this.size))
  }
  end(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

// Marsaglia's xorshift: small, and the same everywhere.
const uniform = (seed: number): () => number => {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

const hex = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`

// Of a token: its text, and whether it is unknown (2), for control (3), a byte (6), one that is never cut (4) or a word (1).
const vocabulary: ReadonlyArray<readonly [string, number]> = [
  ["<unk>", 2],
  ["<s>", 3],
  ["</s>", 3],
  ...Array.from({ length: 256 }, (_, byte) => [hex(byte), 6] as const),
  ["\u2581", 1],
  ["<think>", 4],
  ["</think>", 4]
]

const tokenOf = (text: string): number => {
  const index = vocabulary.findIndex(([token]) => token === (/^[a-z]$/.test(text) ? hex(text.charCodeAt(0)) : text))
  if (index < 0) throw new Error(`there is no token ${text}`)
  return index
}

const tensors = (): ReadonlyArray<readonly [string, ReadonlyArray<number>]> => {
  const { feedForward, heads, keyHeads, layers, width } = sizes
  const keys = (width / heads) * keyHeads
  return [
    ["token_embd.weight", [width, vocabulary.length]],
    ["output_norm.weight", [width]],
    ["output.weight", [width, vocabulary.length]],
    ...Array.from({ length: layers }, (_, layer) =>
      ([
        ["attn_norm", [width]],
        ["attn_q", [width, width]],
        ["attn_k", [width, keys]],
        ["attn_v", [width, keys]],
        ["attn_output", [width, width]],
        ["ffn_norm", [width]],
        ["ffn_gate", [width, feedForward]],
        ["ffn_up", [width, feedForward]],
        ["ffn_down", [feedForward, width]]
      ] as const).map(([name, shape]) => [`blk.${layer}.${name}.weight`, shape] as const)).flat()
  ]
}

/**
 * The bytes of a GGUF file. Same seed, same bytes. `context` is how many tokens
 * the model says to have been trained for; each takes 256 bytes of memory.
 * `template` is how it wants conversations written, in Jinja. With `says` it
 * writes each of these tokens after the one before it, and nothing is random.
 */
export const gguf = ({ context = 512, says, seed, template }: {
  readonly seed: number
  readonly says?: ReadonlyArray<string>
  readonly context?: number
  readonly template?: string
}): Buffer => {
  const metadata = new Writer()
  let entries = 0
  const entry = (key: string, type: number): Writer => {
    entries++
    return metadata.text(key).uint32(type)
  }
  const integer = (key: string, value: number) => entry(key, typeOf.uint32).uint32(value)
  const real = (value: number) => Buffer.from(Float32Array.of(value).buffer)
  const list = (key: string, type: number) => entry(key, typeOf.array).uint32(type).uint64(vocabulary.length)

  entry("general.architecture", typeOf.string).text("llama")
  integer("llama.context_length", context)
  integer("llama.embedding_length", sizes.width)
  integer("llama.block_count", sizes.layers)
  integer("llama.feed_forward_length", sizes.feedForward)
  integer("llama.attention.head_count", sizes.heads)
  integer("llama.attention.head_count_kv", sizes.keyHeads)
  entry("llama.attention.layer_norm_rms_epsilon", typeOf.float32).bytes(real(1e-5))
  integer("llama.rope.dimension_count", sizes.width / sizes.heads)
  entry("llama.rope.freq_base", typeOf.float32).bytes(real(10000))
  integer("llama.vocab_size", vocabulary.length)
  entry("tokenizer.ggml.model", typeOf.string).text("llama")
  list("tokenizer.ggml.tokens", typeOf.string)
  for (const [token] of vocabulary) metadata.text(token)
  list("tokenizer.ggml.scores", typeOf.float32)
  for (const _ of vocabulary) metadata.bytes(real(0))
  list("tokenizer.ggml.token_type", typeOf.int32)
  for (const [, type] of vocabulary) metadata.uint32(type)
  integer("tokenizer.ggml.bos_token_id", 1)
  integer("tokenizer.ggml.eos_token_id", 2)
  integer("tokenizer.ggml.unknown_token_id", 0)
  if (template !== undefined) entry("tokenizer.chat_template", typeOf.string).text(template)

  const random = uniform(seed)
  const infos = new Writer()
  const data = new Writer()
  const all = tensors()
  for (const [name, shape] of all) {
    infos.text(name).uint32(shape.length)
    for (const size of shape) infos.uint64(size)
    infos.uint32(0).uint64(data.size)
    const norm = shape.length === 1
    const weights = Float32Array.from(
      { length: shape.reduce((product, size) => product * size, 1) },
      () => norm ? 1 : says === undefined ? (random() - 0.5) * 0.5 : 0
    )
    // Each token has a direction of its own, which the next one is the answer to.
    says?.forEach((token, step) => {
      if (name === "token_embd.weight") weights[tokenOf(token) * sizes.width + step] = 1
      if (name === "output.weight" && step > 0) weights[tokenOf(token) * sizes.width + step - 1] = 1
    })
    data.bytes(Buffer.from(weights.buffer)).pad()
  }
  return new Writer()
    .bytes(Buffer.from("GGUF"))
    .uint32(3)
    .uint64(all.length)
    .uint64(entries)
    .bytes(metadata.end())
    .bytes(infos.end())
    .pad()
    .bytes(data.end())
    .end()
}
