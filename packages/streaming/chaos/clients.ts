/**
 * Clients of a server in a process of their own: well-behaved ones, and others. The scenarios say what they do by its name.
 */
import { type ChildProcess, fork } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as Net from "node:net"
import { deflateRawSync } from "node:zlib"
import { now } from "../../providers/chaos/Scenario.ts"
import { frame, head, upgrade } from "../test/serving.ts"

// =============================================================================
// One connection
// =============================================================================

interface Peer {
  readonly socket: Net.Socket
  readonly send: (message: object) => void
  /** Resolves to the code it was closed with; `undefined` where there was none. */
  readonly closed: Promise<number | undefined>
}

interface Message {
  readonly type: string
  readonly id?: string
  readonly events?: ReadonlyArray<{ readonly _tag: string }>
  readonly n?: number
}

const pong = frame("", { opcode: 10 })

const open = (port: number, onMessage: (message: Message, peer: Peer) => void = () => {}, answersPings = true) =>
  new Promise<Peer>((resolve) => {
    const socket = Net.connect(port, "127.0.0.1", () => socket.write(head("GET /ws", upgrade)))
    let rest = Buffer.alloc(0)
    let isOpen = false
    let code: number | undefined
    const peer: Peer = {
      socket,
      send: (message) => void socket.write(frame(JSON.stringify(message))),
      closed: new Promise((resolve) => socket.on("close", () => resolve(code)))
    }
    socket.on("error", () => {})
    socket.on("data", (bytes) => {
      rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
      if (!isOpen) {
        const end = rest.indexOf("\r\n\r\n")
        if (end < 0) return
        rest = rest.subarray(end + 4)
        isOpen = true
        resolve(peer)
      }
      while (rest.length >= 2) {
        const short = rest[1]! & 127
        const size = short === 126 ? 4 : short === 127 ? 10 : 2
        if (rest.length < size) return
        const length = short === 126
          ? rest.readUInt16BE(2)
          : short === 127
          ? Number(rest.readBigUInt64BE(2))
          : short
        if (rest.length < size + length) return
        const payload = rest.subarray(size, size + length)
        const opcode = rest[0]! & 15
        rest = rest.subarray(size + length)
        if (opcode === 9 && answersPings) socket.write(pong)
        if (opcode === 8) code = payload.readUInt16BE(0)
        if (opcode === 1) onMessage(JSON.parse(payload.toString()) as Message, peer) // the server writes nothing else
      }
    })
  })

const ask = (id: string) => ({ type: "stream", id, module: "answer", input: { question: "?" } })

