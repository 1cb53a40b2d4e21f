/**
 * An `Adapter` turns a signature, demonstrations and input into a request, and
 * the text of the answer back into fields. It knows nothing of HTTP. Parsing
 * is incremental, so every adapter streams its fields; decoding against the
 * signature's schemas happens once, here, for all of them.
 *
 * @since 0.1.0
 */
export * as Adapter from "./Adapter.ts"

/**
 * What `ReAct`, `ProgramOfThought`, `CodeAct` and `RLM` have in common: they work
 * in rounds, in each of which the model says what to do and is shown what came of
 * it, until it knows enough. Then there are outputs, and a typed account of how
 * they came about.
 *
 * @since 0.1.0
 */
export * as Agent from "./Agent.ts"

/**
 * `Assert` checks what a program answers, and asks again with what was wrong.
 *
 * @since 0.1.0
 */
export * as Assert from "./Assert.ts"

/**
 * Sound as values of a program: fields of a signature that a model hears.
 *
 * A recording is its bytes in a `data:` URI, or an address for the few providers
 * that fetch one: plain JSON, as images are. Nothing here reads a file or the
 * network but `fromFile` and `fetch`.
 *
 * @since 0.1.0
 */
export * as Audio from "./Audio.ts"

/**
 * `BestOfN` runs a program several times and answers with the best of what it
 * said.
 *
 * @since 0.1.0
 */
export * as BestOfN from "./BestOfN.ts"

/**
 * A `Budget` limits what a program may spend: calls, tokens, money, time. What
 * is about to be spent is reserved before, all of it or nothing, and settled
 * with what it really was afterwards; so any number of callers at once never
 * go over it together.
 *
 * @since 0.1.0
 */
export * as Budget from "./Budget.ts"

/**
 * `ChainOfThought` lets the model reason in words before it answers: the
 * signature with an output field `reasoning` in front.
 *
 * @since 0.1.0
 */
export * as ChainOfThought from "./ChainOfThought.ts"

/**
 * Fields as text between markers, which any model can write.
 *
 * Every field is a line with its marker, then its value; an answer ends with a
 * marker of its own:
 *
 * ```
 * [[ ## reasoning ## ]]
 * Paris has been the capital since 987.
 *
 * [[ ## answer ## ]]
 * Paris
 *
 * [[ ## completed ## ]]
 * ```
 *
 * Strings stand as they are, all other values as compact JSON on one line. Two
 * things are escaped, so that no value can be taken for structure and every
 * value is read back as it was:
 *
 * - A line that starts like a marker gets a backslash before it:
 *   `\[[ ## answer ## ]]`. One backslash is taken away on reading.
 * - A string that starts or ends with white space, or whose first line is a
 *   single backslash, stands between two lines holding a backslash each.
 *   White space around any other value is not part of it.
 *
 * A string where the field could also be something else (`string | null`,
 * `string | number`, an optional string) is put in quotes if it would be taken
 * for the other: `"null"`.
 *
 * When reading, a marker counts at the start of a line only (after blanks),
 * and only if it names a field: of an output, it opens the field; of an input,
 * or repeated, it opens text that is left out. A marker with another name is
 * text. Text before the first marker and after the end marker is left out, as
 * is a `<think>` block that comes first; the end marker may be missing. Where a
 * field is named `completed`, the end marker is `[[ ## completed_ ## ]]`.
 *
 * @since 0.1.0
 */
export * as ChatAdapter from "./ChatAdapter.ts"

/**
 * What an answer rests on as a field: told by the provider where it cites the
 * documents it was given, and otherwise written like any field.
 *
 * @since 0.1.0
 */
export * as Citations from "./Citations.ts"

/**
 * Code as values of a program: text in a language, without the fences and the
 * prose that models put around it.
 *
 * @since 0.1.0
 */
export * as Code from "./Code.ts"

/**
 * `CodeAct` answers with the help of code: the model writes a piece of
 * JavaScript that may call tools, reads what it says, and so on until it knows
 * enough.
 *
 * @since 0.1.0
 */
