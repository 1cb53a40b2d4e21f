import * as ModelString from "@effect-dspy/providers/ModelString"
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"

const read = (path: string) => fs.readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8")

describe("docs/providers.md", () => {
  const page = read("docs/providers.md")

  it("shows examples/provider.ts as it is, which is short", () => {
    const example = read("examples/provider.ts")
    assert.include(page, `\`\`\`ts\n${example}\`\`\``)
    assert.isBelow(example.split("\n").length, 60)
  })

  it("names every provider that a model string can begin with", () => {
    for (const provider of ModelString.providers) assert.include(page, `\`${provider}/`, provider)
  })
})
