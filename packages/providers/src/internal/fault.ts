/**
 * From what servers and connections say about a failure to the reason of a
 * `LanguageModelError`.
 *
 * @since 0.1.0
 */
import * as LanguageModelError from "@effect-dspy/core/LanguageModelError"
import * as Encoding from "effect/Encoding"

// =============================================================================
// What a server says
// =============================================================================

/**
 * An error object as far as it could be read. `status` is a status code found
 * inside the body, `retryAfter` the milliseconds to wait that it names.
 * `exhausted`: a quota is spent that is not refilled within minutes.
 */
export interface ServerError {
  readonly status?: number | undefined
  readonly code?: string | undefined
  readonly type?: string | undefined
  readonly message?: string | undefined
  readonly retryAfter?: number | undefined
  readonly exhausted?: boolean | undefined
}

interface ErrorObject {
  readonly error?: unknown
  readonly object?: unknown
  readonly type?: unknown
  readonly code?: unknown
  readonly status?: unknown
  readonly message?: unknown
  readonly detail?: unknown
  readonly details?: unknown
}

// Anthropic writes one object, Google a list of them.
interface Detail {
  readonly error_code?: unknown
  readonly reason?: unknown
  readonly retryDelay?: unknown
  readonly violations?: unknown
}

const isObject = (u: unknown): u is object => typeof u === "object" && u !== null

const text = (u: unknown): string | undefined => typeof u === "string" && u !== "" ? u : undefined

const fields = (error: ErrorObject): ServerError => {
  const code = typeof error.code === "number" || typeof error.code === "string" ? String(error.code) : undefined
  const status = code !== undefined && /^[1-5]\d\d$/.test(code) ? Number(code) : undefined
  const details = detailsOf(error.details)
  return {
    ...details,
    status,
    code: (status === undefined ? text(code) : undefined) ?? details.code,
    type: text(error.type) ?? text(error.status),
    message: text(error.message)
  }
}

const detailsOf = (details: unknown): Pick<ServerError, "code" | "retryAfter" | "exhausted"> => {
  let code: string | undefined
  let retryAfter: number | undefined
  let exhausted = false
  for (const detail of Array.isArray(details) ? details : [details]) {
    if (!isObject(detail)) continue
    const { error_code, reason, retryDelay, violations }: Detail = detail
    code ??= text(error_code) ?? text(reason)
    const delay = /^(\d+(?:\.\d+)?)s$/.exec(text(retryDelay) ?? "")
    if (delay !== null) retryAfter = Number(delay[1]) * 1000
    if (Array.isArray(violations)) exhausted ||= violations.some(isSpent)
  }
  return { code, retryAfter, exhausted }
}

// A quota of a day, or one that is 0 because the account has no right to the model.
const isSpent = (violation: { readonly quotaId?: unknown; readonly quotaValue?: unknown } | null): boolean =>
  /PerDay/i.test(text(violation?.quotaId) ?? "") || violation?.quotaValue === "0"

/**
 * The error that a body declares to be one, whatever its status: `{ error }` of
 * OpenAI and most others, `{ object: "error" }` of vLLM, `{ type: "error" }`.
 */
export const declaredError = (body: unknown): ServerError | undefined => {
  if (!isObject(body)) return undefined
  const { error, object, type }: ErrorObject = body
  if (isObject(error)) return fields(error)
  if (typeof error === "string" && error !== "") return { ...fields(body), message: error }
  return object === "error" || type === "error" ? fields(body) : undefined
}

/**
 * The same for the body of a failed request, where also a bare `message` or
 * FastAPI's `detail` (with the path of the field at fault) explains the failure.
 */
export const explainedError = (body: unknown): ServerError => {
  if (Array.isArray(body)) return explainedError(body[0])
  const declared = declaredError(body)
  if (declared !== undefined || !isObject(body)) return declared ?? {}
  const { detail }: ErrorObject = body
  if (!Array.isArray(detail)) return { ...fields(body), message: text(detail) ?? fields(body).message }
  // Only path and text: FastAPI repeats the whole input beside them.
  const problems = detail.filter(isObject).map((problem: { readonly loc?: unknown; readonly msg?: unknown }) =>
    `${Array.isArray(problem.loc) ? problem.loc.join(".") : "request"}: ${text(problem.msg) ?? "not valid"}`
  )
  return { message: text(problems.join("; ")) }
}

