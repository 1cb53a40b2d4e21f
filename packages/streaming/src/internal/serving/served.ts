import type * as Json from "@effect-dspy/core/Json"
import type * as Module from "@effect-dspy/core/Module"
import type * as Signature from "@effect-dspy/core/Signature"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AnyEndpoint, ServedModule } from "../../Server.ts"
import * as ServingError from "../../ServingError.ts"
import { isModuleName } from "./moduleName.ts"
import * as openApi from "./openApi.ts"

/**
 * A module as it is served, and what becomes of an input that is sent to it.
 */
export interface Served extends ServedModule {
  readonly prepare: (
    input: unknown
  ) => Effect.Effect<Effect.Effect<Json.Json, ServingError.ServingError>, ServingError.ServingError>
}

/**
 * The signature of a module that is one predictor, which takes and returns what the
 * module does.
 */
export const ownContract = (name: string, { predictors: [first, ...others] }: Module.Any): Signature.Any => {
  if (first !== undefined && others.length === 0 && (first.path === "" || first.path === "predict")) {
    return first.signature
  }
  throw new RangeError(
    `Server: "${name}" has no signature of its own; serve it as Server.endpoint({ input, output }, module)`
  )
}

export const make = (
  name: string,
  served: AnyEndpoint,
  context: Context.Context<never>
): Served => {
  if (!isModuleName(name)) {
    throw new RangeError(`Server: "${name}" is no name for a module; use letters, digits, "_" and "-"`)
  }
  // What an endpoint holds fits together, as its type has said; here it is any of them.
  const module = served.module as Module.Module<unknown, unknown, unknown>
  const { input, instructions, output } = served.contract as {
    readonly instructions?: string
    readonly input: Schema.Schema.AnyNoContext
    readonly output: Schema.Schema.AnyNoContext
  }
  const decode = Schema.decodeUnknown(input, { errors: "all", onExcessProperty: "error" })
  const encode = Schema.encodeUnknown(output)
  return {
    name,
    description: instructions ?? "",
    input: openApi.jsonSchema(input),
    output: openApi.jsonSchema(output),
    contract: { input, output },
    predictors: module.predictors,
    prepare: (given) =>
      decode(given).pipe(
        Effect.mapError(ServingError.invalidInput),
        Effect.map((value) =>
          module(value).pipe(
            Effect.mapError(ServingError.fromFailure),
            Effect.flatMap((result) =>
              Effect.catchAll(encode(result), () =>
                Effect.zipRight(
                  Effect.logError(`What "${name}" returns does not fit the output schema it is served with`),
                  ServingError.make("Failed", "the answer does not fit the schema of the module")
                ))
            ),
            Effect.provide(context)
          )
        )
      )
  }
}
