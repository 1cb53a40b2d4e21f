/**
 * What one typed `question -> answer` costs in CPU time, side by side with a
 * hand-written call and with other libraries, on loopback. Each contender runs
 * in a process of its own, as it would in a program; the processes take turns.
 */
import assert from "node:assert"
import { spawnSync } from "node:child_process"
import { contenders } from "./fixture/contenders.ts"
import { cost, median, repeat, serve, table } from "./fixture/measure.ts"

const levels = [1, 64, 512]
const total = 1200
type Figures = ReadonlyArray<{ readonly cpu: number; readonly rate: number }>

const measureOne = async (name: string, url: string): Promise<Figures> => {
  const call = await contenders[name]!(url)
  assert.strictEqual(await call(), "Paris", name)
  const figures: Array<Figures[number]> = []
  for (const concurrency of levels) {
    const { cpu, wall } = await cost(() => repeat(total, concurrency, call))
    figures.push({ cpu: cpu / total, rate: total / wall * 1000 })
  }
  return figures
}

const [name, url] = process.argv.slice(2)

if (name !== undefined && url !== undefined) {
  console.log(JSON.stringify(await measureOne(name, url)))
  process.exit()
}

const server = await serve()
const rounds = 5
const measured = new Map(Object.keys(contenders).map((name) => [name, [] as Array<Figures>]))
for (let round = 0; round < rounds; round++) {
  for (const [name, figures] of measured) {
    const child = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, name, server.url], {
      encoding: "utf8"
    })
    if (child.status !== 0) throw new Error(`${name}: ${child.stderr.slice(-1000)}`)
    figures.push(JSON.parse(child.stdout.trim().split("\n").at(-1)!)) // it prints its figures last
  }
}
levels.forEach((concurrency, level) => {
  const cpu = (name: string) => median(measured.get(name)!.map((figures) => figures[level]!.cpu))
  console.log(`concurrency ${concurrency}, ${total} calls a round, median of ${rounds} rounds in turn`)
  table(
    ["", "CPU per call", "against raw fetch", "calls/s"],
    Array.from(measured, ([name, figures]) => [
      name,
      `${cpu(name).toFixed(0)} µs`,
      `${(cpu(name) / cpu("raw fetch")).toFixed(2)}x`,
      median(figures.map((figures) => figures[level]!.rate)).toFixed(0)
    ])
  )
})
server.stop()
