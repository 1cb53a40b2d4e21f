/**
 * A running module as a Stream: everything it does, its fields as they are
 * written, or values that grow. The program itself is not changed, and there is
 * no second way of running it: the stream listens, the module answers. Any
 * adapter streams, and so does an answer from a cache.
 *
 * @since 0.1.0
 */
export * as ModuleStream from "./ModuleStream.ts"
