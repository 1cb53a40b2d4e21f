/**
 * Field names.
 */

/**
 * Whether a text is usable as a field name: letters, digits and `_`, not starting with a digit.
 */
export const isName = (text: string): boolean => /^[\p{L}_][\p{L}\p{N}_]*$/u.test(text) && text !== "__proto__"

/**
 * A name as a title: `isHTTPSSecure123` becomes `Is HTTPS Secure 123`.
 */
export const humanize = (name: string): string =>
  (name.match(/\p{Lu}+(?!\p{Ll})|\p{Lu}?[^\p{Lu}\p{N}_]+|\p{N}+/gu) ?? [name])
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(" ")
