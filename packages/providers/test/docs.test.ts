import * as Platform from "@effect/platform"
import * as PlatformNode from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as effect from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import { createServer } from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as ModelString from "../src/ModelString.ts"

const root = path.join(import.meta.dirname, "../../..")
const tsx = createRequire(import.meta.url).resolve("tsx")
const read = (file: string) => fs.readFileSync(path.join(root, file), "utf8")

const guides = ["README.md", ...fs.readdirSync(path.join(root, "docs")).map((file) => `docs/${file}`)]
  .filter((file) => file.endsWith(".md"))

// =============================================================================
// A guide as a program
// =============================================================================

interface Snippet {
  /** Of its first line in the guide, from 0. */
  readonly start: number
  readonly lines: ReadonlyArray<string>
}

const snippetsOf = (file: string): ReadonlyArray<Snippet> => {
  const page = read(file)
  return Array.from(page.matchAll(/^```ts\n([\s\S]*?)^```$/gm), ({ 1: text = "", index }) => ({
    start: page.slice(0, index).split("\n").length,
    lines: text.trimEnd().split("\n")
  }))
}

const modulesOf = (name: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, "packages", name, "src"))
    .filter((file) => /^[A-Z].*\.ts$/.test(file))
    .map((file) => file.slice(0, -3))

const exportsOf = (specifier: string, names: ReadonlyArray<string>) =>
  [names, (name: string) => `import { ${name} } from "${specifier}"`] as const

// Where a name comes from that a guide uses and does not import. Of two that are alike the first is meant.
const sources: ReadonlyArray<readonly [names: ReadonlyArray<string>, importOf: (name: string) => string]> = [
  exportsOf(
    "../../../test/fixtures/given.ts",
    Array.from(
      read("packages/providers/test/fixtures/given.ts").matchAll(/^export (?:declare const|class) (\w+)/gm),
      ([, name = ""]) => name
    )
  ),
  ...["core", "providers", "optimizers", "streaming"].map((name) =>
    [modulesOf(name), (module: string) => `import * as ${module} from "@effect-dspy/${name}/${module}"`] as const
  ),
  exportsOf("effect", Object.keys(effect)),
  exportsOf("@effect/platform", Object.keys(Platform)),
  exportsOf("@effect/platform-node", Object.keys(PlatformNode)),
  exportsOf("@effect/opentelemetry", ["Otlp"])
]

const usedIn = (code: string): ReadonlyArray<string> => {
  const plain = code.replace(/\/\*[\s\S]*?\*\/|\/\/.*$|"(?:[^"\\\n]|\\.)*"/gm, " ")
  return Array.from(plain.matchAll(/(?<![.\w$])[A-Za-z_]\w*(?!\w|\s*:(?!:))/g), ([name]) => name)
}

const declaredIn = (code: string): ReadonlyArray<string> =>
  Array.from(code.matchAll(/(?:const |class |function )(?:\{([^}]*)\}|(\w+))/g))
    .flatMap(([, list = "", name = ""]) => [...list.split(/[,\s]+/), name])

// One import for each name, so that several snippets may import the same.
const importedIn = (statement: string): ReadonlyArray<readonly [name: string, statement: string]> => {
  const [, list, namespace = ""] = /^import (?:type )?(?:\{([^}]*)\}|(\* as \w+)) from/.exec(statement) ?? []
  const from = statement.slice(statement.lastIndexOf("from"))
  return list === undefined
    ? [[namespace.slice("* as ".length), statement]]
    : list.split(",").map((item) => item.trim()).filter((item) => item !== "").map((item) => [
      item.split(" ").at(-1) ?? item,
      `import { ${item} } ${from}`
    ])
}

