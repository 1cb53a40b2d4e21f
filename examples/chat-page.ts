/**
 * A page with conversations, as many at once as you like. What was said is typed and
 * kept; the fields of an answer are seen while they are written.
 *
 *     npx tsx examples/chat-page.ts
 *
 * At a terminal it says where the page is, and stays until it is interrupted; elsewhere
 * it talks to itself in two conversations at once, and ends. `CHATS=folder` keeps them
 * in files, so that they go on when it is started again.
 */
import { History, LanguageModel, Predict, Signature } from "@effect-dspy/core"
import { Chat, Server, ServingError } from "@effect-dspy/streaming"
import { NodeContext, NodeHttpClient, NodeHttpServer, NodeKeyValueStore, NodeRuntime } from "@effect/platform-node"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Terminal from "@effect/platform/Terminal"
import { Config, Console, Effect, Layer, Option, Schema, Stream } from "effect"
import * as Http from "node:http"
import * as path from "node:path"
import * as Model from "./model.ts"

const guide = Signature.make({
  instructions: "Guide a visitor through the city, in one sentence.",
  input: { question: Schema.String },
  output: { answer: Schema.String, next: Schema.String.annotations({ description: "What to ask next" }) }
})
const reply = Predict.make(History.prepend(guide))

const Talk = Layer.unwrapScoped(Effect.gen(function*() {
  const chat = yield* Chat.make(reply, {
    turn: Schema.Struct({ ...guide.input.fields, ...guide.output.fields }),
    remember: (message, answer) => ({ ...message, ...answer }),
    window: { tokens: 2000 }
  })
  const model = yield* LanguageModel.LanguageModel
  const server = yield* Server.Server
  const files = yield* FileSystem.FileSystem
  const page = yield* files.readFileString(path.join(import.meta.dirname, "chat-page/page.html"))
  const session = Effect.map(HttpLayerRouter.params, ({ session = "" }) => session)
  const decode = Schema.decodeUnknown(guide.input)

  const history = Server.guarded(() =>
    Effect.flatMap(session, chat.history).pipe(
      Effect.map((turns) => HttpServerResponse.unsafeJson(turns)),
      Effect.catchAll(() => ServingError.make("Failed", "what was said cannot be read"))
    )
  )
  // An event on each line; the last one is the result, or says why there is none.
  const talk = Server.guarded((_, request) =>
    Effect.gen(function*() {
      const message = yield* Effect.mapError(Effect.flatMap(server.body(request), decode), () =>
        ServingError.make("BadRequest", "a question is needed"))
      const events = chat.stream(yield* session, message).pipe(
        Stream.filter(({ _tag }) =>
          _tag === "FieldDelta" || _tag === "Reset" || _tag === "Result"
        ),
        Stream.catchAll(({ message }) => Stream.make({ _tag: "Failed", message })),
        Stream.map((event) => `${JSON.stringify(event)}\n`),
        Stream.encodeText,
        Stream.provideService(LanguageModel.LanguageModel, model)
      )
      return HttpServerResponse.stream(events, { contentType: "application/x-ndjson" })
    })
  )
  return Layer.mergeAll(
    HttpLayerRouter.add("GET", "/", HttpServerResponse.html(page)),
    HttpLayerRouter.add("GET", "/chat/:session", Effect.provideService(history, Server.Server, server)),
    HttpLayerRouter.add("POST", "/chat/:session", Effect.provideService(talk, Server.Server, server))
  )
}))

const Store = Layer.unwrapEffect(
  Effect.map(Config.option(Config.nonEmptyString("CHATS")), (folder) =>
    Option.match(folder, {
      onNone: () => KeyValueStore.layerMemory,
      onSome: NodeKeyValueStore.layerFileSystem
    }))
)

const http = Http.createServer()
const App = Server.serve(Talk, { http }).pipe(
  Layer.provide(Server.layer({ modules: {} })),
  Layer.provide([Model.layer, Store, NodeContext.layer]),
  Layer.provideMerge(NodeHttpServer.layer(() => http, { port: 0, host: "127.0.0.1" }))
)

// Two conversations at once, of two turns each.
const visit = (url: string) => {
  const say = (session: string, question: string) =>
    HttpClientRequest.post(`${url}/chat/${session}`).pipe(
      HttpClientRequest.bodyUnsafeJson({ question }),
      HttpClient.execute,
      Effect.flatMap(({ text }) => text),
      Effect.flatMap((lines) =>
        Console.log(`${session}: ${lines.split("\n").length} lines, ${lines.split("\n").at(-2)}`)
      )
    )
  const talk = (session: string) =>
    Effect.gen(function*() {
      yield* say(session, "Where is the harbour?")
      yield* say(session, "How do I get there?")
      const kept = yield* Effect.flatMap(HttpClient.get(`${url}/chat/${session}`), ({ json }) => json)
      yield* Console.log(`${session}: kept ${JSON.stringify(kept)}`)
    })
  return Effect.all([talk("first"), talk("second")], { concurrency: 2, discard: true })
}

Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  const url = address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}` : ""
  const terminal = yield* Terminal.Terminal
  if (!(yield* terminal.isTTY)) return yield* visit(url)
  yield* Console.log(url)
  return yield* Effect.never
}).pipe(Effect.provide([App, NodeContext.layer, NodeHttpClient.layerUndici]), NodeRuntime.runMain)
