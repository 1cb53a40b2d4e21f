/**
 * A page on which the modules of a `Server` can be tried: pick one, fill in its
 * inputs, watch the fields arrive, see what happened inside, what it cost, and
 * cancel it.
 *
 * @since 0.1.0
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import type * as Layer from "effect/Layer"
import { page } from "./internal/playground/page.ts"

const nonce: Effect.Effect<string> = Effect.sync(() =>
  Encoding.encodeBase64Url(crypto.getRandomValues(new Uint8Array(16)))
)

/**
 * The page, at `GET /playground`, beside the routes of the server, which it asks.
 * It is one file without any other, works by keyboard (Ctrl+Enter runs, Escape
 * cancels), and is light or dark as the system is. `/playground#name` opens it
 * with a module.
 *
 * The page itself is given to everybody; it holds no data. When the server asks
 * for a token, so does the page, and forgets it when it is closed.
 *
 * @example
 * ```ts
 * import * as Predict from "@effect-dspy/core/Predict"
 * import * as TestLanguageModel from "@effect-dspy/core/TestLanguageModel"
 * import * as Playground from "@effect-dspy/streaming/Playground"
 * import * as Server from "@effect-dspy/streaming/Server"
 * import { HttpLayerRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const app = Layer.merge(Server.routes, Playground.routes).pipe(
 *   Layer.provide(Server.layer({ modules: { qa: Predict.make("question -> answer") } })),
 *   Layer.provide(TestLanguageModel.layer([])),
 *   Layer.provide(HttpServer.layerContext)
 * )
 *
 * // `Server.serve(app)` listens on a port.
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(app, { disableLogger: true })
 *
 * handler(new Request("http://localhost/playground"))
 *   .then((response) => response.text())
 *   .then((html) => assert.ok(html.startsWith("<!doctype html>")))
 *   .finally(() => dispose())
 * ```
 *
 * @since 0.1.0
 * @category routes
 */
export const routes: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = HttpLayerRouter.add(
  "GET",
  "/playground",
  Effect.map(nonce, (nonce) =>
    HttpServerResponse.text(page(nonce), {
      contentType: "text/html; charset=utf-8",
      headers: {
        "cache-control": "no-store",
        "content-security-policy":
          `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff"
      }
    }))
)
