/**
 * Fetches what is at an address that somebody else has named.
 *
 * @since 0.1.0
 */
import * as Downloader from "@effect-dspy/core/Downloader"
import * as Effect from "effect/Effect"
import type * as NodeDns from "node:dns/promises"
import type * as NodeHttp from "node:http"
import type * as NodeHttps from "node:https"
import { load } from "./load.ts"
import { isAddress, isPublic } from "./publicAddress.ts"

/** An address that a name stands for. */
export interface Resolved {
  readonly address: string
  readonly family: number
}

/**
 * What tests replace: a server of theirs is at no public address and at no
 * port that is asked otherwise.
 */
export interface World {
  readonly resolve: (host: string) => Promise<ReadonlyArray<Resolved>>
  readonly isPublic: (address: string) => boolean
  readonly isPort: (url: URL) => boolean
}

/** The world as it is. */
const internet: World = {
  resolve: async (host) => (await load<typeof NodeDns>("node:dns/promises")).lookup(host, { all: true }),
  isPublic,
  // An URL has no port where it is that of its scheme.
  isPort: ({ port }) => port === ""
}

/** `schemes` with their colon, as an URL has them; `timeout` in milliseconds, for all of it. */
export interface Limits {
  readonly schemes: ReadonlyArray<string>
  readonly redirects: number
  readonly timeout: number
}

type Reason = Downloader.DownloadError["reason"]

const error = (reason: Reason, host: string, description: string) =>
  new Downloader.DownloadError({ reason, host, description })

// The address of an URL, if it may be asked as it stands.
const checked = (
  text: string,
  base: URL | undefined,
  { schemes }: Limits,
  world: World
): Effect.Effect<URL, Downloader.DownloadError> =>
  Effect.suspend(() => {
    const url = URL.canParse(text, base) ? new URL(text, base) : undefined
    if (url === undefined) return error("NotAllowed", "", "it is not an URL")
    const host = url.hostname
    return !schemes.includes(url.protocol)
      ? error("NotAllowed", host, `${url.protocol} is not asked, only ${schemes.join(" and ")}`)
      : url.username !== "" || url.password !== ""
      ? error("NotAllowed", host, "an URL with a user or a password is not asked")
      : !world.isPort(url)
      ? error("NotAllowed", host, `port ${url.port} is not asked, only that of the scheme`)
      : isAddress(bare(host)) && !world.isPublic(bare(host))
      ? error("NotAllowed", host, "the address is not on the open internet")
      : Effect.succeed(url)
  })

// An IPv6 address stands in brackets.
const bare = (host: string): string => host.replace(/^\[(.*)\]$/, "$1")

class Refused extends Error {}

type Lookup = NonNullable<NodeHttp.RequestOptions["lookup"]>

// Names are resolved when the connection is made, and to nothing else: what was checked is what is asked.
const pinned = (world: World): Lookup => (host, options, callback) => {
  world.resolve(host).then(
    (found) => {
      const [first] = found
      if (first === undefined) return callback(new Error(`there is no ${host}`), "", 0)
      if (!found.every(({ address }) => world.isPublic(address))) {
        return callback(new Refused("the name stands for an address that is not on the open internet"), "", 0)
      }
      if (options.all === true) callback(null, found.map(({ address, family }) => ({ address, family })))
      else callback(null, first.address, first.family)
    },
    (cause: unknown) => callback(cause instanceof Error ? cause : new Error(String(cause)), "", 0)
  )
}

type Page = { readonly _tag: "Bytes"; readonly bytes: Uint8Array } | { readonly _tag: "Elsewhere"; readonly to: string }

const redirections = new Set([301, 302, 303, 307, 308])

// What both of Node's modules are asked for.
interface Asker {
  readonly request: (url: URL, options: NodeHttp.RequestOptions) => NodeHttp.ClientRequest
}

const ask = (url: URL, maxBytes: number, world: World): Effect.Effect<Page, Downloader.DownloadError> =>
  Effect.flatMap(
    Effect.promise((): Promise<Asker> =>
      url.protocol === "https:" ? load<typeof NodeHttps>("node:https") : load<typeof NodeHttp>("node:http")
    ),
    ({ request }) =>
      Effect.async<Page, Downloader.DownloadError>((resume) => {
        const host = url.hostname
        const fail = (reason: Reason, description: string) => {
          sent.destroy()
          resume(error(reason, host, description))
        }
        const sent = request(url, {
          lookup: pinned(world),
          // A connection of its own: one from a pool may have been made under other rules.
          agent: false,
          headers: { accept: "*/*", "accept-encoding": "identity", "user-agent": "effect-dspy" }
        })
        sent.on("error", (cause) =>
          cause instanceof Refused
            ? fail("NotAllowed", cause.message)
            : fail("Connection", `the connection failed${"code" in cause ? ` (${String(cause.code)})` : ""}`))
        sent.on("response", (answer) => {
          const { headers, statusCode = 0 } = answer
          if (redirections.has(statusCode) && headers.location !== undefined) {
            sent.destroy()
            return resume(Effect.succeed({ _tag: "Elsewhere", to: headers.location }))
          }
          if (statusCode !== 200) return fail("Status", `the server answered ${statusCode}`)
          if ((headers["content-encoding"] ?? "identity") !== "identity") {
            return fail("Connection", "the server compressed what was to come as it is")
          }
          const tooLarge = `it has more than ${maxBytes} bytes`
          if (Number(headers["content-length"] ?? 0) > maxBytes) return fail("TooLarge", tooLarge)
          const chunks: Array<Uint8Array> = []
          let size = 0
          answer.on("data", (chunk: Uint8Array) => {
            size += chunk.length
            if (size > maxBytes) fail("TooLarge", tooLarge)
            else chunks.push(chunk)
          })
          answer.on("error", () => fail("Connection", "the connection broke off"))
          answer.on("end", () => {
            if (!answer.complete) return fail("Connection", "the connection broke off")
            const bytes = new Uint8Array(size)
            let at = 0
            for (const chunk of chunks) {
              bytes.set(chunk, at)
              at += chunk.length
            }
            resume(Effect.succeed({ _tag: "Bytes", bytes }))
          })
        })
        sent.end()
        return Effect.sync(() => void sent.destroy())
      })
  )

/** A downloader within limits. */
export const make = (limits: Limits, world: World = internet): Downloader.Service => {
  const follow = (
    text: string,
    from: URL | undefined,
    maxBytes: number,
    redirects: number
  ): Effect.Effect<Uint8Array, Downloader.DownloadError> =>
    Effect.flatMap(
      checked(text, from, limits, world),
      (url) =>
        Effect.flatMap(ask(url, maxBytes, world), (page) =>
          page._tag === "Bytes"
            ? Effect.succeed(page.bytes)
            : redirects === 0
            ? error("NotAllowed", url.hostname, `it redirects more than ${limits.redirects} times`)
            : follow(page.to, url, maxBytes, redirects - 1))
    )
  return {
    get: (url, { maxBytes }) =>
      Effect.timeoutFail(follow(url, undefined, maxBytes, limits.redirects), {
        duration: limits.timeout,
        onTimeout: () =>
          error(
            "TimedOut",
            URL.canParse(url) ? new URL(url).hostname : "",
            `it was not there after ${limits.timeout} milliseconds`
          )
      })
  }
}