const importStatement = /^import [^"]*"[^"]+"$/gm

// A guide is read from its beginning: what a snippet declares is there in those after it, which may declare it anew. Each
// line keeps its number, for the messages of the compiler.
const programOf = (file: string): string => {
  const imports = new Map<string, string>()
  const declared = new Set<string>()
  const lines: Array<string> = read(file).split("\n").map(() => "")
  const snippets = snippetsOf(file)
  for (const snippet of snippets) {
    const text = snippet.lines.join("\n")
    for (const [statement] of text.matchAll(importStatement)) {
      // A file that the guide has written before: what it declares is there.
      if (statement.includes("\"./")) continue
      for (const [name, single] of importedIn(statement.replaceAll(/\s+/g, " "))) imports.set(name, single)
    }
    for (const name of declaredIn(text)) declared.add(name)
    for (const name of usedIn(text.replaceAll(importStatement, ""))) {
      if (imports.has(name) || declared.has(name)) continue
      const source = sources.find(([names]) => names.includes(name))
      if (source !== undefined) imports.set(name, source[1](name))
    }
    const body = text.replaceAll(importStatement, (statement) => statement.replaceAll(/[^\n]+/g, ""))
      .replaceAll(/^export /gm, "").split("\n")
    lines.splice(snippet.start - 1, body.length + 1, "{", ...body)
  }
  // Generators, so that a snippet may ask for what is in an Effect.
  lines[0] = `${[...imports.values()].join(";")};export const guide = function*() {`
  lines.push(`${"}".repeat(snippets.length + 1)}`)
  return lines.join("\n")
}

const shell = (command: string, args: ReadonlyArray<string>, options: {
  readonly cwd: string
  readonly env?: Record<string, string>
}) =>
  Effect.async<{ readonly code: number | null; readonly output: string }>((resume) => {
    const child = spawn(command, args, { cwd: options.cwd, env: { ...process.env, ...options.env } })
    let output = ""
    child.stdout.on("data", (data: Buffer) => output += data.toString())
    child.stderr.on("data", (data: Buffer) => output += data.toString())
    child.on("close", (code) => resume(Effect.succeed({ code, output })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

const scratch = (name: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = path.join(import.meta.dirname, "../node_modules/.cache", `${name}-${process.pid}`)
      fs.mkdirSync(folder, { recursive: true })
      return folder
    }),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
  )

// =============================================================================
// Tests
// =============================================================================

describe("the guides", () => {
  it.scopedLive("hold snippets that compile", () =>
    Effect.gen(function*() {
      const folder = yield* scratch("guides")
      assert.isAbove(guides.flatMap(snippetsOf).length, 20)
      for (const guide of guides) {
        fs.writeFileSync(path.join(folder, `${path.basename(guide)}.ts`), programOf(guide))
      }
      fs.writeFileSync(
        path.join(folder, "tsconfig.json"),
        JSON.stringify({
          extends: path.join(root, "tsconfig.base.json"),
          include: ["*.ts"],
          compilerOptions: {
            rootDir: root,
            noEmit: true,
            declarationMap: false,
            composite: false,
            incremental: false,
            // A page shows what can be done, and need not do anything with it.
            noUnusedLocals: false,
            rewriteRelativeImportExtensions: false,
            allowImportingTsExtensions: true,
            paths: {
              "@effect/opentelemetry": [
                path.join(root, "packages/streaming/node_modules/@effect/opentelemetry/dist/dts/index.d.ts")
              ]
            }
          }
        })
      )
      const tsc = path.join(root, "node_modules/.bin/tsc")
      const { output } = yield* shell(tsc, ["-p", folder, "--pretty", "false"], { cwd: folder })
      // Whether the packages compile is not asked here.
      assert.deepStrictEqual(output.match(/^(?:\w+\.md\.ts|tsconfig).*|.*given\.ts.*$/gm) ?? [], [])
    }), 240_000)
})

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

  it.scopedLive("builds models that answer, from a recording", () =>
    Effect.gen(function*() {
      const folder = yield* scratch("providers")
      const models = snippetsOf("docs/providers.md").map(({ lines }) => lines.join("\n")).filter((text) =>
        /^const Model = /m.test(text) && !text.includes("runMain")
      )
      assert.lengthOf(models, 2)
      for (const [n, text] of models.entries()) {
        const file = path.join(folder, `${n}.mts`)
        fs.writeFileSync(
          file,
          `${text}
import * as Recorded from "@effect-dspy/providers/Cassette"
import * as Core from "@effect-dspy/core"
import * as effect from "effect"
import * as node from "@effect/platform-node"
const path = ${JSON.stringify(path.join(import.meta.dirname, "fixtures/docs.cassette.jsonl"))}
const recorded = Model.pipe(Core.Policy.apply(Recorded.make({ path })))
const { outputs } = await Core.LanguageModel.generate({ messages: [{ role: "user", content: "Say hello." }] }).pipe(
  effect.Effect.provide(recorded.pipe(effect.Layer.provideMerge(effect.Layer.mergeAll(
    node.NodeContext.layer,
    ${text.includes("UsageLedger") ? "UsageLedger.layer()," : ""}
    ${text.includes("BudgetPolicy") ? "effect.Layer.scoped(Core.Budget.Budget, Core.Budget.make({ calls: 1 }))," : ""}
  )))),
  effect.Effect.runPromise
)
console.log(outputs[0].text)
`
        )
        const cwd = fs.mkdtempSync(path.join(os.tmpdir(), "docs-"))
        fs.mkdirSync(path.join(cwd, ".cache"))
        const { code, output } = yield* shell(process.execPath, ["--import", tsx, file], {
          cwd,
          env: { OPENAI_API_KEY: "none", ANTHROPIC_API_KEY: "none" }
        })
        fs.rmSync(cwd, { recursive: true })
        assert.strictEqual(code, 0, output)
        assert.match(output, /^Hello!$/m)
      }
    }), 120_000)
})

describe("docs/getting-started.md", () => {
  it.scopedLive("is a program that runs from its first file to its last", () =>
    Effect.gen(function*() {
      const page = read("docs/getting-started.md")
      const cwd = yield* Effect.acquireRelease(
        Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "getting-started-"))),
        (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
      )
      fs.symlinkSync(path.join(root, "node_modules"), path.join(cwd, "node_modules"))
      fs.writeFileSync(path.join(cwd, "package.json"), `{"type":"module"}`)
      fs.writeFileSync(path.join(cwd, "tickets.csv"), /^```csv\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? "")
      const port = yield* freePort
      for (const { lines } of snippetsOf("docs/getting-started.md")) {
        const file = /^\/\/ ([\w.]+\.ts)$/.exec(lines[0] ?? "")?.[1]
        if (file !== undefined) fs.writeFileSync(path.join(cwd, file), lines.join("\n").replaceAll("3000", `${port}`))
      }
      const run = (file: string) => shell(process.execPath, ["--import", tsx, file], { cwd })
      const runs = (file: string) =>
        Effect.map(run(file), ({ code, output }) => {
          assert.strictEqual(code, 0, `${file}: ${output}`)
          return output
        })
      const figure = (name: RegExp) => name.exec(page)?.[0] ?? assert.fail(`the guide has no ${name}`)

      assert.match(yield* runs("ask.ts"), /── user ──[\s\S]*\nbilling\n$/)
      assert.include(yield* runs("evaluate.ts"), figure(/^score .*out$/m))
      assert.match(yield* runs("optimize.ts"), /^best .* on 9 examples of the test set\nas given .*\ndifference /m)
      assert.match(yield* runs("stream.ts"), /error\./)
      yield* Effect.forkScoped(run("server.ts"))
      // Until the server is there.
      const asked = yield* run("client.ts").pipe(Effect.repeat({ times: 20, until: ({ code }) => code === 0 }))
      assert.match(asked.output, /^technical /)

      const vitest = path.join(root, "node_modules/vitest/vitest.mjs")
      const { code, output } = yield* shell(process.execPath, [vitest, "run", "--root", cwd], { cwd })
      assert.strictEqual(code, 0, output)
      assert.match(output, /2 passed/)
    }), 240_000)
})
