/**
 * What there is inside of QuickJS before any code runs: `console`, `submit`, the functions of the session, and what
 * turns values into JSON text. It is handed to the engine as text, so that it may use nothing but its parameters and
 * what JavaScript itself has.
 *
 * Code may change every object that it can reach, the prototypes included. It can spoil only its own results by that:
 * what arrives outside is text, which is checked there.
 *
 * @since 0.1.0
 */

/** Functions of the worker. They take and return strings and numbers only. */
export interface Outside {
  readonly log: (text: string, left: number) => void
  readonly submit: (json: string) => void
  /** Returns the number of the call; 0 if it is one too many. */
  readonly call: (name: string, args: string) => number
}

export interface Bounds {
  readonly arguments: number
  readonly value: number
  readonly logs: number
  readonly calls: number
  readonly depth: number
  /** Characters of arguments that calls made at the same time may have together. */
  readonly flood: number
}

/** What the worker calls. Values go out as text with a mark in front. */
export interface Inside {
  /** Makes what was overwritten anew. */
  readonly prepare: () => void
  /** `=` and JSON, `?` and why there is none, `!` if it is too large, or nothing for `undefined`. */
  readonly encode: (value: unknown) => string
  /** JSON of name, message and stack. */
  readonly explain: (error: unknown) => string
  readonly resolve: (call: number, json: string) => void
  readonly reject: (call: number, name: string, message: string) => void
  readonly define: (name: string, json: string) => void
}

export const guest = (
  log: Outside["log"],
  submit: Outside["submit"],
  call: Outside["call"],
  names: string,
  limits: string
): Inside => {
  const { parse, stringify } = JSON
  const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf, keys } = Object
  const { isArray } = Array
  const { isFinite } = Number
  const { toString } = Object.prototype
  const { apply, deleteProperty } = Reflect
  const text = String
  const functions: ReadonlyArray<string> = parse(names)
  const bounds: Bounds = parse(limits)
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: unknown) => void }>()
  const ended = { toString: () => "submit ends the code" }

  // Code does not make code: what runs is what was given.
  for (const made of [function() {}, async function() {}, function*() {}, async function*() {}]) {
    defineProperty(getPrototypeOf(made), "constructor", { value: undefined })
  }
  deleteProperty(globalThis, "eval")
  deleteProperty(globalThis, "Function")

  const short = (string: string, most: number): string => string.length > most ? string.slice(0, most) : string

  // Why a value is no JSON, or nothing.
  const problem = (value: unknown, path: string, depth: number): string => {
    switch (typeof value) {
      case "string":
      case "boolean":
        return ""
      case "number":
        return isFinite(value) ? "" : `${value}${path}`
      case "object":
        break
      default:
        return `${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}${path}`
    }
    if (value === null) return ""
    if (depth > bounds.depth) return `more than ${bounds.depth} levels`
    if ("toJSON" in value && typeof value.toJSON === "function") return problem(value.toJSON(), path, depth + 1)
    if (isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        const found = problem(value[i], `${path === "" ? " at " : path}[${i}]`, depth + 1)
        if (found !== "") return found
      }
      return ""
    }
    const kind = apply(toString, value, []).slice(8, -1)
    if (kind !== "Object") {
      return `${/^[AEIOU]/.test(kind) ? "an" : "a"} ${kind}${path}${
        kind === "Promise" ? ", which was not awaited" : ""
      }`
    }
    for (const key of keys(value)) {
      if (key === "__proto__") return `a key "__proto__"${path}`
      const item: unknown = (value as { readonly [key: string]: unknown })[key] // one of its keys
      if (item === undefined) continue
      const found = problem(item, `${path === "" ? " at " : path}.${short(key, 100)}`, depth + 1)
      if (found !== "") return found
    }
    return ""
  }

  const json = (value: unknown): string => {
    const found = problem(value, "", 1)
    if (found !== "") throw new TypeError(`JSON is asked for, and there is ${found}`)
    return stringify(value)
  }

  const encode = (value: unknown): string => {
    if (value === undefined) return ""
    const found = problem(value, "", 1)
    if (found !== "") return `?${found}`
    const encoded = stringify(value)
    return encoded.length > bounds.value ? "!" : `=${encoded}`
  }

  // For people and models to read: everything has some text.
  const shown = (value: unknown): string => {
    if (typeof value !== "object" || value === null || value instanceof Error) return text(value)
    try {
      return stringify(value, (_, item: unknown) => {
        if (typeof item === "number" && !isFinite(item)) return text(item)
        if (typeof item === "bigint") return `${item}n`
        if (typeof item === "function" || typeof item === "symbol" || item === undefined) return text(item)
        if (item instanceof Error) return text(item)
        if (item instanceof Map || item instanceof Set) return [...item]
        return item
      })
    } catch {
      return apply(toString, value, [])
    }
  }

  const write = (...values: ReadonlyArray<unknown>): void => {
    let line = ""
    for (let i = 0; i < values.length && line.length <= bounds.logs; i++) {
      line += (i === 0 ? "" : " ") + shown(values[i])
    }
    const kept = short(line, bounds.logs)
    log(kept, line.length - kept.length)
  }

  const explain = (error: unknown): string => {
    try {
      if (typeof error === "object" && error !== null) {
        const { message, name, stack } = error as { readonly [key: string]: unknown } // any object may be asked
        if (typeof message === "string") {
          return stringify([
            typeof name === "string" ? short(name, 100) : "Error",
            short(message, 4000),
            typeof stack === "string" ? short(stack, 4000) : ""
          ])
        }
      }
      return stringify(["Error", short(`${shown(error)} was thrown`, 4000), ""])
    } catch {
      return `["Error","what was thrown cannot be looked at",""]`
    }
  }

  const globals: { [name: string]: unknown } = {
    console: { debug: write, error: write, info: write, log: write, warn: write },
    submit: (value: unknown) => {
      const submitted = json(value)
      if (submitted.length > bounds.value) {
        throw new RangeError(
          `at most ${bounds.value} characters of JSON can be submitted, and there are ${submitted.length}`
        )
      }
      submit(submitted)
      throw ended
    }
  }
  for (const name of functions) {
    globals[name] = async (...args: ReadonlyArray<unknown>) => {
      const given = json(args)
      if (given.length > bounds.arguments) {
        throw new RangeError(`${name} takes at most ${bounds.arguments} characters of JSON, not ${given.length}`)
      }
      const id = call(name, given)
      if (id === 0) {
        throw new RangeError(
          `no more than ${bounds.calls} calls are allowed, and no more than ${bounds.flood} characters of arguments at a time`
        )
      }
      return await new Promise<unknown>((resolve, reject) => {
        waiting.set(id, { resolve, reject })
      })
    }
  }

  const define = (name: string, value: unknown): void => {
    defineProperty(globalThis, name, { value, configurable: true, enumerable: false, writable: true })
  }

  const answered = (id: number) => {
    const call = waiting.get(id)!
    waiting.delete(id)
    return call
  }

  return {
    prepare: () => {
      for (const name of keys(globals)) {
        if (getOwnPropertyDescriptor(globalThis, name)?.value !== globals[name]) define(name, globals[name])
      }
    },
    encode,
    explain,
    resolve: (id, result) => answered(id).resolve(parse(result)),
    reject: (id, name, message) => {
      const error = new Error(message)
      error.name = name
      answered(id).reject(error)
    },
    define: (name, value) => define(name, parse(value))
  }
}
