import * as Json from "@effect-dspy/core/Json"
import * as Headers from "@effect/platform/Headers"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as ServingError from "../../ServingError.ts"

const loopback = new Set(["localhost", "127.0.0.1", "[::1]"])

const nameOf = (host: string): string => host.toLowerCase().replace(/:\d*$/, "")

/**
 * Whether the page that asks, if it is one, may do so. A page of the server's own
 * may; others must be named. Browsers say where a request comes from, also those
 * that carry no `Origin`.
 */
const isWelcome = (headers: Headers.Headers, origins: ReadonlyArray<string>): boolean => {
  const { host = "", origin } = headers
  if (origin === undefined) {
    const site = headers["sec-fetch-site"]
    return site === undefined || site === "same-origin" || site === "none"
  }
  return origins.includes(origin) || origin === `http://${host}` || origin === `https://${host}`
}

/**
 * Refuses requests to a name the server is not known by, which is how a foreign
 * page gets at a server on the same machine, and requests from foreign pages.
 */
export const checkPlace = (
  { headers }: HttpServerRequest.HttpServerRequest,
  options: { readonly hosts: ReadonlyArray<string>; readonly origins: ReadonlyArray<string> }
): Effect.Effect<void, ServingError.ServingError> => {
  const name = nameOf(headers["host"] ?? "")
  if (!loopback.has(name) && !options.hosts.includes(name)) {
    return ServingError.make("Forbidden", "the server is not known by this name; see the option `hosts`")
  }
  return isWelcome(headers, options.origins)
    ? Effect.void
    : ServingError.make("Forbidden", "pages of this origin are not served; see the option `origins`")
}

/**
 * The token of a request that brings one.
 */
export const bearerOf = ({ headers }: HttpServerRequest.HttpServerRequest): string | undefined =>
  /^Bearer +(\S+)$/i.exec(headers["authorization"] ?? "")?.[1]

/**
 * The subprotocols a client offers.
 */
export const subprotocolsOf = ({ headers }: HttpServerRequest.HttpServerRequest): ReadonlyArray<string> =>
  (headers["sec-websocket-protocol"] ?? "").split(",").map((one) => one.trim())

/**
 * A token that came as a subprotocol, as a header.
 */
export const withBearer = (request: HttpServerRequest.HttpServerRequest): HttpServerRequest.HttpServerRequest => {
  const offered = subprotocolsOf(request).find((one) => one.startsWith("bearer."))
  if (offered === undefined || bearerOf(request) !== undefined) return request
  return Either.match(Encoding.decodeBase64UrlString(offered.slice("bearer.".length)), {
    onLeft: () => request,
    onRight: (token) => request.modify({ headers: Headers.set(request.headers, "authorization", `Bearer ${token}`) })
  })
}

/**
 * Whether two secrets are the same, in a time that does not tell how much of them
 * is: what is compared are their hashes, to the end.
 */
export const isSame = (left: string, right: string): boolean => {
  const [one, other] = [Json.hash(left), Json.hash(right)]
  let difference = 0
  for (let i = 0; i < one.length; i++) difference |= one.charCodeAt(i) ^ other.charCodeAt(i)
  return difference === 0
}
