/**
 * Batches of a training set: every example once in each epoch, in an order of
 * its own.
 */
import * as rng from "./rng.ts"

/**
 * Batch `index` of an endless sequence, as places in the training set. The last
 * batch of an epoch is filled up with those that have been used least so far.
 */
export const batches = (options: {
  readonly count: number
  readonly size: number
  readonly seed: number
}): (index: number) => ReadonlyArray<number> => {
  const size = Math.min(options.size, options.count)
  const perEpoch = Math.ceil(options.count / size)
  const used = Array.from({ length: options.count }, () => 0)
  const epochs: Array<ReadonlyArray<number>> = []
  const open = (): void => {
    const order = Array.from(rng.at(options.seed, "epoch", epochs.length).shuffle(used.map((_, place) => place)))
    for (const place of order) used[place]!++
    const last = new Set(order.slice((perEpoch - 1) * size))
    while (last.size < size) {
      const least = order.filter((place) => !last.has(place)).reduce((a, b) => used[b]! < used[a]! ? b : a)
      used[least]!++
      last.add(least)
    }
    epochs.push([...order.slice(0, (perEpoch - 1) * size), ...last])
  }
  return (index) => {
    const epoch = Math.floor(index / perEpoch)
    while (epochs.length <= epoch) open()
    const start = (index % perEpoch) * size
    return epochs[epoch]!.slice(start, start + size)
  }
}
