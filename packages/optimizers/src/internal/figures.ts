/**
 * How figures are said to people.
 */
import type * as Evaluate from "@effect-dspy/core/Evaluate"
import type * as Optimizer from "../Optimizer.ts"

/** `85.0 %` */
export const percent = (share: number): string => `${digits(100 * share)} %`

/** `+3.5`, in points of a hundred. */
export const points = (share: number): string => `${share < 0 ? "−" : "+"}${digits(Math.abs(100 * share))}`

/** `[78.0, 91.2]` */
export const interval = ({ lower, upper }: Evaluate.Interval): string =>
  `[${digits(100 * lower)}, ${digits(100 * upper)}]`

/** `[+1.0, +9.5]` */
export const change = ({ lower, upper }: Evaluate.Interval): string => `[${points(lower)}, ${points(upper)}]`

const digits = (value: number): string => value.toFixed(1)

/** `12,345` */
export const count = (n: number): string => Math.round(n).toString().replaceAll(/\B(?=(\d{3})+$)/g, ",")

/** `1 example`, `12 examples` */
export const several = (n: number, noun: string): string => `${count(n)} ${noun}${n === 1 ? "" : "s"}`

/** Without a currency, which is that of the price list. */
export const money = (cost: number): string =>
  cost >= 1000 ? count(cost) : cost === 0 ? "0" : cost.toFixed(cost >= 1 ? 2 : cost >= 0.01 ? 4 : 6)

/** `2 min 5 s` */
export const duration = (milliseconds: number): string => {
  const whole = Math.round(milliseconds / 1000)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60
    ? `${minutes} min ${whole % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** What was spent, part by part; what the provider did not tell is left out. */
export const spend = ({ calls, usage }: Optimizer.Spend): ReadonlyArray<string> => [
  several(calls, "call"),
  ...(usage.inputTokens === undefined ? [] : [`${count(usage.inputTokens)} tokens in`]),
  ...(usage.outputTokens === undefined ? [] : [`${count(usage.outputTokens)} tokens out`]),
  ...(usage.cost === undefined ? [] : [`cost ${money(usage.cost)}`])
]
