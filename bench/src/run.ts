/**
 * `pnpm bench` runs every benchmark of this folder, `pnpm bench <name> ...` the named ones, each in a process of its own. What
 * comes from the first `--option` on is handed to each of them.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"

const known = fs.readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts") && file !== "run.ts")
  .map((file) => path.basename(file, ".ts"))
const given = process.argv.slice(2)
const first = given.findIndex((argument) => argument.startsWith("-"))
const asked = first === -1 ? given : given.slice(0, first)
const options = first === -1 ? [] : given.slice(first)
const unknown = asked.filter((name) => !known.includes(name))

if (unknown.length > 0) {
  console.error(`no benchmark named ${unknown.join(", ")}; there are: ${known.join(", ")}`)
  process.exitCode = 1
} else {
  for (const name of asked.length > 0 ? asked : known) {
    console.log(`# ${name}`)
    const published = path.join(import.meta.dirname, "fixture/published.ts")
    const { status } = spawnSync(
      process.execPath,
      ["--import", "tsx", "--import", published, path.join(import.meta.dirname, `${name}.ts`), ...options],
      { stdio: "inherit" }
    )
    if (status !== 0) process.exitCode = 1
  }
}
