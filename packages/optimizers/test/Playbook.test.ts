import * as Playbook from "@effect-dspy/optimizers/Playbook"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"

const bullet = (id: string, helpful = 0, harmful = 0, text = `text of ${id}`): Playbook.Bullet => ({
  id,
  text,
  helpful,
  harmful
})

const of = (...bullets: ReadonlyArray<Playbook.Bullet>): Playbook.Playbook => ({
  sections: bullets.length === 0 ? [] : [{ name: "A", bullets }]
})

const revise = (
  playbook: Playbook.Playbook,
  operations: ReadonlyArray<Playbook.Operation>,
  tags: ReadonlyArray<Playbook.Tag> = [],
  maxSectionSize?: number
) => Playbook.revise(playbook, { operations, tags, maxSectionSize })

const ids = (playbook: Playbook.Playbook) => playbook.sections.flatMap(({ bullets }) => bullets.map(({ id }) => id))

const add = (text: string, section = "A"): Playbook.Operation => ({ op: "ADD", section, text })

describe("operations", () => {
  it("add, update and remove", () => {
    const playbook = revise(of(bullet("b1"), bullet("b7", 3, 1)), [
      add("new"),
      add("elsewhere", "## B"),
      { op: "UPDATE", id: "[b7 +3 -1]", text: "  better\n words " },
      { op: "REMOVE", id: "b1" },
      { op: "ADD", text: "nowhere" }
    ])
    assert.deepStrictEqual(playbook, {
      sections: [
        { name: "A", bullets: [bullet("b7", 3, 1, "better words"), bullet("b8", 0, 0, "new")] },
        { name: "B", bullets: [bullet("b9", 0, 0, "elsewhere")] },
        { name: "General", bullets: [bullet("b10", 0, 0, "nowhere")] }
      ]
    })
  })

  it("that change nothing, repeat what is there or name what is not there are left out", () => {
    const playbook = of(bullet("b1"), bullet("b2"))
    const operations: ReadonlyArray<Playbook.Operation> = [
      add("Text of  B1."),
      add("text of b2", "B"),
      add(" "),
      { op: "UPDATE", id: "b1", text: "text of b1" },
      { op: "UPDATE", id: "b9", text: "something" },
      { op: "UPDATE", id: "b1" },
      { op: "REMOVE", id: "b9" },
      { op: "REMOVE" }
    ]
    assert.deepStrictEqual(revise(playbook, operations), playbook)
  })

  it("without a bullet mean the most harmful one, or the first that was tagged", () => {
    const playbook = of(bullet("b1"), bullet("b2"), bullet("b3"))
    const harmful = revise(playbook, [{ op: "REMOVE" }], [
      { id: "b1", tag: "helpful" },
      { id: "b3", tag: "harmful" },
      { id: "b2", tag: "harmful" },
      { id: "b3", tag: "harmful" }
    ])
    assert.deepStrictEqual(ids(harmful), ["b1", "b2"])
    const tagged = revise(playbook, [{ op: "UPDATE", text: "other" }], [{ id: "b2", tag: "neutral" }])
    assert.strictEqual(tagged.sections[0]?.bullets[1]?.text, "other")
  })

  it("leave the playbook they are applied to as it was", () => {
    const playbook = of(bullet("b1"))
    revise(playbook, [{ op: "UPDATE", id: "b1", text: "other" }], [{ id: "b1", tag: "harmful" }])
    assert.deepStrictEqual(playbook, of(bullet("b1")))
  })
})

describe("tags", () => {
  it("are counted, of bullets that there are", () => {
    const playbook = revise(of(bullet("b1", 1, 1)), [], [
      { id: "b1", tag: "helpful" },
      { id: "b1", tag: "helpful" },
      { id: "b1", tag: "harmful" },
      { id: "b1", tag: "neutral" },
      { id: "b5", tag: "helpful" }
    ])
    assert.deepStrictEqual(playbook, of(bullet("b1", 3, 2)))
  })
})

describe("sections that are too long", () => {
  it("lose what does most harm, then what helps least, then the oldest", () => {
    const full = of(bullet("b1", 2, 1), bullet("b2"), bullet("b3", 5, 3), bullet("b4"), bullet("b5", 1, 0))
    // Worth 0, 0, -1, 0 and 1.
    const left = (size: number) => ids(revise(full, [], [], size))
    assert.deepStrictEqual(left(5), ["b1", "b2", "b3", "b4", "b5"])
    assert.deepStrictEqual(left(4), ["b1", "b2", "b4", "b5"])
    assert.deepStrictEqual(left(3), ["b1", "b4", "b5"])
    assert.deepStrictEqual(left(2), ["b1", "b5"])
    assert.deepStrictEqual(left(1), ["b5"])
  })

  it("keep what is new", () => {
    const full = of(bullet("b1", 9, 0), bullet("b2", 0, 9))
    assert.deepStrictEqual(ids(revise(full, [add("new"), { op: "UPDATE", id: "b2", text: "other" }], [], 2)), [
      "b2",
      "b3"
    ])
    assert.deepStrictEqual(ids(revise(full, [add("x"), add("y"), add("z")], [], 2)), ["b3", "b4", "b5"])
  })

  it("know the tags of now", () => {
    const full = of(bullet("b1", 1, 0), bullet("b2", 1, 0))
    assert.deepStrictEqual(ids(revise(full, [], [{ id: "b1", tag: "harmful" }], 1)), ["b2"])
  })
})

describe("texts", () => {
  it("of instructions with a playbook are read back as they were", () =>
    FastCheck.assert(
      FastCheck.property(
        FastCheck.string(),
        FastCheck.array(FastCheck.record({ section: FastCheck.string(), text: FastCheck.string() }), { maxLength: 8 }),
        FastCheck.array(FastCheck.record({
          id: FastCheck.constantFrom("b1", "b2", "b3"),
          tag: FastCheck.constantFrom("helpful" as const, "harmful" as const)
        })),
        (instructions, additions, tags) => {
          const playbook = Playbook.revise(
            Playbook.revise(Playbook.empty, {
              operations: additions.map((addition) => ({ op: "ADD" as const, ...addition })),
              tags: []
            }),
            { operations: [], tags }
          )
          assert.deepStrictEqual(Playbook.detach(Playbook.attach(instructions, playbook)), { instructions, playbook })
        }
      ),
      { seed: 6, numRuns: 300 }
    ))

  it("without one have an empty one", () => {
    for (const text of ["Sort.", "Sort.\n\nPlaybook\n\nfor the season", ""]) {
      assert.deepStrictEqual(Playbook.detach(text), { instructions: text, playbook: Playbook.empty })
    }
  })
})
