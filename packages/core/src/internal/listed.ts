/**
 * Lists in messages: what is wrong with a long answer or a large file may be
 * more than anybody reads, a model or a log.
 */

const most = 20

/** The first items in words, and how many more there are. */
export const listed = <A>(items: ReadonlyArray<A>, text: (item: A) => string): ReadonlyArray<string> => {
  const more = items.length - most
  return more > 0 ? [...items.slice(0, most).map(text), `and ${more} more`] : items.map(text)
}

/** A text that may quote a value of whatever length. */
export const cut = (text: string): string => text.length > 200 ? `${text.slice(0, 200)}…` : text
