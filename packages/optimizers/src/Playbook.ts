/**
 * A `Playbook` is what has been learnt about a task, in short bullets that are
 * added, changed and removed one by one, so that nothing is lost in rewriting.
 * Each counts how often it helped and how often it did harm.
 *
 * It is kept in the instructions of a predictor, where the model reads it and
 * from where it is read back:
 *
 * ```
 * Route the ticket.
 *
 * Playbook
 *
 * ## Teams
 * [b1 +4 -0] Refunds belong to billing.
 * [b2 +1 -2] Passwords belong to account.
 * ```
 *
 * After Zhang et al., "Agentic Context Engineering" (arXiv 2510.04618).
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

// =============================================================================
// Models
// =============================================================================

/**
 * One thing to know, in one line. `id` is `b` and a number that grows with every
 * bullet.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bullet {
  readonly id: string
  readonly text: string
  readonly helpful: number
  readonly harmful: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Section {
  readonly name: string
  readonly bullets: ReadonlyArray<Bullet>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Playbook {
  readonly sections: ReadonlyArray<Section>
}

/**
 * What a bullet did in one run of the program.
 *
 * @since 0.1.0
 * @category models
 */
export const Tag = Schema.Struct({ id: Schema.String, tag: Schema.Literal("helpful", "harmful", "neutral") })

/**
 * @since 0.1.0
 * @category models
 */
export interface Tag extends Schema.Schema.Type<typeof Tag> {}

/**
 * A change. `ADD` needs a text and may name a section, `UPDATE` needs a text;
 * `UPDATE` and `REMOVE` name a bullet.
 *
 * @since 0.1.0
 * @category models
 */
