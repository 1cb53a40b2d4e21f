/**
 * The page of a run in a real browser. Where there is no Chromium (`CHROMIUM`, or Debian's package) the tests are skipped,
 * and the reason is in their name.
 */
import * as Report from "@effect-dspy/optimizers/Report"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { type BrowserContext, chromium } from "playwright-core"
import { hostile } from "./hostile.ts"

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium"
const installed = fs.existsSync(executablePath)

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-report-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

/** The page of a run as it is seen, and everything that it said or asked for. */
const open = (options: Parameters<typeof chromium.launchPersistentContext>[1]) =>
  Effect.gen(function*() {
    const home = yield* folder
    const { events, examples } = yield* hostile
    const file = path.join(home, "report.html")
    fs.writeFileSync(file, yield* Report.html(events, { examples }))
    const url = pathToFileURL(file).href
    const context: BrowserContext = yield* Effect.acquireRelease(
      Effect.promise(() =>
        chromium.launchPersistentContext(path.join(home, "profile"), {
          executablePath,
          args: ["--headless=new", "--no-sandbox", "--disable-background-networking"],
          ...options
        })
      ),
      (context) => Effect.promise(() => context.close())
    )
    const heard: Array<string> = []
    const requests: Array<string> = []
    const page = yield* Effect.promise(async () => {
      const page = await context.newPage()
      page.on("console", (message) => heard.push(message.text()))
      page.on("pageerror", (error) => heard.push(error.message))
      page.on("dialog", (dialog) => {
        heard.push(dialog.message())
        void dialog.dismiss()
      })
      await context.route("**", (route) => {
        const wanted = route.request().url()
        requests.push(wanted)
        return wanted === url ? route.continue() : route.abort()
      })
      await page.goto(url)
      return page
    })
    return { page, heard, requests, url }
  })

// Run in the page.
const sizes = () =>
  Array.from(document.querySelectorAll("svg[role=img]"), (svg) => svg.getBoundingClientRect())
    .filter(({ width }) => width > 0).map(({ height, width }) => [Math.round(width), Math.round(height)] as const)
const look = () => {
  const { backgroundColor, color } = getComputedStyle(document.body)
  const { clientWidth, scrollWidth } = document.documentElement
  const letters = Array.from(
    document.querySelectorAll("svg[role=img] text"),
    (text) => text.getBoundingClientRect().height
  )
  return {
    backgroundColor,
    color,
    overflow: scrollWidth - clientWidth,
    smallest: Math.min(...letters.filter((height) => height > 0)),
    scripts: document.scripts.length + document.images.length + document.querySelectorAll("iframe").length
  }
}

describe.skipIf(!installed)(`a page in Chromium${installed ? "" : ` (there is no ${executablePath})`}`, {
  timeout: 60_000
}, () => {
  for (const colorScheme of ["light", "dark"] as const) {
    it.scopedLive(
      `shows every chart in ${colorScheme}, asks for nothing and runs nothing`,
      () =>
        Effect.gen(function*() {
          const { heard, page, requests, url } = yield* open({ colorScheme, viewport: { width: 1100, height: 900 } })
          const [seen, charts] = yield* Effect.promise(async () =>
            [await page.evaluate(look), await page.evaluate(sizes)] as const
          )
          assert.deepStrictEqual(heard, [])
          assert.deepStrictEqual(requests, [url])
          assert.strictEqual(seen.scripts, 0)
          assert.strictEqual(seen.backgroundColor, colorScheme === "dark" ? "rgb(15, 19, 23)" : "rgb(255, 255, 255)")
          assert.isAtMost(seen.overflow, 0)
          // Scores, calls, cost, front, ancestry, wins and losses.
          assert.strictEqual(charts.length, 6)
          for (const [width, height] of charts) {
            assert.isAtLeast(width, 300)
            assert.isAtLeast(height, 50)
          }
          const shapes = yield* Effect.promise(() => page.locator("svg[role=img]:visible circle:visible").count())
          assert.isAbove(shapes, 10)
          assert.include(
            yield* Effect.promise(() => page.locator("#prompt").innerText()),
            "<img src=x onerror=alert(1)>"
          )
        })
    )
  }

  it.scopedLive("fits a telephone, with letters that can be read", () =>
    Effect.gen(function*() {
      const { page } = yield* open({ viewport: { width: 375, height: 700 } })
      const [seen, charts] = yield* Effect.promise(async () =>
        [await page.evaluate(look), await page.evaluate(sizes)] as const
      )
      assert.isAtMost(seen.overflow, 0)
      assert.isAtLeast(seen.smallest, 11)
      assert.strictEqual(charts.length, 6)
    }))

  it.scopedLive("can be used from the keyboard", () =>
    Effect.gen(function*() {
      const { page } = yield* open({ viewport: { width: 600, height: 700 } })
      const reached = yield* Effect.promise(async () => {
        const reached: Array<string> = []
        for (let presses = 0; presses < 20; presses++) {
          await page.keyboard.press("Tab")
          reached.push(
            await page.evaluate(() => document.activeElement?.ariaLabel ?? document.activeElement?.textContent ?? "")
          )
        }
        await page.locator("nav a", { hasText: "Prompt" }).focus()
        await page.keyboard.press("Enter")
        return reached
      })
      assert.includeMembers(reached, ["Scores", "Prompt", "Ancestry of the candidates"])
      const top = yield* Effect.promise(() =>
        page.evaluate(() => document.querySelector("#prompt")!.getBoundingClientRect().top)
      )
      assert.isAtMost(Math.abs(top), 2)
    }))

  it.scopedLive("prints in black on white", () =>
    Effect.gen(function*() {
      const { page } = yield* open({ colorScheme: "dark", viewport: { width: 800, height: 900 } })
      const seen = yield* Effect.promise(async () => {
        await page.emulateMedia({ media: "print" })
        return page.evaluate(look)
      })
      assert.deepInclude(seen, { color: "rgb(0, 0, 0)", backgroundColor: "rgb(255, 255, 255)" })
      const pdf = yield* Effect.promise(() => page.pdf({ format: "A4" }))
      assert.isAbove(pdf.length, 10_000)
    }))
})
