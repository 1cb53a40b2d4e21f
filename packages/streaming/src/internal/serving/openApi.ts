import type * as Json from "@effect-dspy/core/Json"
import * as JSONSchema from "effect/JSONSchema"
import type * as Schema from "effect/Schema"
import * as Protocol from "../../Protocol.ts"
import { ServingError } from "../../ServingError.ts"

/**
 * A module as the document describes it.
 */
export interface Described {
  readonly name: string
  readonly description: string
  readonly input: Schema.Schema.AnyNoContext
  readonly output: Schema.Schema.AnyNoContext
}

// A JSON Schema is JSON.
const json = (schema: JSONSchema.JsonSchema7): Json.JsonRecord => schema as unknown as Json.JsonRecord

/**
 * The JSON Schema of the encoded side, whole in itself.
 */
export const jsonSchema = (schema: Schema.Schema.AnyNoContext): Json.JsonRecord => {
  const { $schema: _, ...rest } = JSONSchema.make(schema, { target: "jsonSchema2020-12" })
  return json(rest)
}

const runIdParameter = {
  name: "idempotency-key",
  in: "header",
  required: false,
  description: "What the run is called. Sent again under the same name, a request joins the run it has begun.",
  schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,128}$" }
}

const lastEventParameter = {
  name: "last-event-id",
  in: "header",
  required: false,
  description: "The id of the last event that was received; those after it follow.",
  schema: { type: "string" }
}

/**
 * What can be asked of the server, as an OpenAPI 3.1 document.
 */
export const document = (
  modules: ReadonlyArray<Described>,
  options: { readonly title: string; readonly version: string; readonly isGuarded: boolean }
): Json.JsonRecord => {
  const definitions: Record<string, JSONSchema.JsonSchema7> = {}
  const schema = (self: Schema.Schema.AnyNoContext): Json.JsonRecord =>
    json(
      JSONSchema.fromAST(self.ast, {
        definitions,
        definitionPath: prefix,
        target: "jsonSchema2020-12"
      })
    )
  const event = schema(Protocol.Event.annotations({ identifier: "Event" }))
  const error = schema(ServingError)

  const failures = {
    default: {
      description: "Why there is no answer; the reason says more than the status.",
      content: { "application/json": { schema: error } }
    }
  }
  const events = {
    "200": {
      description:
        "The events of the run as server-sent events: `id` is the run and the number, `data` the event as JSON. The last one is a `Result` or `Failed`.",
      content: { "text/event-stream": { schema: { type: "string" }, "x-event-schema": event } }
    },
    "204": { description: "The last event was received already." },
    ...failures
  }

  const paths: Record<string, Json.JsonRecord> = {}
  for (const { description, input, name, output } of modules) {
    const inputSchema = schema(input)
    const outputSchema = schema(output)
    const requestBody = { required: true, content: { "application/json": { schema: inputSchema } } }
    paths[`/run/${name}`] = {
      post: {
        operationId: `run_${name}`,
        tags: [name],
        summary: `Runs ${name}`,
        description,
        requestBody,
        responses: {
          "200": { description: "The answer.", content: { "application/json": { schema: outputSchema } } },
          ...failures
        }
      }
    }
    paths[`/stream/${name}`] = {
      post: {
        operationId: `stream_${name}`,
        tags: [name],
        summary: `Runs ${name}, event by event`,
        description,
        parameters: [runIdParameter, lastEventParameter],
        requestBody,
        responses: events
      },
      get: {
        operationId: `stream_${name}_by_query`,
        tags: [name],
        summary: `Runs ${name}, event by event, for an EventSource`,
        description,
        parameters: [
          {
            name: "input",
            in: "query",
            required: true,
            description: "The input as JSON.",
            content: { "application/json": { schema: inputSchema } }
          },
          runIdParameter,
          lastEventParameter
        ],
        responses: events
      }
    }
  }
  const runId = { name: "id", in: "path", required: true, schema: { type: "string" } }
  paths["/runs/{id}"] = {
    get: {
      operationId: "follow_run",
      tags: ["runs"],
      summary: "Follows a run that was begun before",
      parameters: [
        runId,
        { name: "from", in: "query", required: false, schema: { type: "integer", minimum: 0 } },
        lastEventParameter
      ],
      responses: events
    },
    delete: {
      operationId: "cancel_run",
      tags: ["runs"],
      summary: "Cancels a run, for all who follow it",
      parameters: [
        runId,
        {
          name: "unless",
          in: "query",
          required: false,
          description: "`shared`: not if others follow it too.",
          schema: { type: "string", enum: ["shared"] }
        }
      ],
      responses: { "204": { description: "The run has been cancelled." }, ...failures }
    }
  }
  paths["/modules"] = {
    get: {
      operationId: "list_modules",
      tags: ["modules"],
      summary: "Which modules there are, with the JSON Schemas of what they take and return",
      responses: {
        "200": {
          description: "The modules.",
          content: {
            "application/json": {
              schema: {
                type: "array",
                items: {
                  type: "object",
                  required: ["name", "description", "input", "output"],
                  properties: {
                    name: { type: "string" },
                    description: { type: "string" },
                    input: { type: "object" },
                    output: { type: "object" }
                  }
                }
              }
            }
          }
        },
        ...failures
      }
    }
  }
  return named({
    openapi: "3.1.0",
    info: { title: options.title, version: options.version },
    ...(options.isGuarded ? { security: [{ bearer: [] }] } : {}),
    paths,
    components: {
      schemas: Object.fromEntries(
        Object.entries(definitions).map(([name, definition]) => [nameOf(name), json(definition)])
      ),
      ...(options.isGuarded ? { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } } : {})
    }
  })
}

// A component has a name of these characters only, and the identifier of a schema may have others.
const nameOf = (identifier: string): string => identifier.replace(/^@/, "").replace(/[^A-Za-z0-9._-]/g, ".")

const prefix = "#/components/schemas/"

const named = (document: Json.JsonRecord): Json.JsonRecord =>
  JSON.parse(
    JSON.stringify(document),
    (key, value) =>
      key === "$ref" && typeof value === "string" && value.startsWith(prefix)
        ? prefix + nameOf(value.slice(prefix.length).replaceAll("~1", "/").replaceAll("~0", "~"))
        : value
  )
