/**
 * The page in a real browser. Where there is no Chromium (`CHROMIUM`, or Debian's package) the tests are skipped, and the
 * reason is in their name.
 */
import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as Module from "@effect-dspy/core/Module"
import * as Predict from "@effect-dspy/core/Predict"
import * as Signature from "@effect-dspy/core/Signature"
import * as Playground from "@effect-dspy/streaming/Playground"
import * as Server from "@effect-dspy/streaming/Server"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Layer, Redacted, Schema, Stream } from "effect"
import * as fs from "node:fs"
import * as http from "node:http"
import * as os from "node:os"
import * as path from "node:path"
import { type BrowserContext, chromium } from "playwright-core"

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium"
const installed = fs.existsSync(executablePath)

/** Where pictures of the page are put, to look at it as people do. */
const pictures = process.env["PLAYGROUND_PICTURES"]

/** Writes two fields; waits in the middle of the second one until it may go on. */
const writer = Effect.gen(function*() {
  const half = yield* Deferred.make<void>()
  const counts = { calls: 0, open: 0 }
  const layer = Layer.succeed(
    LanguageModel.LanguageModel,
    LanguageModel.make({
      id: "test/writer",
      stream: () =>
        Stream.unwrapScoped(Effect.gen(function*() {
          counts.calls++
          counts.open++
          yield* Effect.addFinalizer(() => Effect.sync(() => counts.open--))
          const text = (text: string) => ({ _tag: "TextDelta" as const, index: 0, text })
          return Stream.fromIterable([
            text("[[ ## team ## ]]\nbilling\n\n[[ ## reply ## ]]\nWe refund "),
            text("one of the <b>payments</b>.")
          ]).pipe(
            Stream.rechunk(1),
            Stream.zipWithIndex,
            Stream.mapEffect(([delta, n]) => Effect.as(n === 1 ? Deferred.await(half) : Effect.void, delta)),
            Stream.concat(Stream.make(
              text("\n\n[[ ## completed ## ]]"),
              { _tag: "Finish" as const, index: 0, reason: "stop" as const },
              {
                _tag: "Completed" as const,
                usage: { inputTokens: 1234, outputTokens: 56, cost: 0.0021 },
                model: "test/writer"
              }
            ))
          )
        }))
    })
  )
  return { layer, counts, goOn: Deferred.succeed(half, void 0) }
})

const triage = Predict.make(Signature.make({
  instructions: "Route a ticket, and reply.",
  input: {
    ticket: Schema.String.annotations({ description: "what the customer wrote" }),
    language: Schema.Literal("English", "German"),
    urgency: Schema.optional(Schema.Int),
    notes: Schema.Array(Schema.String)
  },
  output: { team: Schema.String, reply: Schema.String }
}))

const steps = Module.make({ triage }, function*(m, input: { readonly ticket: string }) {
  const { reply } = yield* m.triage({ ticket: input.ticket, language: "English", notes: [] })
  return { reply }
})

const modules = {
  triage,
  short: Predict.make(Signature.make({
    input: { code: Schema.String.pipe(Schema.maxLength(40)) },
    output: { reply: Schema.String }
  })),
  steps: Server.endpoint({
    input: Schema.Struct({ ticket: Schema.String }),
    output: Schema.Struct({ reply: Schema.String })
  }, steps)
}

