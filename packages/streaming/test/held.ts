import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** The bytes that are in use, once all that nobody needs is gone. */
export const bytesHeld = async (): Promise<number> => {
  // What a job has touched is kept until it ends.
  await new Promise((resolve) => setImmediate(resolve))
  collect()
  const { external, heapUsed } = process.memoryUsage()
  return external + heapUsed
}

export const held: Effect.Effect<number> = Effect.promise(bytesHeld)
