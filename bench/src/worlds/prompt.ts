/**
 * What a request asks for, read from its text alone: our chat adapter, DSPy's chat and JSON adapters, and prompts without
 * fields.
 */

export interface Message {
  readonly role: string
  readonly content: string
}

export interface Field {
  readonly name: string
  readonly type: string
}

/** The output fields that are asked for; none when the prompt does not list any. */
export const outputFields = (messages: ReadonlyArray<Message>): ReadonlyArray<Field> => {
  const system = messages.find(({ role }) => role === "system")?.content ?? ""
  const list = /output fields(?: are)?:\s*\n((?:[ \t]*(?:-|\d+\.)[ \t]*`[^\n]*(?:\n|$))+)/i.exec(system)?.[1] ?? ""
  return Array.from(
    list.matchAll(/(?:-|\d+\.)[ \t]*`([^`]+)`[ \t]*\(([^\n]*?)\)(?=:|[ \t]*(?:\n|$))/g),
    ([, name, type]) => ({ name: name!, type: type! }) // both groups always match
  )
}

/** Whether the answer is to be a JSON object rather than fields between markers. */
export const asksForJson = (messages: ReadonlyArray<Message>): boolean =>
  /JSON object/.test(messages.at(-1)?.content ?? "") || !messages.some(({ content }) => content.includes("[[ ## "))

/** Fields in the form that is asked for. */
export const write = (
  messages: ReadonlyArray<Message>,
  values: ReadonlyArray<readonly [name: string, value: unknown]>
): string => {
  if (asksForJson(messages)) return JSON.stringify(Object.fromEntries(values))
  const end = values.some(([name]) => name === "completed") ? "completed_" : "completed"
  return [
    ...values.map(([name, value]) =>
      `[[ ## ${name} ## ]]\n${typeof value === "string" ? value : JSON.stringify(value)}`
    ),
    `[[ ## ${end} ## ]]`
  ].join("\n\n")
}

/** The values of a text with many repeated parts, read once each. */
export const remembered = <A>(read: (text: string) => A): (text: string) => A => {
  const known = new Map<string, A>()
  return (text) => {
    let value = known.get(text)
    if (value === undefined) {
      if (known.size > 20_000) known.clear()
      value = read(text)
      known.set(text, value)
    }
    return value
  }
}