/** The page, and everything that it said or asked of others. */
const open = (
  options: Partial<Server.Options<typeof modules>> = {},
  browser: Parameters<typeof chromium.launchPersistentContext>[1] = {}
) =>
  Effect.gen(function*() {
    const model = yield* writer
    const context = yield* Layer.build(
      Server.serve(Layer.merge(Server.routes, Playground.routes)).pipe(
        Layer.provide(Server.layer({ modules, ...options })),
        Layer.provide(model.layer),
        Layer.provideMerge(NodeHttpServer.layer(() => http.createServer(), { port: 0, host: "127.0.0.1" }))
      )
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    const url = `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}`
    const profile = yield* Effect.acquireRelease(
      Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-playground-"))),
      (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
    )
    const opened: BrowserContext = yield* Effect.acquireRelease(
      Effect.promise(() =>
        chromium.launchPersistentContext(profile, {
          executablePath,
          args: ["--headless=new", "--no-sandbox", "--disable-background-networking"],
          viewport: { width: 1200, height: 900 },
          ...browser
        })
      ),
      (context) => Effect.promise(() => context.close())
    )
    const heard: Array<string> = []
    const elsewhere: Array<string> = []
    const page = yield* Effect.promise(async () => {
      const page = await opened.newPage()
      page.setDefaultTimeout(15_000)
      page.on("console", (message) => heard.push(message.text()))
      page.on("pageerror", (error) => heard.push(error.message))
      page.on("request", (request) => {
        if (!request.url().startsWith(url) && !request.url().startsWith("data:")) elsewhere.push(request.url())
      })
      await page.goto(`${url}/playground`)
      return page
    })
    const picture = (name: string) =>
      Effect.promise(async () => {
        if (pictures !== undefined) await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true })
      })
    return { page, heard, elsewhere, model, url, picture }
  })

const test = installed ? it.scopedLive : it.scopedLive.skip
const why = installed ? "" : ` (skipped: no Chromium at ${executablePath})`