export const Operation = Schema.Struct({
  op: Schema.Literal("ADD", "UPDATE", "REMOVE"),
  section: Schema.optional(Schema.String),
  id: Schema.optional(Schema.String),
  text: Schema.optional(Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Operation extends Schema.Schema.Type<typeof Operation> {}

/**
 * Nothing learnt yet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty: Playbook = { sections: [] }

// =============================================================================
// Changing
// =============================================================================

/**
 * Counts the tags, applies the operations in their order, and shortens sections
 * that have become too long.
 *
 * An operation that changes nothing, or adds what is there already in the same
 * words, is left out. One that should name a bullet and does not means the one
 * that was tagged harmful most often, or else the first that was tagged. A section
 * of more than `maxSectionSize` bullets (25 by default) loses those of the lowest
 * `helpful - 2 * harmful`, among equals the least helpful, then the oldest; but
 * none that was added or updated just now.
 *
 * @example
 * ```ts
 * import * as Playbook from "@effect-dspy/optimizers/Playbook"
 *
 * const first = Playbook.revise(Playbook.empty, {
 *   operations: [
 *     { op: "ADD", section: "Teams", text: "Refunds belong to billing." },
 *     { op: "ADD", section: "Teams", text: "Passwords belong to technical." }
 *   ],
 *   tags: []
 * })
 * const second = Playbook.revise(first, {
 *   operations: [{ op: "UPDATE", id: "b2", text: "Passwords belong to account." }],
 *   tags: [{ id: "b1", tag: "helpful" }, { id: "b2", tag: "harmful" }]
 * })
 *
 * assert.strictEqual(
 *   Playbook.format(second),
 *   "## Teams\n[b1 +1 -0] Refunds belong to billing.\n[b2 +0 -1] Passwords belong to account."
 * )
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const revise = (
  self: Playbook,
  revision: {
    readonly operations: ReadonlyArray<Operation>
    readonly tags: ReadonlyArray<Tag>
    readonly maxSectionSize?: number | undefined
  }
): Playbook => {
  const { maxSectionSize = 25, operations, tags } = revision
  const sections = new Map(self.sections.map(({ bullets, name }) => [name, bullets.map((bullet) => ({ ...bullet }))]))
  const all = () => Array.from(sections.values()).flat()
  const find = (id: string) => all().find((bullet) => bullet.id === id)
  let latest = all().reduce((most, { id }) => Math.max(most, numberOf(id)), 0)

  const harm = new Map<string, number>()
  for (const { id: named, tag } of tags) {
    const bullet = find(idOf(named))
    if (bullet === undefined) continue
    if (tag === "helpful") bullet.helpful++
    if (tag === "harmful") bullet.harmful++
    harm.set(bullet.id, (harm.get(bullet.id) ?? 0) + (tag === "harmful" ? 1 : 0))
  }
  const target = ({ id }: Operation) => {
    const named = id === undefined ? Array.from(harm).sort(([, a], [, b]) => b - a)[0]?.[0] : idOf(id)
    return named === undefined ? undefined : find(named)
  }
  const known = (text: string) => all().some((bullet) => normal(bullet.text) === normal(text))

  const touched = new Set<string>()
  for (const operation of operations) {
    const text = oneLine(operation.text ?? "")
    switch (operation.op) {
      case "ADD": {
        if (text === "" || known(text)) break
        const name = oneLine(operation.section ?? "").replace(/^[#\s]+/, "") || "General"
        const id = `b${++latest}`
        sections.set(name, [...sections.get(name) ?? [], { id, text, helpful: 0, harmful: 0 }])
        touched.add(id)
        break
      }
      case "UPDATE": {
        const bullet = target(operation)
        if (bullet === undefined || text === "" || known(text)) break
        bullet.text = text
        touched.add(bullet.id)
        break
      }
      case "REMOVE": {
        const bullet = target(operation)
        if (bullet === undefined) break
        for (const [name, bullets] of sections) sections.set(name, bullets.filter((other) => other !== bullet))
      }
    }
  }
  return {
    sections: Array.from(sections, ([name, bullets]) => ({
      name,
      bullets: pruned(bullets, maxSectionSize, touched)
    })).filter(({ bullets }) => bullets.length > 0)
  }
}

const pruned = (
  bullets: ReadonlyArray<Bullet>,
  size: number,
  touched: ReadonlySet<string>
): ReadonlyArray<Bullet> => {
  const worth = ({ harmful, helpful }: Bullet) => helpful - 2 * harmful
  const going = new Set(
    bullets.filter(({ id }) => !touched.has(id))
      .sort((a, b) => worth(a) - worth(b) || a.helpful - b.helpful || numberOf(a.id) - numberOf(b.id))
      .slice(0, Math.max(0, bullets.length - size))
  )
  return bullets.filter((bullet) => !going.has(bullet))
}

const numberOf = (id: string): number => Number(id.slice(1))

// Models write brackets and counters around it.
const idOf = (text: string): string => /b\d+/.exec(text)?.[0] ?? text

const oneLine = (text: string): string => text.trim().replace(/\s+/g, " ")

const normal = (text: string): string => oneLine(text.toLowerCase()).replace(/[.!;:]+$/, "")

// =============================================================================
// Texts
// =============================================================================

/**
 * The sections with their bullets; an empty text if there are none.
 *
 * @since 0.1.0
 * @category texts
 */
export const format = (self: Playbook): string =>
  self.sections.map(({ bullets, name }) =>
    [
      `## ${name}`,
      ...bullets.map(({ harmful, helpful, id, text }) => `[${id} +${helpful} -${harmful}] ${text}`)
    ].join("\n")
  ).join("\n\n")

const heading = "\n\nPlaybook\n\n"

/**
 * Instructions with the playbook at their end.
 *
 * @since 0.1.0
 * @category texts
 */
export const attach = (instructions: string, playbook: Playbook): string =>
  playbook.sections.length === 0 ? instructions : `${instructions}${heading}${format(playbook)}`

/**
 * Instructions without the playbook, and the playbook they had; an empty one if
 * they had none.
 *
 * @since 0.1.0
 * @category texts
 */
export const detach = (text: string): { readonly instructions: string; readonly playbook: Playbook } => {
  const at = text.lastIndexOf(heading)
  if (at === -1) return { instructions: text, playbook: empty }
  const sections: Array<{ readonly name: string; readonly bullets: Array<Bullet> }> = []
  for (const line of text.slice(at + heading.length).split("\n")) {
    if (line === "") continue
    const name = /^## (.+)$/.exec(line)?.[1]
    const bullet = /^\[(b\d+) \+(\d+) -(\d+)\] (.+)$/.exec(line)
    if (name !== undefined) sections.push({ name, bullets: [] })
    else if (bullet !== null && sections.length > 0) {
      const [, id, helpful, harmful, text] = bullet
      sections.at(-1)!.bullets.push({ id: id!, text: text!, helpful: Number(helpful), harmful: Number(harmful) }) // all groups match
    } else return { instructions: text, playbook: empty }
  }
  return { instructions: text.slice(0, at), playbook: { sections } }
}
