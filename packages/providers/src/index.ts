/**
 * Claude, through Anthropic's Messages API (`POST /v1/messages`), and servers
 * that speak it.
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
export * as Anthropic from "./Anthropic.ts"

/**
 * Model calls by the batch API of OpenAI (`/v1/files`, `/v1/batches`), which
 * costs half and takes minutes to a day. It is a model like any other: calls
 * that are made within a short time travel together in one file, and each gets
 * its answer when the batch is done.
 *
 * What was sent is noted in a `KeyValueStore`. A process that ends while it waits
 * may be started again: the calls it repeats find their batch, and nothing is
 * paid twice.
 *
 * @since 0.1.0
 */
export * as Batch from "./Batch.ts"

/**
 * How much of an answer is read before it is refused, the same for every
 * provider that speaks HTTP.
 *
 * @since 0.1.0
 */
export * as Bounds from "./Bounds.ts"

/**
 * Keeps model calls within a `Budget` of calls, tokens, money and time. What a
 * call may take at most is reserved before it is sent, and settled with what it
 * took; so any number of calls at once stay within the budget together.
 *
 * @since 0.1.0
 */
export * as BudgetPolicy from "./BudgetPolicy.ts"

/**
 * A `Cassette` records what a model answers, in a file, and plays it back, so
 * that tests, examples and CI run the whole program without a key, a network or
 * a bill, and get the same every time.
 *
 * The file is JSON lines, one for each recorded call: the model, the request,
 * their hash, which of several equal requests it was (`n`, from 0), and the
 * deltas of the answer in the chunks they came in. It is meant to be read,
 * reviewed and kept with the code.
 *
 * @since 0.1.0
 */
export * as Cassette from "./Cassette.ts"

/**
 * Leaves a model alone that fails most of its calls: a policy.
 *
 * @since 0.1.0
 */
export * as CircuitBreaker from "./CircuitBreaker.ts"

/**
 * The `claude` command line as a language model: a program that is logged in as
 * its user, run once for each call in a folder of your choice.
 *
 * It is a model for programs that run where somebody has `claude` at hand but
 * no API key, or that want what it can do with the files of a folder. It takes
 * text and gives text: sampling settings, tools of ours, images and response
 * formats it does not know.
 *
 * @since 0.1.0
 */
export * as ClaudeCli from "./ClaudeCli.ts"

/**
 * A stand-in for a language model, so that programs run where there is none:
 * in documentation, in demos, without a key or a network. **It is not a
 * language model.** It has no weights and knows nothing of the world; it learns
 * from the prompt of each call, and from nothing else.
 *
 * What it does with a prompt:
 *
 * - Permitted values (literals, booleans) are ranked by the likeness of the
 *   input to the demonstrations, by what the instructions state about each
 *   value (`citrus: sour, peel`; `if it freezes, risk is high`), and by the
 *   words of the value's own name. Better demonstrations and instructions give
 *   better answers, wrong ones mislead it.
 * - Texts and numbers are taken from the input: the span that answers a
 *   question, the sentence that says most, the number that fits; `a + b` is
 *   calculated. Reasoning names the evidence that decided.
 * - Asked to write instructions, it states the rules that the examples in its
 *   prompt bear out, with counts.
 *
 * It reads the prompts of `ChatAdapter` and `JsonAdapter`, and conversations
 * with a JSON Schema as response format. To anything else it answers with
 * {@link notice}. The same request always gets the same answer.
 *
 * @since 0.1.0
 */
export * as Embedded from "./Embedded.ts"

/**
 * Asks another model when one fails: a policy.
 *
 * @since 0.1.0
 */
export * as Fallback from "./Fallback.ts"

