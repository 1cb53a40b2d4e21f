/**
 * The form by which OpenAI's API takes a file of JSON lines (`POST /v1/files`).
 *
 * @since 0.1.0
 */
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"

// Every line of the file begins with a brace: none is taken for it.
const boundary = "effect-dspy-upload"

/**
 * The request with the file as its body. The form is written by hand, since not
 * every client can send a `FormData`.
 */
export const body = (
  request: HttpClientRequest.HttpClientRequest,
  purpose: "batch" | "fine-tune",
  lines: string
): HttpClientRequest.HttpClientRequest =>
  HttpClientRequest.bodyText(
    request,
    [
      `--${boundary}`,
      "Content-Disposition: form-data; name=\"purpose\"",
      "",
      purpose,
      `--${boundary}`,
      `Content-Disposition: form-data; name="file"; filename="${purpose}.jsonl"`,
      "Content-Type: application/jsonl",
      "",
      lines,
      `--${boundary}--`,
      ""
    ].join("\r\n"),
    `multipart/form-data; boundary=${boundary}`
  )
