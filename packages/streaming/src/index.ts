/**
 * A running module as a Stream: everything it does, or one field as it is
 * written. The program itself is not changed, and there is no second way of
 * running it: the stream listens, the module answers.
 *
 * @since 0.1.0
 */
export * as ModuleStream from "./ModuleStream.ts"