export * as CodeAct from "./CodeAct.ts"

/**
 * Values that a model sees as they are instead of as text: a schema that says
 * which parts of a message its values become. `Image`, `Audio` and `Document`
 * are made with it, and so is any type of one's own.
 *
 * @since 0.1.0
 */
export * as Content from "./Content.ts"

/**
 * Documents as values of a program: texts and PDFs that a model reads, and cites
 * where the provider can.
 *
 * A document is its text, or the address of a PDF or its bytes in a `data:` URI:
 * plain JSON, as images are. Nothing here reads a file or the network but
 * `fromFile` and `fetch`.
 *
 * @since 0.1.0
 */
export * as Document from "./Document.ts"

/**
 * The service that fetches what is at an address somebody else has named. It is
 * asked by `fetch` of `Image`, `Audio` and `Document`, and by nothing else: a
 * program without one fetches nothing.
 *
 * @since 0.1.0
 */
export * as Downloader from "./Downloader.ts"

/**
 * The service that turns texts into vectors whose closeness says how alike the
 * texts are: what nearest-neighbour demonstrations and retrieval stand on.
 *
 * @since 0.1.0
 */
export * as Embedder from "./Embedder.ts"

/**
 * `Evaluate` measures a module on examples: every score in its place, a mean
 * that says how sure it is, and what failed told apart from what is wrong.
 *
 * @since 0.1.0
 */
export * as Evaluate from "./Evaluate.ts"

/**
 * An `Example` is one labelled case: typed inputs for a module, and labels
 * that a metric compares its output with. Datasets come from JSONL, JSON and
 * CSV, decoded by schemas; a row that does not fit is reported, never left out.
 *
 * @since 0.1.0
 */
export * as Example from "./Example.ts"

/**
 * The service that trains a model further on conversations: started with data,
 * asked now and then, and in the end there is a model with a name.
 *
 * @since 0.1.0
 */
export * as Finetuning from "./Finetuning.ts"

/**
 * Conversations as values of a program: the turns before the current one, typed
 * by the signature that they are turns of.
 *
 * @since 0.1.0
 */
export * as History from "./History.ts"

/**
 * Images as values of a program: fields of a signature that a model sees.
 *
 * An image is the address of one, or its bytes in a `data:` URI: plain JSON, so
 * that demonstrations, traces, caches and saved programs hold it as it is.
 * Nothing here reads a file or the network but `fromFile` and `fetch`.
 *
 * @since 0.1.0
 */
export * as Image from "./Image.ts"

/**
 * Plain JSON values: what demonstrations, traces, journals and saved programs
 * hold, and the canonical form by which they are compared and addressed.
 *
 * @since 0.1.0
 */
export * as Json from "./Json.ts"

/**
 * The answer as one JSON object, for models that are good at it or can be
 * held to a JSON Schema.
 *
 * Inputs stand between the field markers of `ChatAdapter`, escaped in the same
 * way. The answer is the first JSON object with an output field among its
 * keys; prose and code fences around it, a `<think>` block before it, keys
 * that are no output fields and an echo of the schema are left out. Deltas of
 * a string are its characters, unescaped; those of any other value its JSON.
 *
 * JSON that is not quite valid is read where it has one meaning only: trailing
 * commas, single quotes, unquoted keys, `True` and `None`, comments, raw line
 * breaks in strings, numbers such as `.5` or `+1`. Nothing is guessed: a
 * string that does not end is not an answer, nor is a key with two values.
 *
 * Where the model can be held to it, the request carries a strict JSON Schema
 * of the outputs, or else asks for a JSON object; see `structure`.
 *
 * @since 0.1.0
 */
export * as JsonAdapter from "./JsonAdapter.ts"

/**
 * Whether a value fits a JSON Schema that is known at run time only: that of a
 * tool which somebody else offers.
 *
 * @since 0.1.0
 */
export * as JsonSchema from "./JsonSchema.ts"

/**
 * `KNN` shows a predictor those of its demonstrations that are nearest to what
 * it is asked, instead of all of them.
 *
 * @since 0.1.0
 */