describe(`the page${why}`, () => {
  test(
    "a form of the signature; fields that are watched while they are written; what it cost; the trace",
    () =>
      Effect.gen(function*() {
        const { elsewhere, heard, model, page, picture } = yield* open()
        yield* Effect.promise(async () => {
          await page.getByText("ready").waitFor()
          assert.include(await page.locator("#about").textContent(), "Route a ticket")
          assert.deepStrictEqual(await page.locator("label[for^=field-]").allTextContents(), [
            "ticket",
            "language",
            "urgency (optional)",
            "notes"
          ])
          assert.isTrue(await page.getByText("what the customer wrote").isVisible())
          await page.getByLabel("ticket").fill("I was charged twice.")
          await page.getByLabel("language").selectOption("German")
          await page.getByLabel("notes").fill("first\nsecond")
          await page.getByRole("button", { name: "Run" }).click()
          // The second field has begun, the first is done, and there is no answer yet.
          await page.locator(".growing", { hasText: "We refund" }).waitFor()
          assert.strictEqual(await page.locator("#live .text").first().textContent(), "billing")
          assert.strictEqual(await page.locator("#answer dd").count(), 0)
          assert.isTrue(await page.getByRole("button", { name: "Run" }).isDisabled())
        })
        yield* picture("writing")
        yield* model.goOn
        yield* Effect.promise(async () => {
          await page.getByText("answered", { exact: true }).first().waitFor()
          // As text: nothing that a model writes is taken for a part of the page.
          assert.deepStrictEqual(await page.locator("#answer dd").allTextContents(), [
            "billing",
            "We refund one of the <b>payments</b>."
          ])
          assert.strictEqual(await page.locator("#answer b, #live b").count(), 0)
          const figures = (await page.locator(".figure").allTextContents()).join(" | ")
          assert.include(figures, "model calls1")
          assert.include(figures, "tokens in1,234")
          assert.include(figures, "tokens out56")
          assert.include(figures, "cost0.0021")
          assert.include(await page.locator("details.predict > summary").textContent(), "1,290 tokens")
          const call = page.locator("details.predict")
          await call.locator("summary").click()
          assert.include(await call.textContent(), "I was charged twice.")
          assert.include(await call.textContent(), "first")
          assert.include(await call.textContent(), "1,234 tokens in, 56 out, cost 0.0021")
          assert.strictEqual(await page.locator(".growing").count(), 0)
        })
        yield* picture("answered")
        assert.deepStrictEqual([heard, elsewhere], [[], []])
      }),
    60_000
  )

  test("runs, goes through and cancels by keyboard; the model is left at once", () =>
    Effect.gen(function*() {
      const { model, page } = yield* open()
      yield* Effect.promise(async () => {
        await page.getByText("ready").waitFor()
        // Everything that can be used can be reached, in the order in which it is seen.
        const reached: Array<string> = []
        for (let n = 0; n < 6; n++) {
          await page.keyboard.press("Tab")
          reached.push(await page.evaluate(() => document.activeElement?.id ?? ""))
        }
        assert.deepStrictEqual(reached, [
          "module",
          "field-ticket",
          "field-language",
          "field-urgency",
          "field-notes",
          "run"
        ])
        await page.getByLabel("ticket").focus()
        await page.keyboard.type("Hello")
        await page.keyboard.press("Control+Enter")
        await page.locator(".growing", { hasText: "We refund" }).waitFor()
        assert.strictEqual(model.counts.open, 1)
        await page.keyboard.press("Escape")
        await page.getByText("cancelled").waitFor()
        assert.isFalse(await page.getByRole("button", { name: "Run" }).isDisabled())
        // What has been written stays, and what has the focus keeps it.
        assert.include(await page.locator("#live").textContent(), "We refund")
        await page.getByRole("button", { name: "Run" }).focus()
        await page.keyboard.press("Enter")
        await page.locator(".growing", { hasText: "We refund" }).waitFor()
        assert.strictEqual(await page.evaluate(() => document.activeElement?.id), "run")
        // Another module: the run is left, and says nothing there.
        await page.getByLabel("Module").selectOption("steps")
        await page.getByText("ready").waitFor()
        assert.strictEqual(await page.locator("#live").textContent(), "")
      })
      yield* Effect.repeat(Effect.delay(Effect.sync(() => model.counts.open), "5 millis"), {
        until: (open) => open === 0
      })
      assert.deepStrictEqual(model.counts, { calls: 2, open: 0 })
    }), 60_000)

  test("says what is wrong with an input, beside it", () =>
    Effect.gen(function*() {
      const { model, page, picture, url } = yield* open()
      yield* Effect.promise(async () => {
        await page.getByText("ready").waitFor()
        await page.getByLabel("urgency").fill("1.5")
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#state.bad").waitFor()
        assert.strictEqual(await page.getByLabel("urgency").getAttribute("aria-invalid"), "true")
        assert.isNotEmpty(await page.locator("#field-urgency-problem").textContent())
        assert.strictEqual(await page.evaluate(() => document.activeElement?.id), "field-urgency")
        await page.getByLabel("urgency").fill("2")
        assert.isNull(await page.getByLabel("urgency").getAttribute("aria-invalid"))
      })
      // What only the server knows: 40 characters are too many.
      yield* Effect.promise(async () => {
        await page.goto(`${url}/playground#short`)
        await page.getByLabel("code").fill("x".repeat(41))
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#field-code-problem:not(:empty)").waitFor()
        assert.strictEqual(await page.evaluate(() => document.activeElement?.id), "field-code")
      })
      yield* picture("problem")
      assert.strictEqual(model.counts.calls, 0)
    }), 60_000)

  test("modules inside of modules are told as such, and a module is chosen by name", () =>
    Effect.gen(function*() {
      const { model, page, picture, url } = yield* open()
      yield* model.goOn
      yield* Effect.promise(async () => {
        await page.goto(`${url}/playground#steps`)
        await page.reload()
        await page.getByText("ready").waitFor()
        assert.strictEqual(await page.getByLabel("Module").inputValue(), "steps")
        await page.getByLabel("ticket").fill("Hello")
        await page.keyboard.press("Control+Enter")
        await page.getByText("answered", { exact: true }).first().waitFor()
        assert.strictEqual(await page.locator("details.module > .body > details.predict").count(), 1)
      })
      yield* picture("inside")
    }), 60_000)

  test("asks for the token when the server does", () =>
    Effect.gen(function*() {
      const { model, page } = yield* open({ auth: Redacted.make("a-long-enough-token") })
      yield* model.goOn
      yield* Effect.promise(async () => {
        await page.locator("#state.bad").waitFor()
        await page.getByLabel("Token").fill("a-long-enough-token")
        await page.keyboard.press("Tab")
        await page.getByText("ready").waitFor()
        await page.getByLabel("ticket").fill("Hello")
        await page.keyboard.press("Control+Enter")
        await page.getByText("answered", { exact: true }).first().waitFor()
      })
    }), 60_000)

  for (const colorScheme of ["light", "dark"] as const) {
    test(`has texts that can be read in the ${colorScheme}: a contrast of 4.5 or more`, () =>
      Effect.gen(function*() {
        const { model, page, picture } = yield* open({}, { colorScheme, viewport: { width: 820, height: 900 } })
        const faint = () =>
          Effect.promise(() =>
            page.evaluate(() => {
              const channels = (color: string): ReadonlyArray<number> => (color.match(/[\d.]+/g) ?? []).map(Number)
              const light = (color: string): number => {
                const [r = 0, g = 0, b = 0] = channels(color).map((channel) => {
                  const part = channel / 255
                  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
                })
                return 0.2126 * r + 0.7152 * g + 0.0722 * b
              }
              const ground = (element: Element | null): string => {
                if (element === null) return "rgb(255, 255, 255)"
                const { backgroundColor } = getComputedStyle(element)
                return channels(backgroundColor)[3] === 0 ? ground(element.parentElement) : backgroundColor
              }
              const contrast = (one: string, other: string): number => {
                const [dark = 0, bright = 0] = [light(one), light(other)].sort((a, b) => a - b)
                return (bright + 0.05) / (dark + 0.05)
              }
              const found: Array<string> = []
              let seen = 0
              for (const element of document.body.querySelectorAll("*")) {
                // What cannot be used may be faint.
                if (!element.checkVisibility() || element.closest("[aria-disabled=true], script") !== null) continue
                const says = Array.from(element.childNodes).some((node) =>
                  node.nodeType === 3 && node.textContent?.trim()
                )
                const looks = [
                  ...(says || element.matches("input, select, textarea") ? [undefined] : []),
                  ...(element.matches("[placeholder]") ? ["::placeholder"] : []),
                  ...(element.matches("div:empty") ? ["::before"] : [])
                ]
                for (const look of looks) {
                  seen++
                  const ratio = contrast(getComputedStyle(element, look).color, ground(element))
                  if (ratio < 4.5) found.push(`${element.outerHTML.slice(0, 80)} ${look ?? ""} ${ratio.toFixed(2)}`)
                }
              }
              return { found, seen }
            })
          )
        yield* Effect.promise(() => page.getByText("ready").waitFor())
        yield* picture(`empty-${colorScheme}`)
        const before = yield* faint()
        assert.deepStrictEqual(before.found, [])
        yield* Effect.promise(async () => {
          await page.getByLabel("urgency").fill("1.5")
          await page.keyboard.press("Control+Enter")
          await page.locator("#state.bad").waitFor()
        })
        assert.deepStrictEqual((yield* faint()).found, [])
        yield* Effect.promise(async () => {
          await page.getByLabel("urgency").fill("1")
          await page.getByLabel("ticket").fill("I was charged twice.")
          await page.keyboard.press("Control+Enter")
          await page.locator(".growing", { hasText: "We refund" }).waitFor()
        })
        assert.deepStrictEqual((yield* faint()).found, [])
        yield* model.goOn
        yield* Effect.promise(async () => {
          await page.getByText("answered", { exact: true }).first().waitFor()
          await page.locator("details.predict > summary").click()
        })
        const after = yield* faint()
        assert.deepStrictEqual(after.found, [])
        assert.isAbove(after.seen, before.seen)
        yield* picture(`answered-${colorScheme}`)
      }), 60_000)
  }

  test("is dark where the system is, fits a phone, and its texts can be read", () =>
    Effect.gen(function*() {
      const { model, page, picture } = yield* open({}, {
        colorScheme: "dark",
        viewport: { width: 390, height: 800 }
      })
      yield* model.goOn
      yield* Effect.promise(async () => {
        await page.getByText("ready").waitFor()
        await page.getByLabel("ticket").fill("x".repeat(300))
        await page.keyboard.press("Control+Enter")
        await page.getByText("answered", { exact: true }).first().waitFor()
        const look = await page.evaluate(() => {
          const { backgroundColor, color } = getComputedStyle(document.body)
          const { clientWidth, scrollWidth } = document.documentElement
          return { backgroundColor, color, overflow: scrollWidth - clientWidth }
        })
        assert.deepStrictEqual(look, { backgroundColor: "rgb(15, 19, 23)", color: "rgb(231, 234, 238)", overflow: 0 })
      })
      yield* picture("dark")
    }), 60_000)
})
