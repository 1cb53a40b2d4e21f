/**
 * CSV as in RFC 4180: cells between commas, in quotes where they hold a comma,
 * a quote or a line break; a quote inside quotes is doubled. Lines end in LF,
 * CRLF or CR. In linear time, and without the Node API that the CSV libraries
 * of today need.
 */

/** One record: the line it starts on, counted from 1, and its cells, or what is wrong with it. */
export type Row =
  | { readonly _tag: "Cells"; readonly line: number; readonly cells: ReadonlyArray<string> }
  | { readonly _tag: "Broken"; readonly line: number; readonly description: string }

/** The records of a text in order; an empty line is none. */
export const rows = (text: string): ReadonlyArray<Row> => {
  const found: Array<Row> = []
  let at = 0
  let line = 1
  while (at < text.length) {
    const start = line
    const cells: Array<string> = []
    let description: string | undefined
    for (;;) {
      const cell = text[at] === "\"" ? quoted(text, at) : plain(text, at)
      cells.push(cell.value)
      description ??= cell.problem
      line += text.slice(at, cell.end).match(lineBreaks)?.length ?? 0
      at = cell.end
      if (text[at] !== ",") break
      at++
    }
    const empty = cells.length === 1 && (at === 0 || isBreak(text[at - 1]))
    if (!empty) {
      found.push(
        description === undefined
          ? { _tag: "Cells", line: start, cells }
          : { _tag: "Broken", line: start, description }
      )
    }
    at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1
    line++
  }
  return found
}

interface Cell {
  readonly value: string
  /** Where the comma or the line break after it is, or the end of the text. */
  readonly end: number
  readonly problem: string | undefined
}

const lineBreaks = /\r\n|\r|\n/g

const isBreak = (char: string | undefined): boolean => char === "\n" || char === "\r"

const plainEnd = (text: string, from: number): number => {
  let end = from
  while (end < text.length && text[end] !== "," && !isBreak(text[end])) end++
  return end
}

const plain = (text: string, from: number): Cell => {
  const end = plainEnd(text, from)
  const value = text.slice(from, end)
  return {
    value,
    end,
    problem: value.includes("\"") ? "a quote stands inside a cell that is not in quotes" : undefined
  }
}

const quoted = (text: string, from: number): Cell => {
  const parts: Array<string> = []
  let at = from + 1
  for (;;) {
    const quote = text.indexOf("\"", at)
    if (quote === -1) return { value: "", end: text.length, problem: "a quote is opened and never closed" }
    parts.push(text.slice(at, quote))
    at = quote + 1
    if (text[at] !== "\"") break
    parts.push("\"")
    at++
  }
  const end = plainEnd(text, at)
  return {
    value: parts.join(""),
    end,
    problem: end === at ? undefined : "there is text between a closing quote and the next comma"
  }
}

/** Records as text, each ended by a line break. */
export const print = (rows: Iterable<ReadonlyArray<string>>): string => {
  let text = ""
  // A single empty cell would be an empty line.
  for (const cells of rows) text += cells.length === 1 && cells[0] === "" ? "\"\"\n" : `${cells.map(cell).join(",")}\n`
  return text
}

const cell = (value: string): string => /[",\r\n]/.test(value) ? `"${value.replaceAll("\"", "\"\"")}"` : value
