/**
 * Names for somebody who wrote another one.
 *
 * @since 0.1.0
 */

// The number of letters to change, by Levenshtein.
const distance = (a: string, b: string): number => {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(above[j]! + 1, row[j - 1]! + 1, change))
    }
    above = row
  }
  return above[b.length]!
}

/**
 * The names that are spelt most like the given one, at most `limit`; those that
 * share less than half of their letters are none.
 */
export const nearest = (name: string, names: ReadonlyArray<string>, limit: number): ReadonlyArray<string> => {
  const wanted = name.toLowerCase()
  return names
    .map((name) => {
      const other = name.toLowerCase()
      const length = Math.max(wanted.length, other.length)
      // A part of the name is nearer than as many changed letters.
      const part = Math.min(wanted.length, other.length) >= 3 && (other.includes(wanted) || wanted.includes(other))
      const far = part ? 0.25 : distance(wanted, other) / length
      return { name, far }
    })
    .filter(({ far }) => far <= 0.5)
    .sort((a, b) => a.far - b.far)
    .slice(0, limit)
    .map(({ name }) => name)
}