const contextMessage =
  /maximum context length|prompt is too long|input token count.* exceeds the maximum|exceeds? the (available |model'?s )?context (size|length|window)|context (length|window) exceeded|exceeds? context (length|limit|size|window)|ContextWindowExceededError/i

const spentMessage =
  /credit balance is too low|monthly spend limit|reached your specified (API )?usage limits|quota exceeded for metric: \S+, limit: 0\b/i

// Google and xAI say so with status 400 and a code that means any mistake.
const keyMessage = /(incorrect|invalid) api key|api key not valid/i

const statusOfName: { readonly [name: string]: number } = {
  invalid_request_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  rate_limit_error: 429,
  rate_limit_exceeded: 429,
  api_error: 500,
  server_error: 500,
  internal_error: 500,
  internal_server_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
  overloaded: 529
}

/**
 * The reason for a failure that the server reported: structured codes first,
 * then the status, the text of the message last. `status` is that of the
 * response; a code inside the body counts only if that was a success.
 */
export const reasonOf = (failure: {
  readonly status: number
  readonly said: ServerError
  readonly retryAfter?: number | undefined
  /** Removes what must not be repeated from the server's own words. */
  readonly clean: (text: string) => string
}): LanguageModelError.Reason => {
  const { said } = failure
  const retryAfter = failure.retryAfter ?? said.retryAfter
  const names = [said.code, said.type].flatMap((name) => name === undefined ? [] : [name.toLowerCase()])
  const is = (...known: ReadonlyArray<string>) => names.some((name) => known.includes(name))
  const status = failure.status >= 300
    ? failure.status
    : said.status ?? names.map((name) => statusOfName[name]).find((known) => known !== undefined)
  const words = failure.clean(said.message ?? "")
  const name = failure.clean(said.code ?? said.type ?? "")
  const describe = (fallback: string) =>
    words === "" ? (name === "" ? fallback : `${fallback} (${name})`) : name === "" ? words : `${words} (${name})`

  if (
    status === 402 || said.exhausted === true || names.some((name) => name.startsWith("billing_")) ||
    is("insufficient_quota", "enforced_spend_limit_reached", "insufficient_balance", "budget_exceeded") ||
    spentMessage.test(said.message ?? "")
  ) {
    return new LanguageModelError.QuotaExhausted({ description: describe("the account has no quota or credit left") })
  }
  if (status === undefined || (status >= 400 && status !== 429)) {
    if (
      is(
        "context_length_exceeded",
        "exceed_context_size_error",
        "context_window_exceeded"
      ) ||
      contextMessage.test(said.message ?? "")
    ) {
      return new LanguageModelError.ContextWindowExceeded({
        description: describe("the prompt does not fit the model")
      })
    }
    if (is("content_filter", "content_policy_violation")) {
      return new LanguageModelError.ContentFiltered({
        description: describe("the provider's filter refused the prompt")
      })
    }
    if (is("model_not_found")) {
      return new LanguageModelError.NotFound({ description: describe("the server has no such model") })
    }
    if (is("invalid_api_key", "api_key_invalid") || keyMessage.test(said.message ?? "")) {
      return new LanguageModelError.Authentication({ description: describe("the server did not accept `apiKey`") })
    }
  }
  switch (status) {
    case 401:
      return new LanguageModelError.Authentication({ description: describe("the server did not accept `apiKey`") })
    case 403:
      return new LanguageModelError.Permission({ description: describe("the key may not do this (HTTP 403)") })
    case 404:
      return new LanguageModelError.NotFound({
        description: describe("the server has no such path or model; check `baseUrl` and `model`")
      })
    case 407:
      return new LanguageModelError.Authentication({ description: describe("the proxy asks for credentials") })
    case 409:
      return new LanguageModelError.Conflict({ description: describe("the server answered 409") })
    case 413:
      return new LanguageModelError.RequestTooLarge({ description: describe("the request is too large (HTTP 413)") })
    case 429:
      return new LanguageModelError.RateLimited({ description: describe("too many requests"), retryAfter })
    case 503:
    case 529:
      return new LanguageModelError.Overloaded({
        description: describe(`the server has no capacity (HTTP ${status})`),
        retryAfter
      })
  }
  if (status !== undefined && status >= 300 && status < 400) {
    return new LanguageModelError.InvalidRequest({
      description:
        `the server redirects (HTTP ${status}), which is not followed with a key; set \`baseUrl\` to the new address`
    })
  }
  // 408 and 425 are the server's, not the request's: the same request may pass later.
  if (status === undefined || status >= 500 || status === 408 || status === 425) {
    return new LanguageModelError.ServerError({
      status: status ?? failure.status,
      description: describe("no explanation"),
      retryAfter
    })
  }
  return new LanguageModelError.InvalidRequest({
    description: describe(`the server refused the request (HTTP ${status})`)
  })
}

// A secret as it is, and as it stands in JSON, in a URL and in base64.
const formsOf = (secret: string): ReadonlyArray<string> => [
  secret,
  JSON.stringify(secret).slice(1, -1),
  secret.replace(/[^\w.!~*'()-]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`),
  Encoding.encodeBase64(secret)
]

/**
 * A function that cuts a server's words to 300 characters and removes secrets
 * and everything that repeats a part of the prompt.
 */
export const cleaner =
  (secrets: ReadonlyArray<string>, prompt: () => ReadonlyArray<string>) => (words: string): string => {
    let cleaned = words.slice(0, 2000)
    for (const secret of secrets) {
      if (secret === "") continue
      for (const form of formsOf(secret)) cleaned = cleaned.replaceAll(form, "<redacted>")
    }
    const texts = prompt().filter((text) => text.length >= 8)
    for (const text of texts) cleaned = cleaned.replaceAll(text, "<prompt>")
    // A shared run of 48 characters or more covers one of these windows.
    for (let start = 0; start + 24 <= cleaned.length; start += 24) {
      const window = cleaned.slice(start, start + 24)
      if (texts.some((text) => text.includes(window))) {
        return "the server's explanation repeats the prompt and is left out"
      }
    }
    return cleaned.length <= 300 ? cleaned : `${cleaned.slice(0, 299)}…`
  }

// =============================================================================
// What a connection says
// =============================================================================

interface ErrorLike {
  readonly code?: unknown
  readonly message?: unknown
  readonly address?: unknown
  readonly port?: unknown
  readonly cause?: unknown
  readonly errors?: unknown
}

// The error that has a code: `fetch` hides it one level down, dual-stack connects in a list.
const coded = (error: unknown): ErrorLike & { readonly code?: string | undefined } => {
  let current: unknown = error
  for (let depth = 0; depth < 8 && isObject(current); depth++) {
    const { cause, code, errors, ...rest }: ErrorLike = current
    // A message is mostly not enumerable.
    if (typeof code === "string") return { ...rest, code, message: "message" in current ? current.message : undefined }
    current = cause ?? (Array.isArray(errors) ? errors[0] : undefined)
  }
  return {}
}

// What undici says of a proxy that does not open a way to the host.
const proxyRefusal = /^Proxy response \((\d{3})\)/

// A host without a port is at the one of its scheme.
const isElsewhere = (port: unknown, host: string): port is number =>
  typeof port === "number" && (/:\d+$/.test(host) ? !host.endsWith(`:${port}`) : port !== 80 && port !== 443)

/**
 * The reason for a broken connection to `host`. `phase` says how far the call
 * had come; a code that is more precise wins.
 */
export const fromConnection = (
  error: unknown,
  phase: "headers" | "body",
  host: string
): LanguageModelError.Reason => {
  const { address, code, message, port } = coded(error)
  const transport = (phase: LanguageModelError.Transport["phase"], description: string) =>
    new LanguageModelError.Transport({ phase, code, description })
  switch (code) {
    case "UND_ERR_CONNECT_TIMEOUT":
      return new LanguageModelError.Timeout({ phase: "connect" })
    case "UND_ERR_HEADERS_TIMEOUT":
      return new LanguageModelError.Timeout({ phase: "firstByte" })
    case "UND_ERR_BODY_TIMEOUT":
      return new LanguageModelError.Timeout({ phase: "idle" })
    case "UND_ERR_INVALID_ARG":
      return new LanguageModelError.InvalidRequest({
        description:
          "the request cannot be written; check `apiKey` and `headers` for characters that HTTP does not allow"
      })
    case "UND_ERR_DESTROYED":
    case "UND_ERR_CLOSED":
      return transport("request", "the HTTP client is closed; keep its Layer open for as long as the model is used")
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return transport("dns", `the name ${host} does not resolve`)
    case "ECONNREFUSED":
      return transport(
        "connect",
        isElsewhere(port, host)
          ? `the proxy at ${String(address)}:${port} refused the connection; is it running there?`
          : `${host} refused the connection; is the server running there?`
      )
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "EADDRNOTAVAIL":
    case "EMFILE":
    case "ETIMEDOUT":
      return transport("connect", `no connection to ${host}`)
    case "UND_ERR_ABORTED": {
      const status = proxyRefusal.exec(typeof message === "string" ? message : "")?.[1]
      if (status === "407") {
        return new LanguageModelError.Authentication({
          description:
            `the proxy before ${host} asks for credentials, or does not accept them; they are part of its URL`
        })
      }
      if (status !== undefined) {
        return transport("connect", `the proxy before ${host} answered ${status} when a connection was asked for`)
      }
    }
  }
  if (code !== undefined && /CERT|SSL|TLS|^EPROTO$|SELF_SIGNED|UNABLE_TO_/.test(code)) {
    return transport("tls", `no trusted connection to ${host}`)
  }
  return phase === "body"
    ? transport("body", `${host} closed the connection while it answered`)
    : transport("headers", `${host} closed the connection before it answered`)
}
