/**
 * Runs in the project made by packed.ts: loads every subpath under plain Node and fails if loading one leaves a trace in
 * the process, if a private one can be loaded, or if an index does not hold its modules (which of them it is without is
 * for barrels.ts to say).
 */
import assert from "node:assert"
import * as fs from "node:fs"
import { isDeepStrictEqual } from "node:util"

const { internals, packages, peers } = JSON.parse(fs.readFileSync("probe.json", "utf8"))
const intrinsics = [Object, Function, Array, String, Number, Symbol, Error, Promise, Map, Set, Date, RegExp, JSON, Math]

// What loading a file holds open is closed in its own time.
const idle = new Set(["CloseReq", "FSReqPromise", "PipeWrap", "TTYWrap"])

const traces = () => ({
  globals: Reflect.ownKeys(globalThis),
  intrinsics: intrinsics.map((value) => [value, value.prototype ?? {}].map((on) => Reflect.ownKeys(on).length)),
  listeners: process.eventNames().map((name) => [name, process.listenerCount(name)]),
  environment: { ...process.env },
  resources: process.getActiveResourcesInfo().filter((kind) => !idle.has(kind))
})

const load = async (specifier) => {
  const before = traces()
  const module = await import(specifier)
  await new Promise((resolve) => setImmediate(resolve))
  for (const [kind, value] of Object.entries(traces())) {
    assert.ok(isDeepStrictEqual(value, before[kind]), `importing ${specifier} changes the ${kind} of the process`)
  }
  return module
}

// A package without a module of its own name, or with one that wants more peers than are here, is loaded by another.
const entries = {
  "@effect/platform-node": "@effect/platform-node/NodeHttpClient",
  "@modelcontextprotocol/sdk": "@modelcontextprotocol/sdk/types.js"
}
for (const peer of peers) await import(entries[peer] ?? peer)

for (const { modules, name } of packages) {
  const loaded = {}
  for (const module of modules) loaded[module] = await load(`${name}/${module}`)
  const index = await load(name)
  const held = Object.fromEntries(Object.keys(index).map((module) => [module, loaded[module]]))
  assert.deepStrictEqual({ ...index }, held, `the index of ${name} does not hold its modules`)
}

for (const specifier of internals) {
  await assert.rejects(import(specifier), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }, `${specifier} can be imported`)
}

console.log(`all of them load on Node ${process.version} and leave no trace`)
