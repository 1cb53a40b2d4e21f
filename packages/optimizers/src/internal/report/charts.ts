/**
 * The figures of a page, as SVG: what is where is said by d3, what it looks like
 * by the style of the page, so that they follow light, dark and print. Figures
 * that have to be readable on a telephone are drawn for its width too.
 */
import { scaleLinear } from "d3-scale"
import { curveBumpX, curveStepAfter, line, link } from "d3-shape"
import { count, money, percent } from "../figures.ts"
import type { Scores } from "../scores.ts"
import { type Content, type Markup, markup } from "./markup.ts"

interface Size {
  readonly width: number
  readonly height: number
}

const wide = 800
const narrow = 340

const responsive = (draw: (width: number) => Markup): Markup =>
  markup`<div class="wide">${draw(wide)}</div><div class="narrow">${draw(narrow)}</div>`

const svg = ({ height, width }: Size, label: string, content: Content): Markup =>
  markup`<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${content}</svg>`

const at = (value: number): string => value.toFixed(1)

// -----------------------------------------------------------------------------
// Axes
// -----------------------------------------------------------------------------

interface Axis {
  readonly place: (value: number) => number
  readonly ticks: ReadonlyArray<number>
}

const axis = (
  domain: readonly [number, number],
  range: readonly [number, number],
  options: { readonly ticks: number; readonly nice?: boolean | undefined; readonly whole?: boolean | undefined }
): Axis => {
  const scale = scaleLinear(domain, range)
  if (options.nice === true) scale.nice(options.ticks)
  const ticks = scale.ticks(options.ticks)
  return {
    place: (value) => scale(value),
    ticks: options.whole === true ? ticks.filter(Number.isInteger) : ticks
  }
}

const plot = { left: 46, right: 14, top: 12, bottom: 40 } as const

// Lines across, with the scores they stand for.
const scoreAxis = (
  scores: ReadonlyArray<number>,
  { height, width }: Size
): { readonly y: Axis; readonly grid: Content } => {
  const lowest = Math.min(1, ...scores)
  const highest = Math.max(0, ...scores)
  const room = Math.max(0.02, (highest - lowest) * 0.08)
  const y = axis([Math.max(0, lowest - room), Math.min(1, highest + room)], [height - plot.bottom, plot.top], {
    ticks: 5,
    nice: true
  })
  return {
    y,
    grid: y.ticks.map((tick) =>
      markup`<line class="grid" x1="${plot.left}" x2="${width - plot.right}" y1="${at(y.place(tick))}" y2="${
        at(y.place(tick))
      }"/><text class="tick end" x="${plot.left - 8}" y="${at(y.place(tick) + 4)}">${
        Number((100 * tick).toFixed(6))
      } %</text>`
    )
  }
}

const bottomAxis = (x: Axis, { height, width }: Size, title: string, print: (value: number) => string): Content => [
  x.ticks.map((tick) =>
    markup`<text class="tick middle" x="${at(x.place(tick))}" y="${height - plot.bottom + 18}">${print(tick)}</text>`
  ),
  markup`<text class="axis end" x="${width - plot.right}" y="${height - 4}">${title}</text>`
]

const across = (className: string, y: number, width: number): Markup =>
  markup`<line class="${className}" x1="${plot.left}" x2="${width - plot.right}" y1="${at(y)}" y2="${at(y)}"/>`

// -----------------------------------------------------------------------------
// Scores by candidate
// -----------------------------------------------------------------------------

export interface Point {
  readonly index: number
  readonly mean: number
  readonly lower: number
  readonly upper: number
  readonly complete: boolean
  readonly title: string
}

/** Every candidate in the order in which they were made, with its interval. */
export const trials = (options: {
  readonly points: ReadonlyArray<Point>
  readonly given: number
  readonly winner: number
}): Markup =>
  responsive((width) => {
    const { given, points, winner } = options
    const size = { width, height: width === wide ? 280 : 230 }
    const last = points.reduce((most, { index }) => Math.max(most, index), 0)
    const x = axis([-0.6, last + 0.6], [plot.left, width - plot.right], { ticks: width / 60, whole: true })
    const { grid, y } = scoreAxis(points.flatMap(({ lower, upper }) => [lower, upper]), size)
    const radius = Math.max(2, Math.min(5, (width - plot.left) / (3 * (last + 1))))
    const lead: Array<[number, number]> = []
    for (const { index, mean } of points.filter(({ complete }) => complete).toSorted((a, b) => a.index - b.index)) {
      if (mean > (lead.at(-1)?.[1] ?? Number.NEGATIVE_INFINITY)) lead.push([index, mean])
    }
    const highest = lead.at(-1)?.[1]
    const path = line(([index]) => x.place(index), ([, mean]) => y.place(mean)).curve(curveStepAfter)
    return svg(size, `Score of each of ${points.length} candidates with its interval; the best is number ${winner}`, [
      grid,
      across("given", y.place(given), width),
      highest === undefined
        ? undefined
        : markup`<path class="best" d="${path([...lead, [last + 0.6, highest]]) ?? ""}"/>`,
      points.map(({ complete, index, lower, mean, title, upper }) => {
        const left = at(x.place(index))
        const className = index === winner ? "dot winner" : complete ? "dot" : "dot incomplete"
        return markup`<g class="${className}"><title>${title}</title><line x1="${left}" x2="${left}" y1="${
          at(y.place(lower))
        }" y2="${at(y.place(upper))}"/><circle cx="${left}" cy="${at(y.place(mean))}" r="${
          at(index === winner ? radius + 1.5 : radius)
        }"/></g>`
      }),
      bottomAxis(x, size, "candidate", String)
    ])
  })

