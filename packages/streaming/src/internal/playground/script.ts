/**
 * What the page does. The function is sent to the browser as its source, so it
 * refers to nothing outside of itself, and everything it shows of others is set
 * as text.
 */
export const script = (): void => {
  type Json = string | number | boolean | null | ReadonlyArray<Json> | { readonly [name: string]: Json }

  interface Shape {
    readonly type?: string
    readonly enum?: ReadonlyArray<Json>
    readonly items?: Shape
    readonly properties?: { readonly [name: string]: Shape }
    readonly required?: ReadonlyArray<string>
    readonly description?: string
    readonly anyOf?: ReadonlyArray<Shape>
    readonly default?: Json
    readonly $ref?: string
    readonly $defs?: { readonly [name: string]: Shape }
  }

  interface Served {
    readonly name: string
    readonly description: string
    readonly input: Shape
    readonly output: Shape
  }

  interface Problem {
    readonly reason: string
    readonly description: string
    readonly problems?: ReadonlyArray<{ readonly path: string; readonly problem: string }>
  }

  // The events of `Protocol`, as far as they are shown.
  interface Event {
    readonly _tag: string
    readonly path: string
    readonly call: number
    readonly parent?: number
    readonly field?: string
    readonly text?: string
    readonly message?: string
    readonly cause?: string
    readonly exit?: string
    readonly model?: string
    readonly cached?: boolean
    readonly usage?: { readonly [name: string]: number }
    readonly inputs?: Json
    readonly outputs?: Json
    readonly use?: number
    readonly tool?: string
    readonly arguments?: Json
    readonly observation?: string
    readonly failed?: boolean
    readonly n?: number
    readonly value?: Json
    readonly error?: Problem
  }

  interface Control {
    /** The value, or `undefined` for none; throws what is to be told. */
    readonly read: () => Json | undefined
    readonly element: HTMLElement
  }

  // ---- The page

  const byId = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E // the page has them
  const modules = byId<HTMLSelectElement>("module")
  const form = byId<HTMLFormElement>("form")
  const fields = byId("fields")
  const about = byId("about")
  const title = byId("name")
  const token = byId<HTMLInputElement>("token")
  const access = byId<HTMLFormElement>("access")
  const runButton = byId<HTMLButtonElement>("run")
  const cancelButton = byId<HTMLButtonElement>("cancel")
  const state = byId("state")
  const answer = byId("answer")
  const live = byId("live")
  const trace = byId("trace")
  const figures = byId("figures")

  const make = <K extends keyof HTMLElementTagNameMap>(
    tag: K,
    className = "",
    text?: string
  ): HTMLElementTagNameMap[K] => {
    const element = document.createElement(tag)
    if (className !== "") element.className = className
    if (text !== undefined) element.textContent = text
    return element
  }

  // Routes stand beside the page, wherever that is mounted.
  const address = (path: string): string => new URL(path, location.href).href

  const ask = (path: string, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers)
    if (token.value !== "") headers.set("authorization", `Bearer ${token.value}`)
    return fetch(address(path), { ...init, headers })
  }

  const problemOf = async (response: Response): Promise<Problem> => {
    try {
      const problem: unknown = await response.json()
      if (typeof problem === "object" && problem !== null && "description" in problem) return problem as Problem
    } catch {
      // No JSON: what the status says has to do.
    }
    return { reason: String(response.status), description: `${response.status} ${response.statusText}` }
  }

  const say = (kind: "quiet" | "busy" | "good" | "bad", text: string): void => {
    state.className = kind
    state.textContent = text
  }

  // ---- The form

  let current: Served | undefined
  let controls = new Map<string, Control>()

  const resolved = (shape: Shape, root: Shape): Shape => {
    if (shape.$ref !== undefined) {
      const found = root.$defs?.[shape.$ref.split("/").at(-1) ?? ""]
      return found === undefined ? {} : { ...resolved(found, root), ...shape }
    }
    const options = shape.anyOf?.filter((one) => one.type !== "null") ?? []
    const [only] = options
    return only !== undefined && options.length === 1 ? { ...resolved(only, root), ...shape } : shape
  }

  const textArea = (rows: number): HTMLTextAreaElement => {
    const area = make("textarea")
    area.rows = rows
    area.spellcheck = true
    area.addEventListener("input", () => {
      area.style.height = "auto"
      area.style.height = `${area.scrollHeight + 2}px`
    })
    return area
  }

  const controlOf = (shape: Shape, isRequired: boolean): Control => {
    if (shape.enum !== undefined) {
      const select = make("select")
      if (!isRequired) select.append(make("option", "", ""))
      for (const value of shape.enum) select.append(make("option", "", String(value)))
      const values = isRequired ? shape.enum : [undefined, ...shape.enum]
      return { element: select, read: () => values[select.selectedIndex] }
    }
    if (shape.type === "boolean" && isRequired) {
      const box = make("input")
      box.type = "checkbox"
      return { element: box, read: () => box.checked }
    }
    if (shape.type === "number" || shape.type === "integer") {
      const input = make("input")
      input.type = "number"
      input.step = shape.type === "integer" ? "1" : "any"
      return {
        element: input,
        read: () => {
          // What is no number has no value, and would pass for none.
          if (!input.validity.valid) throw new Error(input.validationMessage)
          return input.value === "" ? undefined : Number(input.value)
        }
      }
    }
    if (shape.type === "string") {
      const area = textArea(2)
      return { element: area, read: () => area.value === "" && !isRequired ? undefined : area.value }
    }
    if (shape.type === "array" && shape.items?.type === "string") {
      const area = textArea(3)
      area.placeholder = "one in each line"
      return {
        element: area,
        read: () => area.value === "" ? isRequired ? [] : undefined : area.value.replace(/\n$/, "").split("\n")
      }
    }
    const area = textArea(3)
    area.placeholder = "JSON"
    area.className = "code"
    area.spellcheck = false
    return {
      element: area,
      read: () => area.value.trim() === "" ? undefined : JSON.parse(area.value)
    }
  }

  const choose = (served: Served): void => {
    current = served
    controls = new Map()
    title.textContent = served.name
    about.textContent = served.description
    fields.replaceChildren()
    for (const [name, own] of Object.entries(served.input.properties ?? {})) {
      const shape = resolved(own, served.input)
      const isRequired = served.input.required?.includes(name) === true
      const control = controlOf(
        { ...shape, ...(shape.items && { items: resolved(shape.items, served.input) }) },
        isRequired
      )
      const id = `field-${name}`
      control.element.id = id
      const label = make("label", "", name)
      label.htmlFor = id
      if (!isRequired) label.append(make("span", "quiet", " (optional)"))
      const problem = make("p", "problem")
      problem.id = `${id}-problem`
      const row = make("div", "field")
      row.append(label)
      if (shape.description !== undefined) {
        const hint = make("p", "quiet", shape.description)
        hint.id = `${id}-hint`
        row.append(hint)
      }
      control.element.setAttribute("aria-describedby", `${id}-hint ${id}-problem`)
      if (isRequired) control.element.setAttribute("aria-required", "true")
      control.element.addEventListener("input", () => complain(name, ""))
      row.append(control.element, problem)
      fields.append(row)
      controls.set(name, control)
    }
  }

  const complain = (name: string, text: string): void => {
    const problem = document.getElementById(`field-${name}-problem`)
    const control = controls.get(name)?.element
    if (problem === null || control === undefined) return
    problem.textContent = text
    if (text === "") control.removeAttribute("aria-invalid")
    else control.setAttribute("aria-invalid", "true")
  }

  // The first field with which something is wrong.
  const attend = (): void => form.querySelector<HTMLElement>("[aria-invalid]")?.focus()

  const read = (): { readonly [name: string]: Json } | undefined => {
    const input: { [name: string]: Json } = {}
    let isGood = true
    for (const [name, control] of controls) {
      complain(name, "")
      try {
        const value = control.read()
        if (value !== undefined) input[name] = value
      } catch (error) {
        complain(name, error instanceof Error ? error.message : String(error))
        isGood = false
      }
    }
    if (isGood) return input
    say("bad", "an input has to be corrected")
    attend()
    return undefined
  }

  // ---- What is shown of a run

  const shown = (value: Json | undefined): string =>
    typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? ""

  // Fields by name, texts as they are and everything else as JSON.
  const table = (value: Json | undefined): HTMLElement => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return make("pre", "", shown(value))
    const list = make("dl")
    for (const [name, one] of Object.entries(value)) {
      list.append(make("dt", "", name))
      const text = make("dd", typeof one === "string" ? "text" : "code", shown(one))
      list.append(text)
    }
    return list
  }

  interface Entry {
    readonly row: HTMLElement
    readonly body: HTMLElement
    readonly head: HTMLElement
    readonly since: number
    used: number
  }

  let entries = new Map<string, Entry>()
  let written = new Map<string, HTMLElement>()
  let cards = new Map<number, HTMLElement>()
  let sums = { calls: 0, cached: 0, input: 0, output: 0, cost: 0, priced: 0 }
  let started = 0
  let firstText: number | undefined

  const clear = (): void => {
    entries = new Map()
    written = new Map()
    cards = new Map()
    sums = { calls: 0, cached: 0, input: 0, output: 0, cost: 0, priced: 0 }
    started = performance.now()
    firstText = undefined
    answer.replaceChildren()
    live.replaceChildren()
    trace.replaceChildren()
    figures.replaceChildren()
  }

  const elapsed = (since: number): string => {
    const millis = performance.now() - since
    return millis < 1000 ? `${Math.round(millis)} ms` : `${(millis / 1000).toFixed(1)} s`
  }

  const amount = (n: number): string => n.toLocaleString("en", { maximumSignificantDigits: 3 })

  const tally = (): void => {
    // What was refused has used nothing.
    if (entries.size === 0) return
    const items: ReadonlyArray<readonly [string, string]> = [
      ["time", elapsed(started)],
      ["first text", firstText === undefined ? "–" : `${Math.round(firstText)} ms`],
      ["model calls", sums.cached === 0 ? String(sums.calls) : `${sums.calls} (${sums.cached} cached)`],
      ["tokens in", sums.input.toLocaleString("en")],
      ["tokens out", sums.output.toLocaleString("en")],
      ["cost", sums.priced === 0 ? "unknown" : amount(sums.cost)]
    ]
    figures.replaceChildren(...items.map(([name, value]) => {
      const card = make("div", "figure")
      card.append(make("span", "quiet", name), make("b", "", value))
      return card
    }))
  }

  const open = (key: string, kind: string, title: string, parent: number): Entry => {
    const row = make("details", kind)
    const head = make("summary")
    head.append(make("span", "kind", kind), make("span", "", title), make("span", "took quiet"))
    const body = make("div", "body")
    row.append(head, body)
    // Modules are inside of modules; what has no parent is at the top.
    const outer = entries.get(`module ${parent}`)
    if (outer !== undefined && outer.row instanceof HTMLDetailsElement) outer.row.open = true
    const place = outer?.body ?? trace
    place.append(row)
    const entry = { row, head, body, since: performance.now(), used: 0 }
    entries.set(key, entry)
    return entry
  }

  const close = (key: string, note = "", isBad = false): Entry | undefined => {
    const entry = entries.get(key)
    const took = entry?.head.querySelector(".took")
    if (entry === undefined || took === null || took === undefined) return undefined
    const used = entry.used === 0 ? "" : `${entry.used.toLocaleString("en")} tokens`
    took.textContent = [note, used, elapsed(entry.since)].filter((text) => text !== "").join(", ")
    if (isBad) entry.row.classList.add("bad")
    return entry
  }

  const part = (entry: Entry | undefined, title: string, value: Json | undefined): void => {
    if (entry === undefined || value === undefined) return
    entry.body.append(make("h4", "", title), table(value))
  }

  const card = (event: Event): HTMLElement => {
    const known = cards.get(event.call)
    if (known !== undefined) return known
    const element = make("section", "call")
    element.append(make("h3", "", event.path === "" ? current?.name : event.path))
    cards.set(event.call, element)
    live.append(element)
    return element
  }

  const writing = (event: Event, name: string, className: string): HTMLElement => {
    const key = `${event.call} ${name}`
    const known = written.get(key)
    if (known !== undefined) return known
    const text = make("p", className)
    card(event).append(make("h4", "", name), text)
    written.set(key, text)
    return text
  }

  const settle = (event: Event, note?: string): void => {
    const known = cards.get(event.call)
    known?.classList.add("done")
    if (note !== undefined) known?.append(make("p", "problem", note))
  }

  const show = (event: Event): void => {
    switch (event._tag) {
      case "ModuleStart":
        open(`module ${event.call}`, "module", event.path === "" ? current?.name ?? "" : event.path, event.parent ?? 0)
        return
      case "ModuleEnd":
        close(
          `module ${event.call}`,
          event.exit === "success" ? "" : event.exit,
          event.exit === "failure"
        )
        return
      case "PredictorStart":
        part(
          open(
            `call ${event.call}`,
            "predict",
            event.path === "" ? current?.name ?? "" : event.path,
            event.parent ?? 0
          ),
          "asked",
          event.inputs
        )
        return
      case "PredictorEnd":
        part(close(`call ${event.call}`), "answered", event.outputs)
        settle(event)
        return
      case "PredictorFailed": {
        const entry = close(`call ${event.call}`, "failed", true)
        part(entry, "failed", event.cause)
        settle(event, event.cause)
        return
      }
      case "FieldStart":
        writing(event, event.field ?? "", "text growing")
        return
      case "FieldDelta":
        firstText ??= performance.now() - started
        writing(event, event.field ?? "", "text growing").append(event.text ?? "")
        return
      case "FieldEnd":
        writing(event, event.field ?? "", "text growing").classList.remove("growing")
        return
      case "ReasoningDelta":
        firstText ??= performance.now() - started
        writing(event, "reasoning of the model", "text quiet").append(event.text ?? "")
        return
      case "Reset":
        cards.get(event.call)?.remove()
        cards.delete(event.call)
        for (const key of written.keys()) if (key.startsWith(`${event.call} `)) written.delete(key)
        part(entries.get(`call ${event.call}`), "begun anew", event.cause)
        return
      case "UsageReported": {
        const { usage = {} } = event
        sums.calls++
        if (event.cached === true) sums.cached++
        sums.input += usage["inputTokens"] ?? 0
        sums.output += usage["outputTokens"] ?? 0
        if (usage["cost"] !== undefined) {
          sums.cost += usage["cost"]
          sums.priced++
        }
        const entry = entries.get(`call ${event.call}`)
        if (entry === undefined) return
        const { cachedInputTokens, cost, inputTokens = 0, outputTokens = 0, reasoningTokens } = usage
        const parts = [
          `${inputTokens.toLocaleString("en")} tokens in${
            cachedInputTokens === undefined ? "" : ` (${cachedInputTokens.toLocaleString("en")} cached)`
          }`,
          `${outputTokens.toLocaleString("en")} out${
            reasoningTokens === undefined ? "" : ` (${reasoningTokens.toLocaleString("en")} reasoning)`
          }`,
          ...(cost === undefined ? [] : [`cost ${amount(cost)}`]),
          ...(event.cached === true ? ["from a cache"] : [])
        ]
        entry.body.append(make("h4", "", event.model ?? "model"), make("p", "used", parts.join(", ")))
        entry.used += inputTokens + outputTokens
        return
      }
      case "ToolStart":
        part(
          open(`tool ${event.call} ${event.use}`, "tool", event.tool ?? "", event.call),
          "arguments",
          event.arguments
        )
        return
      case "ToolEnd":
        part(
          close(`tool ${event.call} ${event.use}`, event.failed === true ? "failed" : "", event.failed),
          "says",
          event.observation
        )
        return
      case "Attempt":
        trace.append(make("p", "quiet", `Attempt ${event.n} ${event.path}`))
        return
      case "Status":
        say("busy", event.message ?? "")
        return
      case "Result":
        answer.replaceChildren(table(event.value))
        say("good", "answered")
        return
      case "Failed":
        fail(event.error)
    }
  }

  const fail = (problem: Problem | undefined): void => {
    say(problem?.reason === "Cancelled" ? "quiet" : "bad", problem?.description ?? "it failed")
    for (const { path, problem: text } of problem?.problems ?? []) {
      const name = [...controls.keys()].find((name) =>
        path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`)
      )
      const told = name === undefined ? "" : document.getElementById(`field-${name}-problem`)?.textContent ?? ""
      const more = path === name ? text : `${path}: ${text}`
      if (name !== undefined) complain(name, told === "" ? more : `${told}; ${more}`)
      // It is not in the form.
      else state.append(` (${more})`)
    }
    attend()
    if (problem?.reason === "Unauthorized") {
      access.hidden = false
      token.focus()
    }
  }

  // ---- A run

  interface Running {
    readonly stop: AbortController
    id?: string
    seen: string
    isOver: boolean
  }

  let running: Running | undefined

  // A button that cannot be used keeps the focus it has.
  const enable = (): void => {
    runButton.setAttribute("aria-disabled", String(current === undefined || running !== undefined))
    cancelButton.setAttribute("aria-disabled", String(running === undefined))
  }

  const follow = async (response: Response, run: Running): Promise<void> => {
    run.id = response.headers.get("x-run-id") ?? run.id ?? ""
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ""
    for (let next = await reader?.read(); next !== undefined && !next.done; next = await reader?.read()) {
      const events = (rest + next.value).split("\n\n")
      rest = events.pop() ?? ""
      for (const event of events) {
        let data = ""
        for (const line of event.split("\n")) {
          if (line.startsWith("id: ")) run.seen = line.slice(4)
          if (line.startsWith("data: ")) data += line.slice(6)
        }
        if (data === "") continue
        const read = JSON.parse(data) as Event // what the server sends is what `Protocol` says
        run.isOver ||= read._tag === "Result" || read._tag === "Failed"
        if (running === run) show(read)
      }
    }
  }

  // A connection that is lost is taken up where it was, a few times.
  const watch = async (first: () => Promise<Response>, run: Running): Promise<void> => {
    for (let attempt = 0; !run.isOver; attempt++) {
      try {
        const response = attempt === 0
          ? await first()
          : await ask(`runs/${run.id}`, { headers: { "last-event-id": run.seen }, signal: run.stop.signal })
        if (!response.ok) {
          const problem = await problemOf(response)
          return running === run ? fail(problem) : undefined
        }
        await follow(response, run)
        if (run.isOver) return
      } catch (error) {
        if (running !== run) return
        if (run.stop.signal.aborted) return say("quiet", "cancelled")
        if (run.id === undefined || attempt === 5) {
          return say("bad", `the server cannot be reached: ${error instanceof Error ? error.message : String(error)}`)
        }
      }
      if (running !== run) return
      if (attempt === 5 || run.id === undefined) return say("bad", "the connection was lost")
      say("busy", "connection lost, trying again")
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt))
    }
  }

  const start = async (): Promise<void> => {
    const input = read()
    if (current === undefined || input === undefined || running !== undefined) return
    const { name } = current
    clear()
    say("busy", "running")
    const run: Running = { stop: new AbortController(), seen: "", isOver: false }
    running = run
    enable()
    // On a small screen it is below the form.
    state.scrollIntoView({ block: "nearest" })
    answer.setAttribute("aria-busy", "true")
    const timer = setInterval(() => running === run && tally(), 200)
    await watch(() =>
      ask(`stream/${name}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(input),
        signal: run.stop.signal
      }), run)
    clearInterval(timer)
    // Another module was chosen meanwhile.
    if (running !== run) return
    tally()
    for (const text of document.querySelectorAll(".growing")) text.classList.remove("growing")
    rest()
  }

  const rest = (): void => {
    running = undefined
    answer.removeAttribute("aria-busy")
    enable()
  }

  const stop = async (run: Running): Promise<void> => {
    // The server says how it ended; if it cannot be told, the connection is closed, which ends it too.
    const told = run.id === undefined
      ? false
      : await ask(`runs/${run.id}`, { method: "DELETE" }).then((response) => response.ok, () => false)
    if (!told) run.stop.abort()
  }

  const cancel = (): void => {
    if (running === undefined) return
    say("busy", "cancelling")
    void stop(running)
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault()
    void start()
  })
  cancelButton.addEventListener("click", cancel)
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault()
      form.requestSubmit()
    }
    if (event.key === "Escape") cancel()
  })

  // ---- What there is

  let all: ReadonlyArray<Served> = []

  const load = async (): Promise<void> => {
    try {
      const response = await ask("modules")
      if (!response.ok) return fail(await problemOf(response))
      all = await response.json() as ReadonlyArray<Served> // as `GET /modules` says
      access.hidden = token.value === ""
      modules.replaceChildren(...all.map(({ name }) => make("option", "", name)))
      const wanted = decodeURIComponent(location.hash.slice(1))
      const first = all.find(({ name }) => name === wanted) ?? all[0]
      if (first !== undefined) {
        modules.value = first.name
        choose(first)
      }
      enable()
      if (first === undefined) say("bad", "this server has no modules")
      else say("quiet", "ready")
    } catch (error) {
      say("bad", `the server cannot be reached: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const change = (chosen: Served | undefined): void => {
    if (chosen === undefined || chosen === current) return
    modules.value = chosen.name
    choose(chosen)
    if (running !== undefined) void stop(running)
    rest()
    clear()
    say("quiet", "ready")
  }
  modules.addEventListener("change", () => {
    const chosen = all[modules.selectedIndex]
    change(chosen)
    if (chosen !== undefined) location.hash = encodeURIComponent(chosen.name)
  })
  addEventListener("hashchange", () => {
    const wanted = decodeURIComponent(location.hash.slice(1))
    change(all.find(({ name }) => name === wanted))
  })
  token.addEventListener("change", () => void load())
  access.addEventListener("submit", (event) => {
    event.preventDefault()
    void load()
  })
  void load()
}
