/**
 * Scores some of which are unknown.
 */

export type Scores = ReadonlyArray<number | undefined>

/** Of what is known; 0 if nothing is. */
export const mean = (scores: Scores): number => {
  const known = scores.filter((score) => score !== undefined)
  return known.length === 0 ? 0 : known.reduce((sum, score) => sum + score, 0) / known.length
}

/** The mean of what has come so far, score by score. */
export const running = (): (score: number | undefined) => number => {
  let sum = 0
  let known = 0
  return (score) => {
    if (score !== undefined) {
      sum += score
      known++
    }
    return known === 0 ? 0 : sum / known
  }
}

/** Per example; unknown where either is. */
export const differences = (a: Scores, b: Scores): Scores =>
  a.map((score, index) => {
    const other = b[index]
    return score === undefined || other === undefined ? undefined : score - other
  })

/** Whether one is better than the other on the examples known for both. */
export const beats = (a: Scores, b: Scores): boolean => mean(differences(a, b)) > 0