export * as KNN from "./KNN.ts"

/**
 * The one service every model call goes through. Requests, responses and
 * deltas are plain data, so that they can be hashed, cached, recorded and
 * replayed; providers and policies are the only code behind it.
 *
 * @since 0.1.0
 */
export * as LanguageModel from "./LanguageModel.ts"

/**
 * Everything that can go wrong between a program and a model, as one tagged
 * error with a `reason`. It never holds the prompt, a header or a key.
 *
 * @since 0.1.0
 */
export * as LanguageModelError from "./LanguageModelError.ts"

/**
 * `Majority` takes the answer that is given most often.
 *
 * @since 0.1.0
 */
export * as Majority from "./Majority.ts"

/**
 * What images, audio and documents have in common: where their bytes may come
 * from, and what is wrong when they cannot be used.
 *
 * @since 0.1.0
 */
export * as Media from "./Media.ts"

/**
 * A `Metric` says how good an output is: a score from 0 to 1, and, if it can,
 * feedback in words that an optimizer may show to a model.
 *
 * @since 0.1.0
 */
export * as Metric from "./Metric.ts"

/**
 * A `Module` is a function from an input to an Effect that also lists its
 * predictors, the leaves an optimizer may tune. Modules hold no state, no
 * history and no model, so one value serves any number of concurrent calls
 * under different parameters.
 *
 * @since 0.1.0
 */
export * as Module from "./Module.ts"

/**
 * What a running module tells whoever listens. Nothing is emitted, and nothing
 * allocated, when nobody does.
 *
 * @since 0.1.0
 */
export * as ModuleEvent from "./ModuleEvent.ts"

/**
 * `MultiChainComparison` shows a model several attempts at the same task and
 * lets it find the right answer in view of all of them.
 *
 * @since 0.1.0
 */
export * as MultiChainComparison from "./MultiChainComparison.ts"

/**
 * `Parallel` runs a program over many inputs and keeps what became of each.
 *
 * @since 0.1.0
 */
export * as Parallel from "./Parallel.ts"

/**
 * `Parameters` is what an optimizer searches: for each predictor of a program,
 * its instructions, demonstrations and settings. A candidate program is just
 * this value; applying it never changes a module.
 *
 * @since 0.1.0
 */
export * as Parameters from "./Parameters.ts"

/**
 * A `Policy` changes how a model is called (retry, cache, budget, rate limit)
 * without the model or the program knowing. It is a value, applied to a Layer.
 *
 * @since 0.1.0
 */
export * as Policy from "./Policy.ts"

/**
 * `Predict` turns a signature into a module: one question to the model, one
 * typed answer. It is the only leaf of a program.
 *
 * @since 0.1.0
 */
export * as Predict from "./Predict.ts"

/**
 * A `Preview` is the request that a module would send first, found without
 * sending it: messages, settings and response format as the model would get
 * them, under the parameters, adapter and settings that hold where it is asked
 * for.
 *
 * @since 0.1.0
 */
export * as Preview from "./Preview.ts"

/**
 * `ProgramOfThought` answers by a program: the model writes code for the task, a
 * sandbox runs it, and the outputs are made of what it says. What is computed
 * is computed, not guessed.
 *
 * @since 0.1.0
 */
export * as ProgramOfThought from "./ProgramOfThought.ts"

/**
 * `RLM`, a recursive language model, answers from inputs that are too long to be
 * read: they stay in a sandbox, and the model writes code that looks into them
 * and asks models about parts of them.
 *
 * @since 0.1.0
 */
export * as RLM from "./RLM.ts"

/**
 * `ReAct` answers with the help of tools: the model thinks, uses tools, reads what
 * they say, and so on until it knows enough.
 *
 * @since 0.1.0
 */
export * as ReAct from "./ReAct.ts"

/**
 * The reasoning of a model as a field: what it thought before it answered, told
 * by the provider where that is so, and otherwise written like any field.
 *
 * @since 0.1.0
 */
export * as Reasoning from "./Reasoning.ts"

