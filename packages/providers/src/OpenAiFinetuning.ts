/**
 * Fine-tuning by OpenAI's API (`POST /v1/files`, `POST /v1/fine_tuning/jobs`), and
 * by servers that speak it.
 *
 * @since 0.1.0
 */
import * as Finetuning from "@effect-dspy/core/Finetuning"
import type * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as document from "./internal/document.ts"
import * as exchange from "./internal/exchange.ts"
import * as upload from "./internal/upload.ts"
import { isObject, isText } from "./internal/wire.ts"
import * as OpenAiCompatible from "./OpenAiCompatible.ts"

const statuses: { readonly [status: string]: Finetuning.Job["status"] } = {
  validating_files: "pending",
  queued: "pending",
  paused: "pending",
  running: "running",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled"
}

interface Wire {
  readonly id?: unknown
  readonly status?: unknown
  readonly fine_tuned_model?: unknown
  readonly error?: unknown
}

const jobOf = ({ json, malformed }: document.Document): Effect.Effect<
  Finetuning.Job,
  LanguageModelError.LanguageModelError
> => {
  const { error, fine_tuned_model, id, status }: Wire = isObject(json) ? json : {}
  const known = isText(status) && Object.hasOwn(statuses, status) ? statuses[status] : undefined
  if (!isText(id) || known === undefined) return malformed("it has no `id` and `status` of a fine-tuning job")
  const { message }: { readonly message?: unknown } = isObject(error) ? error : {}
  return Effect.succeed({
    id,
    status: known,
    ...(isText(fine_tuned_model) ? { tuned: fine_tuned_model } : undefined),
    ...(isText(message) && message !== "" ? { problem: message } : undefined)
  })
}

/**
 * Training at a server that speaks OpenAI's protocol; `OpenAiCompatible.Options`
 * say where it is. The data are sent as a file, then a job is made of it. Failures
 * are those of model calls, and hold neither the data nor a key.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: OpenAiCompatible.ServerOptions = {}
): Effect.Effect<Finetuning.Service, never, HttpClient.HttpClient> => {
  const { bounds, headers, host, name, url } = OpenAiCompatible.placeOf(options)
  return Effect.map(exchange.connect({ id: `${name}/fine-tuning`, host, headers, bounds }), (connection) => {
    const ask = <A>(
      span: string,
      request: HttpClientRequest.HttpClientRequest,
      use: (document: document.Document) => Effect.Effect<A, LanguageModelError.LanguageModelError>
    ) =>
      document.ask(connection, request, {
        span,
        attributes: { "gen_ai.provider.name": name },
        prompt: () => [],
        about: "job"
      }, use)
    const at = (model: string, path: string) => ({ url: url(model, path), headers: connection.headers })
    const post = (model: string, path: string) => HttpClientRequest.post(at(model, path).url, at(model, path))
    const jobs = (id: string) => `fine_tuning/jobs/${encodeURIComponent(id)}`
    const send = (model: string, lines: string) =>
      ask("fine-tuning upload", upload.body(post(model, "files"), "fine-tune", lines), ({ json, malformed }) => {
        const { id }: { readonly id?: unknown } = isObject(json) ? json : {}
        return isText(id) ? Effect.succeed(id) : malformed("it has no `id`")
      })
    return {
      start: ({ data, hyperparameters, model, suffix, validation }) =>
        Effect.gen(function*() {
          const training = yield* send(model, data)
          const validating = validation === undefined ? undefined : yield* send(model, validation)
          const body = {
            model,
            training_file: training,
            validation_file: validating,
            suffix,
            method: hyperparameters === undefined ? undefined : { type: "supervised", supervised: { hyperparameters } }
          }
          return yield* ask(
            "fine-tuning start",
            HttpClientRequest.bodyText(post(model, "fine_tuning/jobs"), JSON.stringify(body), "application/json"),
            jobOf
          )
        }),
      job: (id) => {
        const { headers, url } = at("", jobs(id))
        return ask("fine-tuning job", HttpClientRequest.get(url, { headers }), jobOf)
      },
      cancel: (id) => ask("fine-tuning cancel", post("", `${jobs(id)}/cancel`), jobOf)
    }
  })
}

/**
 * The same as a Layer.
 *
 * @example
 * ```ts
 * import * as Finetuning from "@effect-dspy/core/Finetuning"
 * import * as OpenAiFinetuning from "@effect-dspy/providers/OpenAiFinetuning"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * // Stands for a server, so that this example needs none.
 * const server: typeof fetch = async (url) =>
 *   Response.json(
 *     String(url).endsWith("/files")
 *       ? { id: "file-1" }
 *       : { id: "ftjob-1", status: "succeeded", fine_tuned_model: "ft:gpt-4o-mini:me" }
 *   )
 *
 * const program = Finetuning.start({ model: "gpt-4o-mini", data: `{"messages":[]}\n` }).pipe(
 *   Effect.flatMap(({ id }) => Finetuning.wait(id)),
 *   Effect.provide(
 *     OpenAiFinetuning.layer({ apiKey: Redacted.make("sk-...") }).pipe(Layer.provide(FetchHttpClient.layer))
 *   ),
 *   Effect.provideService(FetchHttpClient.Fetch, server)
 * )
 *
 * Effect.runPromise(program).then((model) => assert.strictEqual(model, "ft:gpt-4o-mini:me"))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: OpenAiCompatible.ServerOptions = {}
): Layer.Layer<Finetuning.Finetuning, never, HttpClient.HttpClient> =>
  Layer.effect(Finetuning.Finetuning, make(options))

/**
 * The same, with every option read from the configuration of the program.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<OpenAiCompatible.ServerOptions>
): Layer.Layer<Finetuning.Finetuning, ConfigError, HttpClient.HttpClient> =>
  Layer.effect(Finetuning.Finetuning, Effect.flatMap(Config.unwrap(options), make))
