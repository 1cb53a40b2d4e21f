/** Names by which code in a sandbox finds values and functions. */

const taken = new Set(
  ("submit console arguments await break case catch class const continue debugger default delete do else enum eval " +
    "export extends false finally for function if implements import in instanceof interface let new null package " +
    "private protected public return static super switch this throw true try typeof undefined NaN Infinity var void " +
    "while with yield globalThis __proto__").split(" ")
)

/** Why code could not find anything by this name, or nothing. */
export const problem = (name: string): string | undefined =>
  !/^[A-Za-z_$][A-Za-z0-9_$]*$/.test(name)
    ? `"${name}" is no name in JavaScript; use letters, digits and "_" only`
    : taken.has(name)
    ? `"${name}" has a meaning of its own in JavaScript or in the sandbox; use another name`
    : undefined
