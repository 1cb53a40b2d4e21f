/**
 * Counts over the last seconds.
 *
 * @since 0.1.0
 */

const steps = 10

/**
 * How often each of several things happened within `length` milliseconds. What
 * is older leaves in steps of a tenth of that. Any number of fibers may share
 * one: nothing in it waits.
 */
export class RollingCount<Kind extends string> {
  readonly #step: number
  #slots: Array<{ readonly step: number; readonly counts: Map<Kind, number> }> = []

  constructor(length: number) {
    this.#step = Math.max(1, length / steps)
  }

  add(kind: Kind, now: number): void {
    const step = Math.floor(now / this.#step)
    let slot = this.#slots.at(-1)
    if (slot === undefined || slot.step < step) {
      slot = { step, counts: new Map() }
      this.#slots = [...this.#slots.filter((slot) => slot.step > step - steps), slot]
    }
    slot.counts.set(kind, (slot.counts.get(kind) ?? 0) + 1)
  }

  of(kind: Kind, now: number): number {
    const oldest = Math.floor(now / this.#step) - steps
    return this.#slots.reduce((sum, slot) => slot.step > oldest ? sum + (slot.counts.get(kind) ?? 0) : sum, 0)
  }
}
