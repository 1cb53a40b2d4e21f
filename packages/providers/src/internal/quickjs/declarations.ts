/**
 * What code declares at its top level has to be there for the code after it, and may be declared again. Declarations
 * with `const`, `let` and `class` allow for neither, so they are written as `var`, which does. The function is handed to
 * the worker as text, so that it may use nothing but its parameters.
 *
 * @since 0.1.0
 */

/**
 * The same code, in the same lines. It is read token by token, without being understood: what is no JavaScript stays
 * none.
 */
export const withVars = (code: string): string => {
  // After these a slash begins a regular expression, and a class is a value.
  const operators = new Set(
    "await case delete do else extends default export in instanceof new of return throw typeof void yield".split(" ")
  )

  const isName = /[\p{ID_Continue}$\u200c\u200d]/u

  let out = ""
  let copied = 0
  let at = 0
  let depth = 0
  // What was read last: a word, a character, `value` for a literal, or nothing at the beginning.
  let last = ""
  // Where in brackets the text of a template goes on.
  const templates: Array<number> = []
  // Where the body of a class at the top level ends.
  let inClass = false

  const replace = (from: number, to: number, by: string): void => {
    out += code.slice(copied, from) + by
    copied = to
  }
  const expectsValue = (): boolean => last === "" || operators.has(last) || /^[-+*/%&|^!~<>=?:,;({[}]$/.test(last)
  const beginsStatement = (): boolean => last === "" || last === ";" || last === "}" || !expectsValue()
  const skipString = (quote: string): void => {
    for (at++; at < code.length && code[at] !== quote; at++) if (code[at] === "\\") at++
    at++
    last = "value"
  }
  const skipTemplate = (): void => {
    for (; at < code.length; at++) {
      if (code[at] === "\\") at++
      else if (code[at] === "`") {
        at++
        last = "value"
        return
      } else if (code[at] === "$" && code[at + 1] === "{") {
        at += 2
        templates.push(depth)
        depth++
        last = "{"
        return
      }
    }
  }
  const skipRegExp = (): void => {
    let inSet = false
    for (at++; at < code.length && code[at] !== "\n" && (inSet || code[at] !== "/"); at++) {
      if (code[at] === "\\") at++
      else if (code[at] === "[") inSet = true
      else if (code[at] === "]") inSet = false
    }
    at++
    last = "value"
  }
  const skipSpace = (from: number): number => {
    for (let i = from;;) {
      if (/\s/.test(code[i] ?? "")) i++
      else if (code.startsWith("//", i)) i = endOf("\n", i)
      else if (code.startsWith("/*", i)) i = endOf("*/", i)
      else return i
    }
  }
  const endOf = (mark: string, from: number): number => {
    const found = code.indexOf(mark, from + (mark === "*/" ? 2 : 0))
    return found === -1 ? code.length : found + mark.length
  }
  const wordAt = (from: number): string => {
    let to = from
    while (to < code.length && isName.test(code[to]!)) to++
    return code.slice(from, to)
  }

  for (at = skipSpace(0); at < code.length; at = skipSpace(at)) {
    const character = code[at]!
    if (character === "\"" || character === "'") skipString(character)
    else if (character === "`") {
      at++
      skipTemplate()
    } else if (character === "/" && expectsValue()) skipRegExp()
    else if (/\d/.test(character)) {
      at += wordAt(at).length
      last = "value"
    } else if (isName.test(character) || character === "\\" || character === "#") {
      const word = wordAt(at)
      const next = skipSpace(at + word.length)
      if (depth === 0 && last !== ".") {
        const declared = wordAt(next)
        if (word === "const" || (word === "let" && (declared !== "" || code[next] === "[" || code[next] === "{"))) {
          if (declared !== "in" && declared !== "instanceof") {
            replace(at, at + word.length, "var")
          }
        } else if (word === "class" && declared !== "" && declared !== "extends" && beginsStatement()) {
          replace(at, at, `var ${declared} = `)
          inClass = true
        }
      }
      at += Math.max(1, word.length)
      last = last === "." ? "value" : word
    } else {
      at++
      if (character === "(" || character === "[" || character === "{") depth++
      if (character === ")" || character === "]" || character === "}") {
        depth--
        if (character === "}" && templates.at(-1) === depth) {
          templates.pop()
          skipTemplate()
          continue
        }
        if (character === "}" && depth === 0 && inClass) {
          replace(at, at, ";")
          inClass = false
        }
      }
      // After these stands an operator, hardly ever a regular expression; after a block it is the other way round.
      last = character === ")" || character === "]" ? "value" : character
    }
  }
  return depth === 0 ? out + code.slice(copied) : code
}