/**
 * `Refine` runs a program several times, and tells it before each new attempt
 * what to do better.
 *
 * @since 0.1.0
 */
export * as Refine from "./Refine.ts"

/**
 * The service that finds the passages that a query is about: what programs
 * with retrieval stand on, whatever index or database is behind it.
 *
 * @since 0.1.0
 */
export * as Retriever from "./Retriever.ts"

/**
 * The service that runs code a model has written: JavaScript that reaches
 * nothing but the values and functions it is given. What runs it is a Layer,
 * such as `QuickJsSandbox` of the providers.
 *
 * @since 0.1.0
 */
export * as Sandbox from "./Sandbox.ts"

/**
 * A `SavedProgram` is what an optimizer found for a program, as a JSON file:
 * per predictor its instructions, demonstrations and settings, with the names
 * and types of its fields, so that a file of another program is recognised.
 * It holds data only: the program itself, its models and tools come from code
 * and Layers. DSPy's state files are read and written too.
 *
 * @since 0.1.0
 */
export * as SavedProgram from "./SavedProgram.ts"

/**
 * `Scoring` is the one place where a candidate, an example and a rollout become
 * a score. It runs in this process unless another one is provided. Tasks and
 * results are plain data, so that they can cross a wire; the evaluator, which
 * holds functions, is built from the same source on both ends.
 *
 * @since 0.1.0
 */
export * as Scoring from "./Scoring.ts"

/**
 * A `Signature` declares what one step of a program does: instructions, typed
 * input fields and typed output fields. It is a plain value; every operation
 * returns a new one and keeps the types.
 *
 * @since 0.1.0
 */
export * as Signature from "./Signature.ts"

/**
 * What every adapter has to do, tried with values and answers of all kinds, for
 * tests of adapters of your own.
 *
 * @since 0.1.0
 */
export * as TestAdapter from "./TestAdapter.ts"

/**
 * A model that answers from a script, for tests. It takes no time unless told
 * to, never repeats itself, streams in small pieces and remembers every
 * request.
 *
 * @since 0.1.0
 */
export * as TestLanguageModel from "./TestLanguageModel.ts"

/**
 * A `Tool` is something a model may ask a program to do: a name, what it is good
 * for, parameters as schemas, and an Effect.
 *
 * @since 0.1.0
 */
export * as Tool from "./Tool.ts"

/**
 * Calls of tools as values: which tools a model may call is an input of a
 * signature, which ones it wants to call an output. Nothing is called here; a
 * loop that does is `ReAct`.
 *
 * @since 0.1.0
 */
export * as ToolCalls from "./ToolCalls.ts"

/**
 * A `Trace` is what the predictors of one run were asked and what they
 * answered. Metrics may look at it; optimizers make demonstrations of it.
 *
 * @since 0.1.0
 */
export * as Trace from "./Trace.ts"

/**
 * An answer in the model's own words, and another model that finds the fields
 * in it, for models that think best when no format is asked of them.
 *
 * The first model sees the fields and the task, no markers and no braces; what
 * it says is streamed as `ReasoningDelta`. The second one is asked for the same
 * outputs with that text as its only input, by an adapter of its own, and what
 * it writes are the fields. Both calls are reported to whoever listens, and both
 * belong to one call of the predictor: a trace holds its inputs and outputs,
 * demonstrations are shown to the first model only.
 *
 * @since 0.1.0
 */
export * as TwoStepAdapter from "./TwoStepAdapter.ts"

/**
 * Answers as one XML element for each field, for models that are best at that.
 *
 * Inputs stand between the field markers of `ChatAdapter`, escaped in the same
 * way. The content of an element is the text itself, or JSON for everything else.
 * When reading, only the start tag of an output field outside of an element, its
 * own end tag inside, and references such as `&lt;` are markup: code and HTML
 * inside an element may be written as they are. Text outside is left out, as is a
 * `<think>` block that comes first.
 *
 * @since 0.1.0
 */
export * as XmlAdapter from "./XmlAdapter.ts"
