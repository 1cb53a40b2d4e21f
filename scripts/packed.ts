/**
 * `pnpm packed`: packs every package and uses the tarballs as a stranger would. What is inside is checked with publint
 * and attw, then a project outside the workspace installs them, type-checks an import of every subpath and loads each
 * under plain Node.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

interface Manifest {
  readonly name: string
  readonly version: string
  readonly peerDependencies?: Readonly<Record<string, string>>
}

const root = path.dirname(import.meta.dirname)
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "effect-dspy-packed-"))
const consumer = path.join(temporary, "consumer")

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): string => {
  // Without NODE_PATH, or a dependency that is missing in a package could still be found in the workspace.
  const env = { ...process.env, NODE_PATH: undefined }
  const result = spawnSync(command, args, { cwd, env, encoding: "utf8", maxBuffer: 2 ** 26 })
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")}\n${result.stdout}${result.stderr}`)
  return result.stdout
}

const filesOf = (folder: string): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))

const write = (file: string, content: string | object): void =>
  fs.writeFileSync(
    path.join(consumer, file),
    typeof content === "string" ? content : JSON.stringify(content, undefined, 2)
  )

const pack = (name: string) => {
  const folder = path.join(root, "packages", name)
  const sources = filesOf(path.join(folder, "src")).map((file) => file.slice(0, -".ts".length))
  const packed: { readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> } = JSON.parse(
    run(folder, "pnpm", "pack", "--json", "--pack-destination", temporary)
  )
  const expected = new Set([
    "LICENSE",
    "README.md",
    "package.json",
    ...sources.flatMap((file) => [
      `src/${file}.ts`,
      ...["js", "js.map", "d.ts", "d.ts.map"].map((extension) => `dist/${file}.${extension}`)
    ])
  ])
  const actual = new Set(packed.files.map((file) => file.path))
  const missing = [...expected].filter((file) => !actual.has(file))
  const stray = [...actual].filter((file) => !expected.has(file) && file !== "CHANGELOG.md")
  if (missing.length + stray.length > 0) {
    throw new Error(`${name}: missing [${missing.join(", ")}], not expected [${stray.join(", ")}]; try: pnpm clean`)
  }
  const manifest: Manifest = JSON.parse(run(temporary, "tar", "-xzOf", packed.filename, "package/package.json"))
  const unresolved = /"(?:workspace|catalog|link|file):[^"]*"/.exec(JSON.stringify(manifest))
  if (unresolved !== null) throw new Error(`${name}: the packed package.json still says ${unresolved[0]}`)
  return {
    folder,
    manifest,
    tarball: packed.filename,
    modules: sources.filter((file) => !file.includes("/") && file !== "index"),
    internals: sources.filter((file) => file.startsWith("internal/"))
  }
}

try {
  fs.mkdirSync(consumer)
  run(root, "tsc", "-b", "tsconfig.packages.json")
  const packages = fs.readdirSync(path.join(root, "packages")).map(pack)
  console.log(`packed ${packages.map(({ manifest }) => `${manifest.name}@${manifest.version}`).join(", ")}`)

  for (const { modules, tarball } of packages) {
    const entrypoints = [".", ...modules.map((module) => `./${module}`)]
    run(temporary, "publint", "run", tarball, "--strict")
    run(temporary, "attw", tarball, "--profile", "esm-only", "--entrypoints", ...entrypoints)
  }
  console.log("publint and attw find nothing")

  const tarballs = Object.fromEntries(packages.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]))
  // The versions the workspace was tested with, so that a release of Effect cannot change this check.
  const peers: Record<string, string> = {}
  const addPeers = (folder: string, manifest: Manifest): void => {
    for (const peer of Object.keys(manifest.peerDependencies ?? {})) {
      const file = path.join(folder, "node_modules", peer, "package.json")
      // Optional peers of peers are not installed.
      if (peers[peer] !== undefined || !fs.existsSync(file)) continue
      const installed: Manifest = JSON.parse(fs.readFileSync(file, "utf8"))
      peers[peer] = installed.version
      addPeers(folder, installed)
    }
  }
  for (const { folder, manifest } of packages) addPeers(folder, manifest)
  const specifiers = packages.flatMap(({ manifest, modules }) => [
    manifest.name,
    ...modules.map((module) => `${manifest.name}/${module}`)
  ])
  const internals = packages.flatMap(({ internals, manifest }) => internals.map((file) => `${manifest.name}/${file}`))
  write("package.json", { name: "consumer", private: true, type: "module", dependencies: { ...tarballs, ...peers } })
  write(
    "pnpm-workspace.yaml",
    JSON.stringify({
      overrides: tarballs,
      autoInstallPeers: false,
      ignoreScripts: true,
      // 700 MB that are loaded only when a model is.
      ignoredOptionalDependencies: ["@node-llama-cpp/*"]
    })
  )
  write("imports.ts", specifiers.map((name, n) => `export * as m${n} from "${name}"\n`).join(""))
  write(
    "internals.ts",
    internals.map((name, n) => `// @ts-expect-error internal modules are private\nexport * as i${n} from "${name}"\n`)
      .join("")
  )
  write("probe.json", {
    peers: Object.keys(peers),
    packages: packages.map(({ manifest, modules }) => ({ name: manifest.name, modules })),
    internals
  })
  fs.copyFileSync(path.join(import.meta.dirname, "probe.mjs"), path.join(consumer, "probe.mjs"))
  run(consumer, "pnpm", "install", "--no-frozen-lockfile", "--prefer-offline")

  for (
    const compilerOptions of [
      { module: "NodeNext", exactOptionalPropertyTypes: true },
      { module: "ESNext", moduleResolution: "Bundler" }
    ]
  ) {
    write("tsconfig.json", {
      files: ["imports.ts", "internals.ts"],
      compilerOptions: {
        ...compilerOptions,
        target: "ES2022",
        strict: true,
        noEmit: true,
        skipLibCheck: false,
        types: []
      }
    })
    run(consumer, path.join(root, "node_modules", ".bin", "tsc"), "-p", ".")
  }
  console.log(
    `${specifiers.length} subpaths type-check under nodenext and bundler, ${internals.length} internal ones do not`
  )

  console.log(run(consumer, process.execPath, "--throw-deprecation", "probe.mjs").trimEnd())
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  fs.rmSync(temporary, { recursive: true, force: true })
}