// As many at a time as a server takes of one caller.
const many = <A>(n: number, one: (n: number) => Promise<A>): Promise<ReadonlyArray<A>> => {
  const results: Array<A> = []
  let next = 0
  const worker = async () => {
    for (let n_ = next++; n_ < n; n_ = next++) results.push(await one(n_))
  }
  return Promise.all(Array.from({ length: 20 }, worker)).then(() => results)
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

// =============================================================================
// What they do
// =============================================================================

const written = (socket: Net.Socket, bytes: Uint8Array) =>
  new Promise<void>((resolve) => {
    if (socket.destroyed) return resolve()
    socket.once("close", resolve)
    socket.write(bytes, () => {
      socket.off("close", resolve)
      resolve()
    })
  })

const part = new Uint8Array(65_536).fill(97)
const bomb = deflateRawSync(Buffer.alloc(8 * 1024 * 1024))

const attacks: ReadonlyArray<readonly [code: number, bytes: () => Iterable<Uint8Array>]> = [
  [1009, function*() {
    yield frame(part, { length: 90 * 1024 * 1024 })
    for (let n = 0; n < 64; n++) yield part
  }],
  [1009, function*() {
    for (let n = 0; n < 32; n++) yield frame(part, { opcode: n === 0 ? 1 : 0, fin: n === 31 })
  }],
  [1002, () => [frame(bomb, { rsv: 64 })]],
  [1007, () => [frame(new Uint8Array([0xc3, 0x28]))]],
  [1002, () => [frame("{}", { masked: false })]]
]

type Count = number

const acts = {
  /** Breaks the rules; gives how many were not told so by the right code. */
  attack: (port: number, n: number): Promise<Count> =>
    many(n, async (i) => {
      const [code, bytes] = attacks[i % attacks.length]!
      const peer = await open(port)
      for (const one of bytes()) await written(peer.socket, one)
      return (await peer.closed) === code
    }).then((told) => told.filter((right) => !right).length),

  /** Says half of what it must, many at a time; gives how many are served afterwards, of one. */
  halves: async (port: number, n: number): Promise<Count> => {
    const sockets = await many(n, (i) =>
      new Promise<Net.Socket>((resolve) => {
        const socket = Net.connect(port, "127.0.0.1", () => {
          socket.write(head("GET /ws", upgrade).slice(0, 20 + (i % 100)))
          resolve(socket)
        })
        socket.on("error", () => resolve(socket))
      }))
    const served = await new Promise<number>((resolve) => {
      void open(port, (message, peer) => {
        if (message.type === "ready") peer.send(ask("a"))
        if (message.events?.some(({ _tag }) => _tag === "Result") === true) resolve(1)
      })
    })
    for (const socket of sockets) socket.destroy()
    return served
  },

  /** Sends empty frames, and nothing else; gives how many it has sent. */
  tiny: async (port: number, n: number): Promise<Count> => {
    const peer = await open(port)
    const pings = Buffer.concat(Array.from({ length: 10_000 }, () => frame("", { opcode: 9 })))
    for (let sent = 0; sent < n; sent += 10_000) await written(peer.socket, pings)
    peer.socket.destroy()
    return n
  },

  /** Asks for 8 streams on each connection, and reads none; gives how many connections were closed in the end. */
  deaf: (port: number, n: number): Promise<Count> =>
    Promise.all(Array.from({ length: n }, async () => {
      const peer = await open(port)
      peer.socket.pause()
      for (let i = 0; i < 8; i++) peer.send(ask(randomUUID()))
      // Only who writes notices that a connection is gone, while it does not read.
      const timer = setInterval(() => peer.socket.write(pong), 200)
      await peer.closed
      clearInterval(timer)
    })).then(({ length }) => length),

  /** Asks for 8 streams on each connection, and breaks it; gives when. */
  vanish: async (port: number, n: number): Promise<ReadonlyArray<number>> => {
    const times: Array<number> = []
    for (let i = 0; i < n; i++) {
      const begun = new Set<string | undefined>()
      const peer = await open(port, ({ id, type }) => void (type === "events" && begun.add(id)))
      for (let j = 0; j < 8; j++) peer.send(ask(randomUUID()))
      while (begun.size < 8) await pause(5)
      times.push(now())
      peer.socket.resetAndDestroy()
      await pause(400)
    }
    return times
  },

  /** Asks for an answer on each connection, and never says anything again; gives after how many milliseconds each was closed. */
  mute: (port: number, n: number): Promise<ReadonlyArray<number>> =>
    Promise.all(Array.from({ length: n }, async () => {
      const peer = await open(port, () => {}, false)
      const begun = now()
      peer.send({ ...ask(randomUUID()), type: "query" })
      await peer.closed
      return now() - begun
    })),

  /**
   * 8 streams on each connection, until each has ended; those that the server ends are asked for again at another one.
   * Gives how many ended how.
   */
  ask: async (port: number, n: number, other: number) => {
    const counts = { answered: 0, refused: 0, again: 0, lost: 0 }
    const round = async (port: number, ids: ReadonlyArray<string>, onEnd: (answered: boolean) => void) => {
      const left = new Set(ids)
      const again: Array<string> = []
      await new Promise<void>((resolve) => {
        const end = (id: string, answered: boolean, peer: Peer) => {
          if (!left.delete(id)) return
          onEnd(answered)
          if (!answered) again.push(id)
          if (left.size === 0) peer.socket.end()
        }
        void open(port, (message, peer) => {
          if (message.type === "ready") { for (const id of ids) peer.send(ask(id)) }
          if (message.id === undefined) return
          if (message.type === "failed") end(message.id, false, peer)
          const last = message.events?.at(-1)?._tag
          if (last === "Result" || last === "Failed") end(message.id, last === "Result", peer)
          else if (message.events !== undefined) {
            peer.send({ type: "ack", id: message.id, n: message.n! + message.events.length - 1 })
          }
        }).then(({ closed }) => closed.then(() => resolve()))
      })
      counts.lost += left.size
      return again
    }
    await Promise.all(Array.from({ length: n }, async () => {
      const ids = Array.from({ length: 8 }, () => randomUUID())
      const again = await round(port, ids, (answered) => void (answered ? counts.answered++ : counts.refused++))
      if (again.length > 0) await round(other, again, (answered) => void (answered ? counts.again++ : counts.lost++))
    }))
    return counts
  }
}

type Acts = typeof acts

/** Has clients in another process do something to the server at a port. */
export const act = <Name extends keyof Acts>(
  name: Name,
  ...args: Parameters<Acts[Name]>
): Promise<Awaited<ReturnType<Acts[Name]>>> =>
  new Promise((resolve, reject) => {
    const child: ChildProcess = fork(import.meta.filename, [name, ...args.map(String)], {
      execArgv: ["--import", "tsx"]
    })
    child.once("message", (result) => {
      resolve(result as Awaited<ReturnType<Acts[Name]>>) // our own process sends what the act gives
      child.kill()
    })
    child.once("exit", (code) => reject(new Error(`the clients ended with code ${code}`)))
  })

if (process.argv[1] === import.meta.filename) {
  const [, , name, ...args] = process.argv
  const does = acts[name as keyof Acts] as (...args: ReadonlyArray<number>) => Promise<unknown> // `act` names one of them
  process.send?.(await does(...args.map(Number)))
}
