/**
 * Which addresses are on the open internet.
 *
 * @since 0.1.0
 */

// What is not, by its first bits: this network, private, shared, loopback, link-local, protocols, documentation,
// relays, benchmarks, multicast, reserved. IANA's special-purpose registries.
const special4: ReadonlyArray<readonly [prefix: string, bits: number]> = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4]
]

// Only 2000::/3 is given out; of that, protocols (Teredo), documentation and 6to4 are not for everybody.
const special6: ReadonlyArray<readonly [prefix: ReadonlyArray<number>, bits: number]> = [
  [[0x2001, 0], 23],
  [[0x2001, 0xdb8], 32],
  [[0x2002], 16],
  [[0x3fff, 0], 20]
]

const parse4 = (text: string): number | undefined => {
  const parts = text.split(".")
  if (parts.length !== 4) return undefined
  let value = 0
  for (const part of parts) {
    // No octal, no hexadecimal, no empty parts: whoever writes those means to be misread.
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    value = value * 256 + Number(part)
  }
  return value
}

const parse6 = (text: string): ReadonlyArray<number> | undefined => {
  const dotted = /^(.*:)([\d.]+)$/.exec(text)
  if (dotted?.[2]?.includes(".") === true) {
    const v4 = parse4(dotted[2])
    return v4 === undefined
      ? undefined
      : parse6(`${dotted[1]}${Math.floor(v4 / 65_536).toString(16)}:${(v4 % 65_536).toString(16)}`)
  }
  const sides = text.split("::")
  if (sides.length > 2) return undefined
  const [head = [], tail = []] = sides.map((side) => side === "" ? [] : side.split(":"))
  const missing = 8 - head.length - tail.length
  if (sides.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...Array<string>(missing).fill("0"), ...tail]
  return groups.every((group) => /^[\da-f]{1,4}$/i.test(group)) ? groups.map((group) => parseInt(group, 16)) : undefined
}

const isPublic4 = (address: number): boolean =>
  !special4.some(([prefix, bits]) => {
    const size = 2 ** (32 - bits)
    return Math.floor(address / size) === Math.floor(parse4(prefix)! / size) // written above
  })

const starts = (address: ReadonlyArray<number>, prefix: ReadonlyArray<number>, bits: number): boolean =>
  Array.from({ length: Math.ceil(bits / 16) }).every((_, at) => {
    const mask = 0xffff << Math.max(0, 16 - (bits - at * 16)) & 0xffff
    return ((address[at] ?? 0) & mask) === ((prefix[at] ?? 0) & mask)
  })

/**
 * Whether an address, as text, is one that anybody can reach. Those that hold an
 * IPv4 address are what that is; what is no address is not public.
 */
export const isPublic = (text: string): boolean => {
  const v4 = parse4(text)
  if (v4 !== undefined) return isPublic4(v4)
  const v6 = parse6(text)
  if (v6 === undefined) return false
  const mapped = starts(v6, [0, 0, 0, 0, 0, 0xffff], 96) || starts(v6, [0x64, 0xff9b], 96)
  if (mapped) return isPublic4(v6[6]! * 65_536 + v6[7]!) // eight groups
  return starts(v6, [0x2000], 3) && !special6.some(([prefix, bits]) => starts(v6, prefix, bits))
}

/** Whether a text is an address rather than a name. */
export const isAddress = (text: string): boolean => parse4(text) !== undefined || parse6(text) !== undefined