// -----------------------------------------------------------------------------
// The best so far
// -----------------------------------------------------------------------------

export interface Improvement {
  readonly spent: number
  readonly mean: number
  readonly title: string
}

/** The best score so far against what had been spent by then. */
export const against = (options: {
  readonly what: "calls" | "cost"
  readonly bests: ReadonlyArray<Improvement>
  readonly reached: number
}): Markup => {
  const { bests, reached, what } = options
  const size = { width: 390, height: 230 }
  const end = Math.max(reached, ...bests.map(({ spent }) => spent))
  const x = axis([0, end === 0 ? 1 : end], [plot.left, size.width - plot.right], { ticks: 4 })
  const { grid, y } = scoreAxis(bests.map(({ mean }) => mean), size)
  const path = line(({ spent }: Pick<Improvement, "spent" | "mean">) => x.place(spent), ({ mean }) => y.place(mean))
    .curve(curveStepAfter)
  const last = bests.at(-1)
  return svg(size, `Best score so far against ${what}, ${bests.length} times better than before`, [
    grid,
    last === undefined ? undefined : [
      markup`<path class="best" d="${path([...bests, { spent: end, mean: last.mean }]) ?? ""}"/>`,
      bests.map(({ mean, spent, title }) =>
        markup`<g class="dot"><title>${title}</title><circle cx="${at(x.place(spent))}" cy="${
          at(y.place(mean))
        }" r="4.5"/></g>`
      )
    ],
    bottomAxis(x, size, what, what === "calls" ? count : money)
  ])
}

// -----------------------------------------------------------------------------
// A score with its interval, in a table
// -----------------------------------------------------------------------------

/** On the scale from `from` to `to`. */
export const whisker = (point: Omit<Point, "index" | "title">, from: number, to: number): Markup => {
  const x = scaleLinear([from, to], [4, 116])
  return markup`<svg class="whisker" viewBox="0 0 120 14" aria-hidden="true"><g class="${
    point.complete ? "dot" : "dot incomplete"
  }"><line x1="${at(x(point.lower))}" x2="${at(x(point.upper))}" y1="7" y2="7"/><circle cx="${
    at(x(point.mean))
  }" cy="7" r="4"/></g></svg>`
}

// -----------------------------------------------------------------------------
// Scores by candidate and example
// -----------------------------------------------------------------------------

export interface Row {
  readonly name: string
  readonly marked: boolean
  readonly scores: Scores
}

const shades = 5

/** A square for each candidate on each example: the fuller the better. */
export const matrix = (rows: ReadonlyArray<Row>): Markup =>
  responsive((width) => {
    const examples = rows.reduce((most, { scores }) => Math.max(most, scores.length), 0)
    const left = width === wide ? 150 : 110
    const height = 18
    const cell = Math.min(24, (width - left) / Math.max(1, examples))
    const paths = Array.from({ length: shades + 1 }, () => "")
    for (const [row, { scores }] of rows.entries()) {
      for (const [column, score] of scores.entries()) {
        const shade = score === undefined ? shades : Math.min(shades - 1, Math.floor(score * shades))
        paths[shade] += `M${column} ${row}h1v.9h-1z`
      }
    }
    return svg(
      { width, height: rows.length * height + 4 },
      `Scores of ${rows.length} candidates on ${examples} examples`,
      [
        // In units of squares, which keeps a page of many small.
        markup`<g class="${cell > 6 ? "squares apart" : "squares"}" transform="translate(${left} 0) scale(${
          cell.toFixed(3)
        } ${height})">${
          paths.map((path, shade) =>
            path === ""
              ? undefined
              : markup`<path class="${shade === shades ? "unknown" : `shade${shade}`}" d="${path}"/>`
          )
        }</g>`,
        rows.map(({ marked, name }, row) =>
          markup`<text class="${marked ? "tick end marked" : "tick end"}" x="${left - 8}" y="${row * height + 12}">${
            marked ? "◆ " : ""
          }${name}</text>`
        )
      ]
    )
  })

// -----------------------------------------------------------------------------
// Who was made of whom
// -----------------------------------------------------------------------------