/**
 * Gemini, through Google's generateContent API
 * (`POST /v1beta/models/<model>:generateContent`).
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
export * as Gemini from "./Gemini.ts"

/**
 * A model in a GGUF file, run inside of this process by llama.cpp: no server, no
 * key, no network.
 *
 * It needs the package `node-llama-cpp` and its binary for the machine, which
 * are loaded when the first model is made. Nothing is downloaded or compiled:
 * where there is no binary, that is an error.
 *
 * It takes text and gives text, or JSON that a grammar keeps to its schema. For
 * tools and images run llama.cpp's server, and `OpenAiCompatible` with the
 * dialect `llamacpp`.
 *
 * @since 0.1.0
 */
export * as LlamaCpp from "./LlamaCpp.ts"

/**
 * Ends streams in which a model says the same over and over: a policy.
 *
 * @since 0.1.0
 */
export * as LoopGuard from "./LoopGuard.ts"

/**
 * Models by the names that users of LiteLLM and DSPy write: `openai/gpt-4o-mini`,
 * `ollama_chat/llama3.2`, `anthropic/claude-haiku-4-5`. What is before the first
 * `/` is the provider, the rest is the name that it knows the model by. Keys and
 * addresses come from the configuration of the program.
 *
 * @since 0.1.0
 */
export * as ModelString from "./ModelString.ts"

/**
 * Any server that speaks OpenAI's chat completions (`POST /v1/chat/completions`):
 * OpenAI itself, Azure, Ollama, vLLM, llama.cpp, LiteLLM, OpenRouter, Groq,
 * Mistral, DeepSeek, xAI, Together, Fireworks, Cerebras and others; and the
 * embeddings of those that have them.
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
export * as OpenAiCompatible from "./OpenAiCompatible.ts"

/**
 * Fine-tuning by OpenAI's API (`POST /v1/files`, `POST /v1/fine_tuning/jobs`), and
 * by servers that speak it.
 *
 * @since 0.1.0
 */
export * as OpenAiFinetuning from "./OpenAiFinetuning.ts"

/**
 * All policies in the order in which they belong.
 *
 * @since 0.1.0
 */
export * as Policies from "./Policies.ts"

/**
 * What models cost. `Prices` is a table that the context holds, so that one
 * Layer replaces or extends it for every policy; a model that is not in it has
 * an unknown cost, which is never taken for 0.
 *
 * @since 0.1.0
 */
export * as Prices from "./Prices.ts"

/**
 * A `Sandbox` that runs JavaScript in QuickJS, which is compiled to WebAssembly
 * and runs in a worker thread of its own. It needs the package `quickjs-wasi`.
 *
 * Code finds the language and nothing else: no files, no network, no modules, no
 * timers, no environment. What it may use of time, stack and memory is limited,
 * and only JSON text crosses the border. Sessions share nothing.
 *
 * **It is not a virtual machine.** It keeps mistakes and mischief of code that a
 * model has written away from the program: an error in the engine would first
 * have to be turned into one of WebAssembly. It runs in the process of the
 * program though, and takes its processor time. For tenants who are out to do
 * harm give each one a process or machine with rights of its own as well.
 *
 * @since 0.1.0
 */
export * as QuickJsSandbox from "./QuickJsSandbox.ts"

/**
 * Keeps calls within what a provider allows, by letting them wait: a policy.
 *
 * @since 0.1.0
 */
export * as RateLimit from "./RateLimit.ts"

/**
 * A `ResponseCache` in Redis, which machines can share. It needs the package
 * `redis` and a server of version 6.2 or later.
 *
 * How much is kept is for the server to say: give it `maxmemory` and the policy
 * `allkeys-lru`, or set a time to live.
 *
 * @since 0.1.0
 */
export * as RedisResponseCache from "./RedisResponseCache.ts"

