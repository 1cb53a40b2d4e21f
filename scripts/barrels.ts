/**
 * Writes packages/<name>/src/index.ts: one `export * as Module` per public
 * module, with the module's own leading JSDoc. A module that cannot be loaded
 * without an optional peer is left out: it has its own subpath. `--check` fails
 * instead.
 */
import * as fs from "node:fs"
import * as path from "node:path"

interface Package {
  readonly peerDependenciesMeta?: { readonly [name: string]: { readonly optional?: boolean } }
}

const check = process.argv.includes("--check")
let stale = 0

const needsOneOf = (peers: ReadonlyArray<string>, source: string): boolean =>
  Array.from(source.matchAll(/^import (?!type )[^"]* from "([^"]+)"/gm), ([, from]) => from!)
    .some((from) => peers.some((peer) => from === peer || from.startsWith(`${peer}/`)))

for (const name of fs.readdirSync("packages")) {
  const src = path.join("packages", name, "src")
  const { peerDependenciesMeta = {} }: Package = JSON.parse(
    fs.readFileSync(path.join("packages", name, "package.json"), "utf8")
  )
  const optional = Object.keys(peerDependenciesMeta).filter((peer) => peerDependenciesMeta[peer]?.optional === true)
  const modules = fs.readdirSync(src)
    .filter((file) =>
      /^[A-Z].*\.ts$/.test(file) && !needsOneOf(optional, fs.readFileSync(path.join(src, file), "utf8"))
    )
    .sort((a, b) => (a < b ? -1 : 1))
  const content = modules
    .map((file) => {
      const doc = /^\/\*\*[\s\S]*?\*\//.exec(fs.readFileSync(path.join(src, file), "utf8"))?.[0]
      if (doc === undefined) throw new Error(`${path.join(src, file)} has no leading JSDoc`)
      return `${doc}\nexport * as ${path.basename(file, ".ts")} from "./${file}"\n`
    })
    .join("\n")
  const index = path.join(src, "index.ts")
  if (fs.existsSync(index) && fs.readFileSync(index, "utf8") === content) continue
  stale++
  if (check) console.error(`${index} is out of date, run: pnpm barrels`)
  else fs.writeFileSync(index, content)
}

if (check && stale > 0) process.exitCode = 1
