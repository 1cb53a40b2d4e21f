/**
 * A page with conversations, as many at once as you like. What was said is typed and
 * kept; the fields of an answer are seen while they are written, and can be cancelled.
 * A conversation is served as any module is: nothing here knows of HTTP but the page.
 *
 *     npx tsx examples/chat-page.ts
 *
 * At a terminal it says where the page is, and stays until it is interrupted; elsewhere
 * it talks to itself in two conversations at once, and ends. `CHATS=folder` keeps them
 * in files, so that they go on when it is started again.
 */
import { History, Module, Predict, Signature } from "@effect-dspy/core"
import { Chat, Client, Server } from "@effect-dspy/streaming"
import { NodeContext, NodeHttpClient, NodeHttpServer, NodeKeyValueStore, NodeRuntime } from "@effect/platform-node"
import * as FileSystem from "@effect/platform/FileSystem"
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
const Turn = Schema.Struct({ ...guide.input.fields, ...guide.output.fields })
const Session = Schema.String.pipe(Schema.maxLength(64))

// What both sides know.
const contracts = {
  talk: { input: Schema.Struct({ session: Session, ...guide.input.fields }), output: guide.output },
  history: { input: Schema.Struct({ session: Session }), output: Schema.Struct({ turns: Schema.Array(Turn) }) }
}

const Served = Layer.unwrapScoped(Effect.gen(function*() {
  const chat = yield* Chat.make(Module.freeze(Predict.make(History.prepend(guide))), {
    turn: Turn,
    remember: (message, answer) => ({ ...message, ...answer }),
    window: { tokens: 2000 }
  })
  const talk = Module.make({}, function*(_, input: typeof contracts.talk.input.Type) {
    return yield* chat.send(input.session, { question: input.question })
  })
  const history = Module.make({}, function*(_, input: typeof contracts.history.input.Type) {
    return { turns: yield* chat.history(input.session) }
  })
  return Server.layer({
    modules: { talk: Server.endpoint(contracts.talk, talk), history: Server.endpoint(contracts.history, history) },
    resume: {}
  })
}))

const Page = Layer.unwrapEffect(Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const page = yield* files.readFileString(path.join(import.meta.dirname, "chat-page/page.html"))
  return HttpLayerRouter.add("GET", "/", HttpServerResponse.html(page))
}))

const Store = Layer.unwrapEffect(
  Effect.map(Config.option(Config.nonEmptyString("CHATS")), (folder) =>
    Option.match(folder, {
      onNone: () => KeyValueStore.layerMemory,
      onSome: NodeKeyValueStore.layerFileSystem
    }))
)

const http = Http.createServer()
const App = Server.serve(Layer.merge(Server.routes, Page), { http }).pipe(
  Layer.provide(Served),
  Layer.provide([Model.layer, Store, NodeContext.layer]),
  Layer.provideMerge(NodeHttpServer.layer(() => http, { port: 0, host: "127.0.0.1" }))
)

// Two conversations at once, of two turns each.
const visit = (url: string) =>
  Effect.gen(function*() {
    const client = yield* Client.make({ url, contracts })
    const say = (session: string, question: string) =>
      Effect.gen(function*() {
        const events = yield* Stream.runCollect(client.stream("talk", { session, question }))
        const pieces = Array.from(events).filter(({ _tag }) => _tag === "FieldDelta").length
        yield* Console.log(`${session}: the answer to "${question}" came in ${pieces} pieces`)
      })
    const talk = (session: string) =>
      Effect.gen(function*() {
        yield* say(session, "Where is the harbour?")
        yield* say(session, "How do I get there?")
        const { turns } = yield* client.run("history", { session })
        yield* Console.log(`${session}: kept ${JSON.stringify(turns)}`)
      })
    yield* Effect.all([talk("first"), talk("second")], { concurrency: 2, discard: true })
  })

Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  const url = address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}` : ""
  const terminal = yield* Terminal.Terminal
  if (!(yield* terminal.isTTY)) return yield* visit(url)
  yield* Console.log(url)
  return yield* Effect.never
}).pipe(Effect.provide([App, NodeContext.layer, NodeHttpClient.layerUndici]), NodeRuntime.runMain)
