/**
 * The best `k` of any number of scores, of which only `k` are kept.
 */
export interface TopK {
  readonly offer: (index: number, score: number) => void
  /** The best first; of equal scores the lower index first. */
  readonly ranked: () => ReadonlyArray<Ranked>
}

export interface Ranked {
  readonly index: number
  readonly score: number
}

const byRank = (a: Ranked, b: Ranked): number => b.score - a.score || a.index - b.index

/** `k` is at least 1. The order in which scores are offered makes no difference. */
export const make = (k: number): TopK => {
  // A heap whose root is the worst that is kept: what is no better than that is done with after one comparison.
  const indices: Array<number> = []
  const scores: Array<number> = []
  const worse = (a: number, b: number): boolean =>
    scores[a]! < scores[b]! || (scores[a] === scores[b] && indices[a]! > indices[b]!) // places of the heap
  const swap = (a: number, b: number): void => {
    const [index, score] = [indices[a]!, scores[a]!] // places of the heap
    indices[a] = indices[b]!
    scores[a] = scores[b]!
    indices[b] = index
    scores[b] = score
  }
  const up = (place: number): void => {
    const parent = (place - 1) >> 1
    if (place > 0 && worse(place, parent)) {
      swap(place, parent)
      up(parent)
    }
  }
  const down = (place: number): void => {
    let worst = place
    for (const child of [2 * place + 1, 2 * place + 2]) {
      if (child < scores.length && worse(child, worst)) worst = child
    }
    if (worst !== place) {
      swap(place, worst)
      down(worst)
    }
  }
  return {
    offer: (index, score) => {
      if (scores.length < k) {
        indices.push(index)
        scores.push(score)
        up(scores.length - 1)
      } else if (score > scores[0]! || (score === scores[0] && index < indices[0]!)) { // it is full, so it has a root
        indices[0] = index
        scores[0] = score
        down(0)
      }
    },
    ranked: () => scores.map((score, place) => ({ index: indices[place]!, score })).sort(byRank) // of one length
  }
}
