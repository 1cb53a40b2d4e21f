/**
 * Texts under keys in one SQLite file that processes share, by the synchronous
 * driver `libsql`: where a response cache on disk is kept.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type Libsql from "libsql"
import {
  codeOf,
  type Fault,
  foreign,
  headerOf,
  isBusy,
  isDamage,
  type Kind,
  loadNode,
  namesOf,
  type Node,
  patiently,
  prepared,
  restrict,
  secure,
  toFault,
  transaction
} from "./sqlite.ts"

/**
 * An open file. Operations wait for the locks of other processes, and repair a
 * file that turns out to be damaged by beginning it anew.
 */
export interface File {
  readonly get: (key: string) => Effect.Effect<Option.Option<string>, Fault>
  readonly set: (key: string, value: string, expires: number | undefined) => Effect.Effect<void, Fault>
  readonly remove: (key: string) => Effect.Effect<void, Fault>
  readonly clear: Effect.Effect<void, Fault>
  readonly size: Effect.Effect<{ readonly entries: number; readonly bytes: number }, Fault>
}

/**
 * Opens the file, or makes it; it is closed with the scope.
 */
export const open = (path: string, maxBytes: number): Effect.Effect<File, Fault, Scope.Scope> =>
  Effect.gen(function*() {
    const node = yield* loadNode
    const file = node.path.resolve(path)
    const fault = (cause: unknown) => toFault(file, cause)
    const disk = <A>(use: () => Promise<A>) => Effect.tryPromise({ try: use, catch: fault })
    const attempt = <A>(use: () => A) => Effect.try({ try: use, catch: fault })

    const inode = disk(async () => (await node.fs.stat(file)).ino)
    const secured = disk(() => secure(node, file, kind))
    const connection = patiently(
      attempt(() => prepared(new node.Database(file), file, kind, (db) => connect(db, maxBytes)))
    )

    // Unless another process has done it by now.
    const beginAnew = (damaged: number): Effect.Effect<void, Fault> =>
      Effect.flatMap(inode, (now) =>
        now === damaged
          ? Effect.zipRight(
            Effect.logWarning(`ResponseCache: ${file} was damaged and is begun anew`),
            disk(() => discard(node, file))
          )
          : Effect.void)

    const connected: Effect.Effect<Connected, Fault> = Effect.gen(function*() {
      yield* secured
      const found = yield* inode
      const opened = yield* Effect.catchIf(
        connection,
        isDamage,
        () => Effect.zipRight(beginAnew(found), Effect.zipRight(secured, connection))
      )
      yield* disk(() => restrict(node, file))
      return { ...opened, inode: yield* inode }
    })

    const held = yield* Effect.uninterruptibleMask((restore) =>
      Effect.tap(
        Effect.map(restore(connected), (current) => ({ current })),
        (held) => Effect.addFinalizer(() => Effect.sync(() => held.current.close()))
      )
    )
    const repairing = yield* Effect.makeSemaphore(1)

    // Several fibers may notice the same damage; the first one repairs it.
    const repair = (damaged: Connected): Effect.Effect<void, Fault> =>
      repairing.withPermits(1)(Effect.uninterruptible(Effect.gen(function*() {
        if (held.current !== damaged) return
        yield* Effect.option(beginAnew(damaged.inode)) // it may have been deleted already
        held.current = yield* connected
        damaged.close()
      })))

    const use = <A>(f: (connection: Connection, now: number) => A): Effect.Effect<A, Fault> => {
      const once = patiently(
        Effect.flatMap(Clock.currentTimeMillis, (now) => attempt(() => f(held.current, now)))
      )
      return Effect.suspend(() => {
        const before = held.current
        return Effect.catchIf(once, isDamage, () => Effect.zipRight(repair(before), once))
      })
    }

    return {
      get: (key) => use((connection, now) => connection.get(key, now)),
      set: (key, value, expires) => use((connection, now) => connection.set(key, value, expires, now)),
      remove: (key) => use((connection) => connection.remove(key)),
      clear: use((connection) => connection.clear()),
      size: use((connection) => connection.size())
    }
  })

interface Connected extends Connection {
  readonly inode: number
}

