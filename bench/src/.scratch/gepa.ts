import * as LanguageModel from "@effect-dspy/core/LanguageModel"
import * as GEPA from "@effect-dspy/optimizers/GEPA"
import { Effect } from "effect"
import * as model from "../worlds/model.ts"
import * as problem from "../worlds/problem.ts"
import * as World from "../worlds/World.ts"
const [kindsArg = "mixed", n = "6", ...flags] = process.argv.slice(2)
const mean = (xs: ReadonlyArray<number>) => xs.reduce((a, b) => a + b, 0) / xs.length
for (const name of kindsArg.split(",")) {
  const rows: Record<string, Array<number[]>> = { classical: [], racing: [] }
  for (let seed = 5001; seed < 5001 + Number(n); seed++) {
    for (const schedule of ["classical", "racing"] as const) {
      const world = World.named(`${name}/${seed}`)
      const task = problem.make(world)
      const { meter, service } = model.make(world)
      const run = <A, E>(self: Effect.Effect<A, E, LanguageModel.LanguageModel>) =>
        Effect.runPromise(Effect.provideService(self, LanguageModel.LanguageModel, service))
      const extra = Object.fromEntries(
        flags.map((f) => f.split("=")).map(([k, v]) => [k, isNaN(Number(v)) ? v : Number(v)])
      )
      const compiled = await run(
        GEPA.compile(
          task.module,
          {
            trainset: task.trainset,
            valset: task.valset,
            metric: task.metric,
            auto: "light",
            schedule,
            seed,
            ...(schedule === "racing" ? extra : {})
          } as never
        ) as any
      ) as any
      const calls = meter.calls, tokens = meter.inputTokens + meter.outputTokens
      const score = mean(await run(problem.scores(compiled.module, task)))
      rows[schedule]!.push([
        score,
        calls,
        compiled.candidates.filter((c: any) => c.complete).length,
        compiled.candidates.length,
        compiled.score.mean,
        tokens
      ])
    }
  }
  for (const [k, v] of Object.entries(rows)) {
    console.log(
      name,
      k,
      v[0]!.map((_, i) => mean(v.map((r) => r[i]!)).toFixed(3)).join("  "),
      " | ",
      v.map((r) => r[0]!.toFixed(2)).join(" ")
    )
  }
}