export interface Node {
  readonly index: number
  readonly parents: ReadonlyArray<number>
  readonly name: string
  readonly title: string
  readonly marked: boolean
  readonly complete: boolean
}

/** Candidates right of those that they were made of; the line of the winner is drawn out. */
export const ancestry = (nodes: ReadonlyArray<Node>, winner: number): Markup => {
  const byIndex = new Map(nodes.map((node) => [node.index, node]))
  const generations = new Map<number, number>()
  const lanes = new Map<number, number>()
  const columns: Array<Array<Node>> = []
  // Parents come before their children.
  for (const node of nodes.toSorted((a, b) => a.index - b.index)) {
    const generation = 1 + Math.max(-1, ...node.parents.map((parent) => generations.get(parent) ?? -1))
    generations.set(node.index, generation)
    const column = columns[generation] ?? []
    columns[generation] = column
    column.push(node)
  }
  const tallest = Math.max(...columns.map(({ length }) => length))
  for (const column of columns) {
    const middle = (tallest - column.length) / 2
    const wanted = ({ parents }: Node): number =>
      parents.length === 0
        ? 0
        : parents.reduce((sum, parent) => sum + (lanes.get(parent) ?? 0), 0) / parents.length
    for (const [lane, { index }] of column.toSorted((a, b) => wanted(a) - wanted(b) || a.index - b.index).entries()) {
      lanes.set(index, middle + lane)
    }
  }
  const line = new Set<number>()
  const trace = (index: number): void => {
    if (line.has(index)) return
    line.add(index)
    for (const parent of byIndex.get(index)?.parents ?? []) trace(parent)
  }
  trace(winner)
  const step = 88
  const height = 40
  const place = (index: number): [number, number] => [
    44 + (generations.get(index) ?? 0) * step,
    12 + (lanes.get(index) ?? 0) * height
  ]
  const curve = link<unknown, { readonly from: number; readonly to: number }, number>(curveBumpX)
    .source(({ from }) => from).target(({ to }) => to)
    .x((index) => place(index)[0]).y((index) => place(index)[1])
  const edges = nodes.flatMap(({ index, parents }) =>
    parents.filter((parent) => byIndex.has(parent)).map((parent) => ({ from: parent, to: index }))
  )
  const width = columns.length * step + 8
  return markup`<svg class="natural" width="${width}" height="${
    tallest * height + 4
  }" role="img" aria-label="${`Which of ${nodes.length} candidates was made of which`}">${
    edges.map((edge) =>
      markup`<path class="${line.has(edge.to) && line.has(edge.from) ? "edge lineage" : "edge"}" d="${
        curve(edge) ?? ""
      }"/>`
    )
  }${
    nodes.map(({ complete, index, marked, name, title }) => {
      const [x, y] = place(index)
      const className = index === winner ? "dot winner" : complete ? "dot" : "dot incomplete"
      return markup`<g class="${className}"><title>${title}</title><circle cx="${at(x)}" cy="${at(y)}" r="${
        index === winner ? 6.5 : 5
      }"/><text class="${marked ? "tick middle halo marked" : "tick middle halo"}" x="${at(x)}" y="${at(y + 20)}">${
        marked ? "◆ " : ""
      }${name}</text></g>`
    })
  }</svg>`
}

// -----------------------------------------------------------------------------
// Wins and losses
// -----------------------------------------------------------------------------

/** One bar for each example, from the largest gain to the largest loss. */
export const differences = (values: ReadonlyArray<number>): Markup =>
  responsive((width) => {
    const sorted = values.toSorted((a, b) => b - a)
    const size = { width, height: 150 }
    const x = axis([0, sorted.length], [plot.left, width - plot.right], { ticks: width / 80, whole: true })
    const y = axis([-1, 1], [size.height - plot.bottom, plot.top], { ticks: 3 })
    const bar = Math.max(0.5, Math.min(20, (width - plot.left - plot.right) / sorted.length - 0.5))
    return svg(size, `Differences on ${sorted.length} examples, from the largest gain to the largest loss`, [
      [-1, 0, 1].map((tick) => [
        across("grid", y.place(tick), width),
        markup`<text class="tick end" x="${plot.left - 8}" y="${at(y.place(tick) + 4)}">${
          tick === 0 ? "0" : tick > 0 ? "+100" : "−100"
        }</text>`
      ]),
      sorted.map((value, index) =>
        value === 0 ?
          undefined :
          markup`<rect class="${value > 0 ? "win" : "loss"}" x="${at(x.place(index))}" y="${
            at(y.place(Math.max(0, value)))
          }" width="${at(bar)}" height="${at(Math.abs(y.place(value) - y.place(0)))}"><title>${
            (value > 0 ? "+" : "−") + percent(Math.abs(value))
          }</title></rect>`
      ),
      bottomAxis(x, size, "examples", String)
    ])
  })