// Deletes a damaged cache, and nothing that is not known to be one.
const discard = async (node: Node, file: string): Promise<void> => {
  const header = await headerOf(node, file)
  if (header.length < 100 || header.readUInt32BE(68) !== kind.applicationId) throw foreign(file, kind)
  await Promise.all(namesOf(file).map((name) => node.fs.rm(name, { force: true })))
}

// =============================================================================
// The database
// =============================================================================

const utf8 = new TextEncoder()
const text = new TextDecoder()

interface Connection {
  readonly get: (key: string, now: number) => Option.Option<string>
  readonly set: (key: string, value: string, expires: number | undefined, now: number) => void
  readonly remove: (key: string) => void
  readonly clear: () => void
  readonly size: () => { readonly entries: number; readonly bytes: number }
  readonly close: () => void
}

// Totals are kept by triggers: counting would read the whole file.
const kind: Kind = {
  name: "response cache",
  applicationId: 0x65647370,
  tables: `
  CREATE TABLE entries (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL, expires INTEGER
  );
  CREATE INDEX entries_used ON entries (used);
  CREATE INDEX entries_expires ON entries (expires) WHERE expires IS NOT NULL;
  CREATE TABLE total (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
  INSERT INTO total VALUES (0, 0);
  CREATE TRIGGER entries_insert AFTER INSERT ON entries BEGIN
    UPDATE total SET entries = entries + 1, bytes = bytes + new.bytes;
  END;
  CREATE TRIGGER entries_update AFTER UPDATE OF bytes ON entries BEGIN
    UPDATE total SET bytes = bytes + new.bytes - old.bytes;
  END;
  CREATE TRIGGER entries_delete AFTER DELETE ON entries BEGIN
    UPDATE total SET entries = entries - 1, bytes = bytes - old.bytes;
  END;
`
}

// An entry is marked as used at most so often, in milliseconds: a hit should not have to write.
const useInterval = 60_000

// What one write may forget at most, so that a bound that was lowered does not block the thread.
const maxEvictions = 256

const connect = (db: Libsql.Database, maxBytes: number): Connection => {
  // The driver ends the process on a text that is not UTF-8, as in a damaged file; so it is never given one.
  const select = db.prepare(
    "SELECT CAST(value AS BLOB) AS value, CAST(used AS INTEGER) AS used FROM entries WHERE key = ?"
  )
  const touch = db.prepare("UPDATE entries SET used = ? WHERE key = ?")
  const remove = db.prepare("DELETE FROM entries WHERE key = ?")
  const upsert = db.prepare(`
    INSERT INTO entries (key, value, bytes, used, expires) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE
    SET value = excluded.value, bytes = excluded.bytes, used = excluded.used, expires = excluded.expires
  `)
  const total = db.prepare("SELECT CAST(entries AS INTEGER) AS entries, CAST(bytes AS INTEGER) AS bytes FROM total")
  const removeExpired = db.prepare(
    `DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE expires <= ? LIMIT ${maxEvictions})`
  )
  const removeOldest = db.prepare(
    "DELETE FROM entries WHERE rowid = (SELECT rowid FROM entries ORDER BY used, rowid LIMIT 1)"
  )
  // The only row of that table, made with it.
  const size = () => total.get() as { readonly entries: number; readonly bytes: number }

  return {
    get: (key, now) => {
      const row = select.get(key) as { readonly value: Uint8Array | null; readonly used: number } | undefined
      if (row === undefined || row.value === null) return Option.none()
      if (Math.abs(now - row.used) > useInterval) {
        try {
          touch.run(now, key)
        } catch (cause) {
          // Another process writes; the mark can wait.
          if (!isBusy(codeOf(cause))) throw cause
        }
      }
      return Option.some(text.decode(row.value))
    },
    set: (key, value, expires, now) => {
      const bytes = key.length + utf8.encode(value).length
      if (bytes > maxBytes) return
      transaction(db, () => {
        removeExpired.run(now)
        upsert.run(key, value, bytes, now, expires ?? null)
        for (let n = 0; n < maxEvictions && size().bytes > maxBytes; n++) removeOldest.run()
      })
    },
    remove: (key) => {
      remove.run(key)
    },
    clear: () => {
      db.exec("DELETE FROM entries")
      // What was forgotten is to be gone from the disk, too.
      db.exec("VACUUM")
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    },
    size: () => {
      const { bytes, entries } = size()
      return { entries, bytes }
    },
    close: () => {
      db.close()
    }
  }
}
