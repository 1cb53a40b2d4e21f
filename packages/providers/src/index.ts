/**
 * Any server that speaks OpenAI's chat completions (`POST /v1/chat/completions`):
 * OpenAI itself, Ollama, vLLM, llama.cpp, LiteLLM, OpenRouter, Groq and others.
 *
 * One call is one request. Retries, time limits, caching and budgets are
 * policies, applied to the Layer.
 *
 * @since 0.1.0
 */
export * as OpenAiCompatible from "./OpenAiCompatible.ts"
