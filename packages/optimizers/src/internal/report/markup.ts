/**
 * HTML in which nothing that comes from outside can be anything but text.
 */

/** HTML that was made by `markup`. */
export class Markup {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type Content = Markup | string | number | undefined | ReadonlyArray<Content>

const entities: { readonly [character: string]: string } = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;",
  // What no page may hold.
  "\0": "\uFFFD"
}

const print = (content: Content): string =>
  content === undefined
    ? ""
    : content instanceof Markup
    ? content.text
    : typeof content === "object"
    ? content.map(print).join("")
    : String(content).replaceAll(/[&<>"'\0]/g, (character) => entities[character] ?? character)

/** A template whose values are escaped, for text and for quoted attributes, unless they are markup themselves. */
export const markup = (parts: TemplateStringsArray, ...values: ReadonlyArray<Content>): Markup =>
  new Markup(parts.map((part, index) => part + print(values[index])).join(""))
