import type * as Optimizer from "@effect-dspy/optimizers/Optimizer"
import * as Progress from "@effect-dspy/optimizers/Progress"
import * as Report from "@effect-dspy/optimizers/Report"
import type { FileSystem, Terminal } from "@effect/platform"
import type { PlatformError } from "@effect/platform/Error"
import { describe, expectTypeOf, it } from "@effect/vitest"
import type { Effect, Stream } from "effect"

interface Program {
  readonly name: "mine"
}
interface Model {
  readonly id: string
}

declare const run: Stream.Stream<Optimizer.OptimizerEvent<Program>, Optimizer.OptimizerError, Model>

describe("watching a run", () => {
  it("leaves its events as they are, and says what it needs", () => {
    expectTypeOf(run.pipe(Progress.show())).toEqualTypeOf<
      Stream.Stream<Optimizer.OptimizerEvent<Program>, Optimizer.OptimizerError, Model | Terminal.Terminal>
    >()
    expectTypeOf(run.pipe(Report.write("report.html"))).toEqualTypeOf<
      Stream.Stream<
        Optimizer.OptimizerEvent<Program>,
        Optimizer.OptimizerError | PlatformError,
        Model | FileSystem.FileSystem
      >
    >()
  })

  it("takes the events of any program", () => {
    expectTypeOf(Report.html([] as Array<Optimizer.OptimizerEvent<Program>>)).toEqualTypeOf<Effect.Effect<string>>()
    expectTypeOf(Progress.line).parameter(0).toEqualTypeOf<Optimizer.OptimizerEvent<unknown>>()
  })
})
