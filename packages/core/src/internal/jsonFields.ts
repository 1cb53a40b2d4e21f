/**
 * The fields of an answer that is a JSON object.
 */
import * as Either from "effect/Either"
import type { FieldEvent, Problem, Raw } from "../Adapter.ts"
import * as Json from "../Json.ts"
import type { Wire } from "./codec.ts"
import * as coerce from "./coerce.ts"
import type { Machine } from "./incremental.ts"
import * as jsonText from "./jsonText.ts"
import type { Names } from "./markers.ts"

// The keys of the JSON Schema that a request may carry, and that some models echo.
const schemaKeywords = new Set(["type", "properties", "required", "additionalProperties"])

/**
 * Reads the first object that has an output field among its keys. Once such a
 * key is met the reading is settled on its object: what was streamed stands.
 */
export class JsonFields implements Machine {
  readonly repairs = new Set<string>()
  readonly #names: Names
  readonly #wires: ReadonlyMap<string, Wire>
  readonly #fields = new Map<string, Raw>()
  readonly #values = new Map<string, Json.Json>()
  readonly #watch: jsonText.Watch = {
    start: (key) => this.#start(key),
    delta: (text) => {
      this.#piece += text
    },
    end: (value) => this.#end(value)
  }
  #reader: jsonText.Reader | undefined
  #state: "searching" | "settled" | "finished" | "failed" = "searching"
  #problem: Problem | undefined
  #candidates = 0
  #why: Problem | undefined
  #around = ""
  // Events and remarks of an object that may yet turn out to be the wrong one.
  #events: Array<FieldEvent> = []
  #remarks: Array<string> = []

  // The member being read: its field, or undefined where it is left out.
  #field: string | undefined
  #repeated = false
  #text = ""
  #piece = ""

  constructor(names: Names, wires: ReadonlyMap<string, Wire>) {
    this.#names = names
    this.#wires = wires
  }

  push(text: string, events: Array<FieldEvent>): void {
    let at = 0
    while (at < text.length && this.#state !== "failed") {
      at = this.#reader === undefined ? this.#search(text, at) : this.#read(this.#reader, text, at)
    }
    this.#flush()
    if (this.#events.length > 0 && this.#state !== "searching") {
      // One by one: there may be more than a call takes arguments.
      for (const event of this.#events) events.push(event)
      this.#events = []
    }
  }

  end(): Either.Either<ReadonlyMap<string, Raw>, Problem> {
    if (this.#problem !== undefined) return Either.left(this.#problem)
    const prose = this.#around.replace(/`{3,}\w*/g, "").trim()
    const problem = (kind: Problem["kind"], description: string, why?: Problem) =>
      Either.left({
        kind,
        description: why === undefined ? description : `${description}: ${why.description}`,
        ...(why?.got === undefined ? undefined : { got: why.got })
      })
    switch (this.#state) {
      case "searching":
        return prose === "" && this.#candidates === 0 && this.#reader === undefined
          ? problem("empty", "the answer is empty")
          : problem("syntax", `the answer has no complete JSON object with ${this.#wanted()}`, this.#why)
      case "settled": {
        if (this.#field !== undefined) {
          return problem("syntax", `the answer ends inside the value of ${JSON.stringify(this.#field)}`)
        }
        // An optional field may have been about to come: only an answer with all fields is surely whole.
        if (this.#fields.size < this.#names.outputs.length || this.#reader?.isBetweenMembers !== true) {
          return problem("syntax", "the answer ends before the JSON object is complete")
        }
        this.#keep(this.#reader)
        this.repairs.add("the JSON object was not closed")
      }
    }
    if (prose !== "") this.repairs.add("text around the JSON object was left out")
    return Either.right(this.#fields)
  }

  #wanted(): string {
    return this.#names.outputs.map((name) => JSON.stringify(name)).join(", ")
  }

  // ---------------------------------------------------------------------------
  // Objects in the text
  // ---------------------------------------------------------------------------

  #search(text: string, from: number): number {
    const found = this.#state === "finished" ? -1 : text.indexOf("{", from)
    const at = found === -1 ? text.length : found
    // The beginning of it is enough to tell prose from fences.
    if (this.#around.length < 200) {
      const more = text.slice(from, at)
      this.#around += (this.#around === "" ? more.trimStart() : more).slice(0, 200 - this.#around.length)
    }
    if (found !== -1) this.#reader = new jsonText.Reader(this.#watch)
    return at
  }

  #read(reader: jsonText.Reader, text: string, from: number): number {
    const at = reader.read(text, from)
    if (reader.status === "failed") {
      if (this.#state === "settled" || reader.problem.kind !== "syntax") this.#fail(reader.problem)
      else {
        this.#why = reader.problem
        this.#discard()
      }
    } else if (reader.status === "done" && this.#state !== "failed") {
      if (this.#isAnswer(reader.value)) {
        this.#state = "finished"
        this.#keep(reader)
      } else this.#discard()
    }
    return at
  }

  #keep(reader: jsonText.Reader): void {
    for (const repair of reader.repairs) this.repairs.add(`the JSON was mended: ${repair}`)
    for (const remark of this.#remarks) this.repairs.add(remark)
    this.#reader = undefined
  }

  #fail(problem: Problem): void {
    this.#problem = problem
    this.#state = "failed"
  }

  #discard(): void {
    this.#reader = undefined
    this.#events = []
    this.#remarks = []
    this.#fields.clear()
    this.#values.clear()
    this.#field = undefined
    this.#piece = ""
    this.#candidates++
    if (this.#candidates === jsonText.maxCandidates) {
      this.#fail({
        kind: "syntax",
        description: `none of the first ${this.#candidates} JSON objects in the answer has ${this.#wanted()}`
      })
    }
  }

  #isAnswer(value: Json.Json): boolean {
    if (!coerce.isRecord(value)) return false
    const isWhole = this.#names.outputs.every((name) => this.#fields.has(name) || this.#wires.get(name)?.optional)
    if (this.#fields.size === 0) return isWhole && Object.keys(value).length === 0
    // Only keys of a schema so far: it may be ours, echoed.
    const isSchema = value["type"] === "object" && Json.isJsonRecord(value["properties"])
    return this.#state === "settled" || isWhole || !isSchema
  }

  // ---------------------------------------------------------------------------
  // Members of the object
  // ---------------------------------------------------------------------------

  #start(key: string): void {
    const name = this.#names.resolve(key)
    const field = name !== undefined && this.#wires.has(name) ? name : undefined
    if (field === undefined) this.#remarks.push(`the key ${JSON.stringify(key)} was left out`)
    else if (field !== key) this.#remarks.push(`the key ${JSON.stringify(key)} was read as "${field}"`)
    this.#field = field
    this.#repeated = field !== undefined && this.#fields.has(field)
    this.#text = ""
    this.#piece = ""
    if (field === undefined || this.#repeated) return
    if (!schemaKeywords.has(field)) this.#state = "settled"
    this.#events.push({ _tag: "FieldStart", field })
  }

  #end(value: Json.Json): void {
    const field = this.#field
    if (field === undefined) return
    if (this.#repeated) {
      if (Json.canonical(this.#values.get(field)) !== Json.canonical(value)) {
        this.#fail({ kind: "syntax", field, description: `the field "${field}" stands twice, with different values` })
      }
    } else {
      this.#flush()
      this.#events.push({ _tag: "FieldEnd", field })
      this.#values.set(field, value)
      this.#fields.set(field, this.#raw(field, value))
    }
    this.#field = undefined
  }

  #raw(field: string, value: Json.Json): Raw {
    if (typeof value === "string" || value === null || this.#wires.get(field)?.isText !== true) {
      return { _tag: "Json", value }
    }
    // As it is written, which is what was streamed.
    this.#remarks.push(`the value of "${field}" is not a string and was read as text`)
    return { _tag: "Text", text: this.#text }
  }

  #flush(): void {
    if (this.#piece === "" || this.#field === undefined || this.#repeated) return
    this.#events.push({ _tag: "FieldDelta", field: this.#field, text: this.#piece })
    this.#text += this.#piece
    this.#piece = ""
  }
}
