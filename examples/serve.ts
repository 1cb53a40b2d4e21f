/**
 * A program served on a free port, and asked from outside in three ways: by the
 * typed client, whose stream shows the answer while it is written; over plain HTTP;
 * and as OpenAI's clients ask a model. Then the server stops.
 *
 *     npx tsx examples/serve.ts
 *
 * With `SERVE=3000` it listens there instead, until it is interrupted, and has a
 * page on which the modules can be tried: http://127.0.0.1:3000/playground
 */
import { ChainOfThought, Module, Predict, Signature } from "@effect-dspy/core"
import { Client, OpenAiServer, Playground, Server } from "@effect-dspy/streaming"
import { NodeHttpClient, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpServer from "@effect/platform/HttpServer"
import { Config, Console, Effect, Layer, Option, Schema, Stream } from "effect"
import * as Http from "node:http"
import * as Model from "./model.ts"

// What both sides know: the names of the modules, and what each takes and returns.
const contracts = {
  triage: Signature.make({
    instructions: "Route a support ticket.",
    input: { ticket: Schema.String },
    output: { team: Schema.Literal("billing", "technical", "account"), urgent: Schema.Boolean }
  }),
  reply: Signature.parse("ticket -> reply")
}

// What only the server knows.
const triage = Predict.make(contracts.triage)
const reply = Module.make(
  { triage, write: ChainOfThought.make("ticket, team -> reply") },
  function*(m, input: { readonly ticket: string }) {
    const { team } = yield* m.triage(input)
    return yield* m.write({ ...input, team })
  }
)

const http = Http.createServer()
const App = Server.serve(Layer.mergeAll(Server.routes, OpenAiServer.routes, Playground.routes), { http }).pipe(
  Layer.provide(Server.layer({
    modules: { triage: Server.endpoint(contracts.triage, triage), reply: Server.endpoint(contracts.reply, reply) },
    resume: { grace: "30 seconds" }
  })),
  Layer.provide(Model.layer)
)

const port = Config.option(Config.port("SERVE"))
const Node = Layer.unwrapEffect(
  Effect.map(
    port,
    (port) => NodeHttpServer.layer(() => http, { port: Option.getOrElse(port, () => 0), host: "127.0.0.1" })
  )
)

const ticket = "I was charged twice for March. Please refund one of the payments."

const asked = Effect.gen(function*() {
  const { address } = yield* HttpServer.HttpServer
  const url = address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}` : ""

  const client = yield* Client.make({ url, contracts })
  const { team, urgent } = yield* client.run("triage", { ticket }) // "billing" | "technical" | "account", boolean
  yield* Console.log(`typed client: ${team}${urgent ? ", urgent" : ""}`)

  const words = client.stream("reply", { ticket }).pipe(
    Stream.filter((event) => event._tag === "FieldDelta" && event.path === "write.predict" && event.field === "reply"),
    Stream.runCount
  )
  yield* Console.log(`its stream: the reply came in ${yield* words} pieces`)

  const post = (path: string, body: unknown) =>
    HttpClientRequest.post(`${url}${path}`).pipe(
      HttpClientRequest.bodyUnsafeJson(body),
      HttpClient.execute,
      Effect.flatMap((response) => response.text)
    )
  yield* Console.log(`plain HTTP: ${yield* post("/run/triage", { ticket })}`)
  yield* Console.log(`refused: ${yield* post("/run/triage", { ticket: 7 })}`)
  const messages = [{ role: "user", content: ticket }]
  yield* Console.log(`as a chat completion: ${yield* post("/v1/chat/completions", { model: "triage", messages })}`)
}).pipe(Effect.provide(NodeHttpClient.layerUndici))

Effect.flatMap(port, (port) => Option.isSome(port) ? Effect.never : asked).pipe(
  Effect.provide(Layer.provideMerge(App, Node)),
  NodeRuntime.runMain
)
