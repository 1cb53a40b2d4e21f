/**
 * What was changed in a text, in words.
 */

export interface Piece {
  readonly kind: "kept" | "removed" | "added"
  readonly text: string
}

const words = (text: string): ReadonlyArray<string> =>
  text.match(/[\p{L}\p{M}\p{N}_]+|\s+|[^\p{L}\p{M}\p{N}_\s]/gu) ?? []

// Beyond this many pairs of words texts have little in common that is worth the wait.
const most = 8e6

/** Without what was removed it is the text after, without what was added the one before. */
export const diff = (before: string, after: string): ReadonlyArray<Piece> => {
  const a = words(before)
  const b = words(after)
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  let tail = 0
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++
  const pieces = merge([
    ...a.slice(0, head).map(piece("kept")),
    ...between(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...a.slice(a.length - tail).map(piece("kept"))
  ])
  return merge(pieces.flatMap((current, index) => isCrumb(pieces, index) ? replaced(current) : [current]))
}

const piece = (kind: Piece["kind"]) => (text: string): Piece => ({ kind, text })

const replaced = ({ text }: Piece): ReadonlyArray<Piece> => [{ kind: "removed", text }, { kind: "added", text }]

// A space, or a word or two between larger changes, is not what was kept of a sentence.
const isCrumb = (pieces: ReadonlyArray<Piece>, index: number): boolean => {
  const text = pieces[index]?.kind === "kept" ? pieces[index].text : "\n"
  const around = Math.min(changed(pieces, index, -1), changed(pieces, index, 1))
  return !text.includes("\n") && around > 0 && (!/[\p{L}\p{N}]/u.test(text) || 2 * text.length <= around)
}

// How much was changed next to a place.
const changed = (pieces: ReadonlyArray<Piece>, index: number, step: -1 | 1): number => {
  let length = 0
  for (let at = index + step;; at += step) {
    const next = pieces[at]
    if (next === undefined || next.kind === "kept") return length
    length += next.text.length
  }
}

// The longest common subsequence.
const between = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): ReadonlyArray<Piece> => {
  if (a.length * b.length > most) return [...a.map(piece("removed")), ...b.map(piece("added"))]
  const width = b.length + 1
  // How much is common of what follows; of the pairs there are too few for it to be more than fits.
  const common = new Uint16Array((a.length + 1) * width)
  const at = (i: number, j: number): number => common[i * width + j] ?? 0
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const pieces: Array<Piece> = []
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    const left = a[i]
    const right = b[j]
    if (left !== undefined && left === right) {
      pieces.push({ kind: "kept", text: left })
      i++
      j++
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      pieces.push({ kind: "removed", text: left })
      i++
    } else if (right !== undefined) {
      pieces.push({ kind: "added", text: right })
      j++
    }
  }
  return pieces
}

// Between two kept pieces all that was removed comes before all that was added.
const merge = (pieces: ReadonlyArray<Piece>): ReadonlyArray<Piece> => {
  const merged: Array<Piece> = []
  let removed = ""
  let added = ""
  let kept = ""
  const flush = () => {
    if (removed !== "") merged.push({ kind: "removed", text: removed })
    if (added !== "") merged.push({ kind: "added", text: added })
    removed = added = ""
  }
  for (const { kind, text } of pieces) {
    if (kind === "kept") {
      flush()
      kept += text
      continue
    }
    if (kept !== "") merged.push({ kind: "kept", text: kept })
    kept = ""
    if (kind === "removed") removed += text
    else added += text
  }
  flush()
  if (kept !== "") merged.push({ kind: "kept", text: kept })
  return merged
}
