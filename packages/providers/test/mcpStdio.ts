/**
 * The server of `mcp.ts` as a program. It prints what does not belong there, as servers do, and writes to a file what
 * becomes of slow calls.
 */
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js"
import * as fs from "node:fs"
import { makeServer } from "./mcp.ts"

process.stdout.write("fixture is starting...\n{\"not\": \"a message\"}\n")
await makeServer((what) => {
  const file = process.env["CALLS"]
  if (file !== undefined) fs.appendFileSync(file, `${what}\n`)
}).connect(new StdioServerTransport())
