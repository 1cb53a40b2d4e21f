/**
 * A provider of one's own: a house model that takes `{ prompt, temperature }`
 * and answers `{ text, tokens: [in, out] }`. `LanguageModel.make` supplies what
 * is missing here, such as the stream. The server is played by a function.
 */
import { LanguageModel, LanguageModelError as Failure, Predict } from "@effect-dspy/core"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"

const Answer = Schema.Struct({ text: Schema.String, tokens: Schema.Tuple(Schema.Int, Schema.Int) })

const reasonOf = (status: number): Failure.Reason => {
  const description = `the house model answered ${status}`
  if (status === 401) return new Failure.Authentication({ description })
  if (status === 429) return new Failure.RateLimited({ description })
  return status < 500 ? new Failure.InvalidRequest({ description }) : new Failure.ServerError({ status, description })
}

const make = (options: { readonly model: string; readonly url: string }) =>
  Effect.map(HttpClient.HttpClient, (http) => {
    const client = HttpClient.withScope(http)
    const id = `house/${options.model}`
    const fail = (reason: Failure.Reason) => Effect.fail(Failure.make({ reason, provider: "house", model: id }))

    const generate: LanguageModel.Service["generate"] = ({ messages, settings }) =>
      HttpClientRequest.post(options.url).pipe(
        HttpClientRequest.bodyUnsafeJson({
          prompt: messages.map(({ content, role }) => `${role}: ${JSON.stringify(content)}`).join("\n"),
          temperature: settings?.temperature
        }),
        client.execute,
        Effect.filterOrElse(({ status }) => status === 200, ({ status }) => fail(reasonOf(status))),
        Effect.flatMap(HttpClientResponse.schemaBodyJson(Answer)),
        Effect.scoped, // an interrupted call closes its connection
        Effect.catchTags({
          RequestError: () => fail(new Failure.Transport({ phase: "connect", description: "the house is not there" })),
          ResponseError: () => fail(new Failure.Transport({ phase: "body", description: "the answer broke off" })),
          ParseError: () => fail(new Failure.MalformedResponse({ kind: "shape", description: "it is no answer" }))
        }),
        Effect.map(({ text, tokens: [inputTokens, outputTokens] }) =>
          LanguageModel.text(text, id, { inputTokens, outputTokens })
        )
      )

    return LanguageModel.make({ id, generate })
  })

const Model = Layer.effect(LanguageModel.LanguageModel, make({ model: "writer", url: "http://house/complete" }))

const server = async () => Response.json({ text: "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]", tokens: [9, 2] })

Predict.make("question -> answer")({ question: "What is the capital of France?" }).pipe(
  Effect.flatMap(Console.log),
  Effect.provide(Model.pipe(Layer.provide(FetchHttpClient.layer))),
  Effect.provideService(FetchHttpClient.Fetch, server),
  NodeRuntime.runMain
)
