import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as Effect from "effect/Effect"
import type { Service } from "../../Server.ts"
import type * as ServingError from "../../ServingError.ts"
import type * as Connections from "./connections.ts"
import type * as session from "./session.ts"

/**
 * What the routes need of a server beside its service, and nobody else should.
 */
export interface Inside extends session.Host {
  readonly checkPlace: (
    request: HttpServerRequest.HttpServerRequest
  ) => Effect.Effect<void, ServingError.ServingError>
  readonly connections: Connections.Connections
  readonly session: session.Options
  /** After how many seconds a client that reads nothing is left. */
  readonly stall: number
  readonly origins: ReadonlyArray<string>
  /** Whether everybody who can reach the server is served. */
  readonly isOpen: boolean
  readonly isDraining: () => boolean
}

const insides = new WeakMap<Service, Inside>()

export const set = (service: Service, inside: Inside): void => void insides.set(service, inside)

export const of = (service: Service): Inside => {
  const inside = insides.get(service)
  if (inside === undefined) throw new RangeError("Server: a service is made by Server.make or Server.layer")
  return inside
}