/**
 * A `ResponseCache` remembers what a model answered, so that the same request
 * is paid for once. It is a policy; apply it last, so that it is the outermost:
 * an answer it knows needs no permit, no budget and no connection.
 *
 * - Two requests are the same if they are equal in everything that could change
 *   the answer: messages, settings, tools and response format, asked of the
 *   same model at the same place. What a provider keeps to itself, such as its
 *   key, is no part of it.
 * - The temperature is one of the settings and no more: a request that is
 *   repeated gets the answer it had. Whoever wants another sample names it, by
 *   `settings.rollout` or `Module.withRollout`.
 * - Remembered are answers that the model ended by itself (`stop`,
 *   `toolCalls`). One that was cut off, filtered or refused, that ended for no
 *   known reason, failed or was left is asked for again.
 * - Every entry is checked when it is read. One that was damaged, exchanged or
 *   written by another version is a miss, never an answer.
 * - A store that fails never fails a call: the model is asked, and the first
 *   failure of a row is logged.
 *
 * A hit is counted in the metric `effect_dspy_response_cache_hits`, a miss in
 * `effect_dspy_response_cache_misses`; both are events of the current span.
 *
 * @since 0.1.0
 */
export * as ResponseCache from "./ResponseCache.ts"

/**
 * Sends a failed call again when that may help: a policy.
 *
 * @since 0.1.0
 */
export * as Retry from "./Retry.ts"

/**
 * A `Downloader` for addresses that users or models name. It asks the open
 * internet only, and never for long or for much. Node only.
 *
 * - `https:` at its own port; no user or password in the address, no cookies.
 * - No private, local or reserved address: written as such in any spelling, or
 *   what a name resolves to. A name is resolved when the connection is made, so
 *   that it cannot stand for something else between the check and the question.
 * - Up to three redirects, each checked like the first address.
 * - So many bytes as its caller allows (20 MiB if nothing is said), in 10 seconds.
 *
 * What comes is not believed to be what it is called: `Image`, `Audio` and
 * `Document` look at the bytes.
 *
 * @since 0.1.0
 */
export * as SafeDownloader from "./SafeDownloader.ts"

/**
 * Sends equal requests once when they come at the same time: a policy.
 *
 * @since 0.1.0
 */
export * as SingleFlight from "./SingleFlight.ts"

/**
 * A `Retriever` over documents in one SQLite file, which lasts, grows and may
 * be shared by processes. It needs the package `libsql`, whose vector functions
 * do the comparing.
 *
 * The search is exact: it reads every vector, in the order of 3 milliseconds
 * for a thousand of 384 dimensions, and lets other fibers run meanwhile. For
 * some hundred thousand documents that is fine; for millions take a database
 * with an approximate index, and `Retriever.make`.
 *
 * @since 0.1.0
 */
export * as SqliteRetriever from "./SqliteRetriever.ts"

/**
 * Programs that run beside this one and talk to it over their standard input and
 * output: servers of tools, and tools in other languages.
 *
 * @since 0.1.0
 */
export * as Subprocess from "./Subprocess.ts"

/**
 * What OpenTelemetry is told of calls to models, beyond the spans that are there
 * anyway: how streams arrive, and, for those who ask for it, what was said. The
 * names are those of its conventions for generative AI.
 *
 * Nothing here exports: that is what `@effect/opentelemetry` is for. Tokens,
 * durations and cost are metrics of `UsageLedger`.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/gen-ai/
 *
 * @since 0.1.0
 */
export * as Telemetry from "./Telemetry.ts"

/**
 * Ends calls that take too long: a policy.
 *
 * @since 0.1.0
 */
export * as Timeouts from "./Timeouts.ts"

/**
 * A `UsageLedger` counts what was spent on models: every call that was sent,
 * once, however it ended. It adds up by model and predictor, so that it does not
 * grow with the number of calls, and remembers the latest ones in full.
 *
 * It also feeds Effect's metrics, by the names of OpenTelemetry's conventions
 * for generative AI: `gen_ai.client.token.usage`,
 * `gen_ai.client.operation.duration`, and `effect_dspy_cost`, which has no
 * convention yet.
 *
 * @since 0.1.0
 */
export * as UsageLedger from "./UsageLedger.ts"
