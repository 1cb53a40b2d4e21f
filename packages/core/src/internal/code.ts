/**
 * Code in the answer of a model, which likes to put it between fences.
 */
import type * as AST from "effect/SchemaAST"

/** The annotation of a schema of code: its language, "" for any. */
export const AnnotationId = Symbol.for("@effect-dspy/core/Code")

/** The language of a schema of code, "" for any; undefined for other schemas. */
export const languageOf = (ast: AST.AST): string | undefined => {
  const language = ast.annotations[AnnotationId]
  return typeof language === "string" ? language : undefined
}

interface Block {
  readonly tag: string
  readonly code: string
}

// Fences begin a line; one is closed by a line of as many of the same characters.
const blocks = (text: string): ReadonlyArray<Block> => {
  const found: Array<Block> = []
  let fence: string | undefined
  let tag = ""
  let lines: Array<string> = []
  for (const line of text.split(/\r?\n/)) {
    const [, marks, rest = ""] = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line) ?? []
    if (fence === undefined) {
      if (marks !== undefined) {
        fence = marks
        tag = rest.trim().split(/\s/, 1)[0]!.toLowerCase() // a split has a first piece
        lines = []
      }
    } else if (marks?.startsWith(fence) === true && rest.trim() === "") {
      found.push({ tag, code: lines.join("\n") })
      fence = undefined
    } else lines.push(line)
  }
  // An answer may stop without closing its last fence.
  if (fence !== undefined) found.push({ tag, code: lines.join("\n") })
  return found
}

const aliases: { readonly [tag: string]: string } = {
  cs: "csharp",
  js: "javascript",
  jsx: "javascript",
  mjs: "javascript",
  py: "python",
  py3: "python",
  python3: "python",
  rb: "ruby",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  ts: "typescript",
  tsx: "typescript",
  yml: "yaml"
}

const same = (a: string, b: string): boolean => (aliases[a] ?? a) === (aliases[b] ?? b)

/**
 * The code in a text: what is between its only fences, or between the only ones
 * that name the language. Otherwise the text itself: nothing is guessed.
 */
export const strip = (text: string, language: string): string => {
  if (!text.includes("```") && !text.includes("~~~")) return text
  const found = blocks(text)
  const own = language === "" ? [] : found.filter(({ tag }) => same(tag, language.toLowerCase()))
  const [only] = own.length === 1 ? own : found.length === 1 ? found : []
  return only === undefined ? text : only.code
}
