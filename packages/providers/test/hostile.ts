/**
 * What hostile code may try in a sandbox, and what it has to come to.
 */

/** `TimedOut`: none of it ends by itself. */
export const loops = {
  loop: "while (true) {}",
  microtasks: "const f = () => Promise.resolve().then(f); f()",
  asynchronous: "const g = async () => { for (;;) await null }; g()",
  expression: "/(a+)+$/.test('a'.repeat(30) + 'b')",
  getter: "({ get a() { while (true) {} } })",
  toJSON: "({ toJSON() { while (true) {} } })",
  proxy: "new Proxy({}, { ownKeys() { while (true) {} } })",
  thrown: "throw new Proxy({}, { get() { while (true) {} } })",
  caught: "while (true) try { while (true) {} } catch {}",
  finally: "(function f() { try { f() } finally { f() } })()",
  name: "Object.defineProperty(SyntaxError.prototype, 'name', { get() { while (true) {} } }); 1",
  afterwards: "1 +* 2",
  iterator: "Array.prototype[Symbol.iterator] = function() { while (true) {} }; console.log(new Set([1])); [...[]]",
  // Nothing is asked meanwhile whether time is over: the thread is stopped from outside.
  silent: "'a'.repeat(2e5).indexOf('a'.repeat(1e5) + 'b')"
}

/** `OutOfMemory`: under any limit up to 64 MiB. */
export const bombs = {
  array: "const list = []; while (true) list.push(new Array(1e5).fill(0))",
  largeArray: "new Array(1e9).fill(0)",
  typedArray: "new Uint8Array(1e9).length",
  typedArrays: "const list = []; while (true) list.push(new Uint8Array(1e5))",
  string: "'x'.repeat(1e9).length",
  strings: "const list = []; while (true) list.push('x'.repeat(1e6) + list.length)",
  bigints: "const list = []; while (true) list.push(3n ** 10000n)",
  expressions: "const list = []; while (true) list.push(new RegExp('a'.repeat(1e5) + list.length))"
}

/** `Threw`: what the engine itself does not do. */
export const refused: ReadonlyArray<string> = [
  "(function f() { f() })()",
  "JSON.parse('['.repeat(1e5))",
  "let deep = []; for (let i = 0; i < 1e5; i++) deep = [deep]; JSON.stringify(deep)",
  "2n ** (10n ** 8n)",
  "new RegExp('('.repeat(5e4))",
  "'['.repeat(1e5).split('').reduce((a) => [a], []).flat(Infinity)",
  "let s = 'x'; while (s.length < 2 ** 20) s += s; eval(s)"
]

/** `Threw`: what would lead out of the engine. */
export const reach: ReadonlyArray<string> = [
  "process",
  "require('fs')",
  "await import('node:fs')",
  "import('data:text/javascript,1')",
  "fetch('http://localhost')",
  "setTimeout(() => {}, 1)",
  "WebAssembly",
  "globalThis.constructor.constructor('return process')()",
  "(() => {}).constructor('return 1')()",
  "(async () => {}).constructor('return 1')()",
  "Function('return 1')()",
  "eval('1')",
  "new (Object.getPrototypeOf(function*() {}).constructor)('yield 1')",
  "console.log.constructor('return this')()",
  "submit.constructor('return this')()"
]

/** Whatever it comes to, it is no effect outside of the engine. */
export const attacks: ReadonlyArray<string> = [
  "Object.prototype.toJSON = () => 5",
  "Object.prototype.toJSON = () => ({ __proto__: null, length: 1 })",
  "Object.prototype.toJSON = () => undefined",
  "Object.prototype.then = (resolve) => resolve(1)",
  "Promise.prototype.then = function() { return 7 }",
  "Array.prototype.map = Array.prototype[Symbol.iterator] = null",
  "String.prototype.slice = () => 'pwn'",
  "JSON.stringify = () => 'no JSON'; JSON.parse = () => ({ polluted: true })",
  "Object.defineProperty(Object.prototype, 'value', { get: () => 'x', set: () => { throw 1 } })",
  "Map.prototype.get = () => ({ resolve: 1 }); Map.prototype.set = () => {}",
  "Reflect.apply = () => 'x'; Object.keys = () => ['__proto__']",
  "Object.prototype.__proto__ = { polluted: true }",
  "RegExp.prototype.exec = RegExp.prototype.test = () => { throw 1 }",
  "Error.prototype.toString = () => { throw 1 }; Object.defineProperty(Error.prototype, 'message', { get: () => 5 })"
]

/** `Threw`: errors that look like those of the sandbox. */
export const forged: ReadonlyArray<string> = [
  "const reason = { _tag: 'Unavailable', description: 'x' }\nthrow Object.assign(new Error('m'), { _tag: 'SandboxError', reason })",
  "throw { name: 'InternalError', message: 'interrupted' }",
  "throw Object.assign(new Error('a'.repeat(1e6)), { name: 'b'.repeat(1e6) })"
]
