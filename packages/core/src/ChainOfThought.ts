/**
 * `ChainOfThought` lets the model reason in words before it answers: the
 * signature with an output field `reasoning` in front.
 *
 * @since 0.1.0
 */
import * as Module from "./Module.ts"
import * as Predict from "./Predict.ts"
import * as Signature from "./Signature.ts"
export const todo = [Module, Predict, Signature]
