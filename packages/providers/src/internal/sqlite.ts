/**
 * One SQLite file that processes share, by the synchronous driver `libsql`: who
 * may open it, what it says that it is, and how long its locks are waited for.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import type Libsql from "libsql"
import type * as NodeFs from "node:fs/promises"
import type * as NodeOs from "node:os"
import type * as NodePath from "node:path"
import { load } from "./load.ts"

/**
 * What a file is: `name` for people, `applicationId` in the header of the file,
 * at byte 68; and the statements that make its tables.
 */
export interface Kind {
  readonly name: string
  readonly applicationId: number
  readonly tables: string
}

/**
 * Why the file cannot be used; `code` is what the system or the driver calls it.
 */
export class Fault {
  readonly _tag = "Fault"
  readonly reason: "Missing" | "Unsafe" | "Foreign" | "Storage"
  readonly description: string
  readonly code: string

  constructor(reason: Fault["reason"], description: string, code = "") {
    this.reason = reason
    this.description = description
    this.code = code
  }
}

export const toFault = (file: string, cause: unknown): Fault =>
  cause instanceof Fault
    ? cause
    : new Fault(
      "Storage",
      `${file} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      codeOf(cause)
    )

export const codeOf = (cause: unknown): string => Predicate.hasProperty(cause, "code") ? String(cause.code) : ""

export const isDamage = ({ code }: Fault): boolean => /^SQLITE_(CORRUPT|NOTADB)/.test(code)

export const isBusy = (code: string): boolean => /^SQLITE_(BUSY|LOCKED)/.test(code)

// How long the driver itself waits for a lock, in milliseconds; it blocks the thread meanwhile.
const busyTimeout = 20

const patience = Schedule.spaced("10 millis").pipe(Schedule.jittered, Schedule.upTo("2 seconds"))

export const patiently = <A>(use: Effect.Effect<A, Fault>): Effect.Effect<A, Fault> =>
  Effect.retry(use, { schedule: patience, while: ({ code }) => isBusy(code) })

export interface Node {
  readonly Database: typeof Libsql
  readonly fs: typeof NodeFs
  readonly os: typeof NodeOs
  readonly path: typeof NodePath
}

export const loadNode: Effect.Effect<Node, Fault> = Effect.tryPromise({
  try: async () => {
    const [libsql, fs, os, path] = await Promise.all([
      load<{ readonly default: typeof Libsql }>("libsql"),
      load<typeof NodeFs>("node:fs/promises"),
      load<typeof NodeOs>("node:os"),
      load<typeof NodePath>("node:path")
    ])
    return { Database: libsql.default, fs, os, path }
  },
  catch: (cause) =>
    new Fault(
      "Missing",
      `libsql cannot be loaded; install it: npm install libsql (${
        cause instanceof Error ? cause.message.split("\n")[0] : String(cause)
      })`
    )
})

/** The file and those that the driver puts beside it. */
export const namesOf = (file: string): ReadonlyArray<string> => [file, `${file}-wal`, `${file}-shm`]

const magic = "SQLite format 3\0"

/** Makes sure that the file is there, and that nobody else can replace it. */
export const secure = async (node: Node, file: string, kind: Kind): Promise<void> => {
  const { fs, os, path } = node
  const folder = path.dirname(file)
  await fs.mkdir(folder, { recursive: true, mode: 0o700 })
  const posix = os.platform() !== "win32"
  const { mode } = await fs.stat(folder)
  const sticky = 0o1000
  if (posix && (mode & 0o002) !== 0 && (mode & sticky) === 0) {
    throw new Fault("Unsafe", `anyone can replace files in ${folder}; choose another folder, or: chmod o-w ${folder}`)
  }
  try {
    await (await fs.open(file, "wx", 0o600)).close()
  } catch (cause) {
    if (codeOf(cause) !== "EEXIST") throw cause
  }
  for (const stat of await statsOf(node, file)) {
    if (!stat.isFile()) {
      throw new Fault("Unsafe", `${stat.name} is no regular file but a link or the like; choose another path`)
    }
    if (posix && stat.uid !== os.userInfo().uid) {
      throw new Fault("Unsafe", `${stat.name} belongs to another user; choose another path`)
    }
  }
  // The driver takes any file of a few bytes for an empty database, and writes to it.
  const header = await headerOf(node, file)
  if (header.length > 0 && !header.toString("latin1").startsWith(magic)) throw foreign(file, kind)
}

/** Keeps a file that is known to be ours from the eyes of others. */
export const restrict = async (node: Node, file: string): Promise<void> => {
  const open = (await statsOf(node, file)).filter(({ mode }) => (mode & 0o077) !== 0)
  await Promise.all(open.map(({ name }) => node.fs.chmod(name, 0o600)))
}

const statsOf = async ({ fs }: Node, file: string) => {
  const stats = await Promise.all(
    namesOf(file).map(async (name) => {
      const stat = await fs.lstat(name).catch(() => undefined)
      return stat === undefined ? [] : [Object.assign(stat, { name })]
    })
  )
  return stats.flat()
}

export const foreign = (file: string, kind: Kind): Fault =>
  new Fault(
    "Foreign",
    `${file} is no ${kind.name}, or cannot be recognised as one any more; choose another path, or delete it`
  )

export const headerOf = async ({ fs }: Node, file: string): Promise<Buffer> => {
  const handle = await fs.open(file, "r")
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(100), 0, 100, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/**
 * Makes the tables unless they are there, and hands the connection on; it is
 * closed if that fails.
 */
export const prepared = <A>(
  db: Libsql.Database,
  file: string,
  kind: Kind,
  use: (db: Libsql.Database) => A
): A => {
  try {
    initialise(db, file, kind)
    return use(db)
  } catch (cause) {
    db.close()
    throw cause
  }
}

const initialise = (db: Libsql.Database, file: string, kind: Kind): void => {
  const number = (sql: string, column: string): number => {
    const row = db.prepare(sql).get()
    return Predicate.hasProperty(row, column) ? Number(row[column]) : 0
  }
  const known = () => number("PRAGMA application_id", "application_id") === kind.applicationId
  const refuseForeign = () => {
    if (number("SELECT count(*) AS n FROM sqlite_master", "n") > 0) throw foreign(file, kind)
  }
  db.exec(`PRAGMA busy_timeout = ${busyTimeout}`) // first: the others may need a lock
  const fresh = !known()
  if (fresh) refuseForeign()
  db.exec("PRAGMA journal_mode = WAL")
  db.exec("PRAGMA synchronous = NORMAL")
  if (fresh) {
    transaction(db, () => {
      if (known()) return // another process was faster
      refuseForeign()
      db.exec(kind.tables)
      db.exec(`PRAGMA application_id = ${kind.applicationId}`)
    })
    // So that the file itself says what it is, whatever becomes of its log.
    db.exec("PRAGMA wal_checkpoint(PASSIVE)")
  }
}

/** All of it or nothing. */
export const transaction = (db: Libsql.Database, run: () => void): void => {
  db.exec("BEGIN IMMEDIATE")
  try {
    run()
    db.exec("COMMIT")
  } catch (cause) {
    // It may have been rolled back already; the first failure is the one to report.
    if (db.inTransaction) db.exec("ROLLBACK")
    throw cause
  }
}
