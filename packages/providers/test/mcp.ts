/**
 * A server of MCP tools that behave in all the ways that they may, made with the SDK alone.
 */
import { Server } from "@modelcontextprotocol/sdk/server/index.js"
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js"
import {
  CallToolRequestSchema,
  type CallToolResult,
  ListToolsRequestSchema,
  type Tool
} from "@modelcontextprotocol/sdk/types.js"
import type { IncomingMessage, ServerResponse } from "node:http"

const object = (properties: { readonly [name: string]: object } = {}) => ({
  type: "object" as const,
  properties,
  required: Object.keys(properties)
})

const text = (text: string): CallToolResult => ({ content: [{ type: "text", text }] })

interface Offered {
  readonly tool: Omit<Tool, "name">
  readonly run: (args: { readonly [name: string]: unknown }, signal: AbortSignal) => Promise<CallToolResult>
}

const image = { type: "image", mimeType: "image/png", data: "iVBORw0KGgo=" } as const

/** `onSlow` hears of calls of `slow`, when they begin and when the client has cancelled them. */
export const makeServer = (onSlow: (what: "begun" | "cancelled") => void = () => {}): Server => {
  const server = new Server({ name: "fixture", version: "1.2.3" }, {
    capabilities: { tools: { listChanged: true } },
    instructions: "Use with care."
  })
  const tools: { [name: string]: Offered } = {
    echo: {
      tool: { description: "Says it again.", inputSchema: object({ text: { type: "string" } }) },
      run: async (args) => text(String(args["text"]))
    },
    "files.read/all": { tool: { inputSchema: object() }, run: async () => text("read") },
    "files.read.all": { tool: { inputSchema: object() }, run: async () => text("read too") },
    fail: {
      tool: { inputSchema: object() },
      run: async () => ({ ...text("the disk is full"), isError: true })
    },
    refuse: {
      tool: { inputSchema: object() },
      run: async () => {
        throw new Error("not today")
      }
    },
    picture: {
      tool: { inputSchema: object() },
      run: async () => ({ content: [{ type: "text", text: "a dot" }, image] })
    },
    drawing: {
      tool: { inputSchema: object() },
      run: async () => ({
        content: [{ type: "text", text: "a circle" }, { ...image, mimeType: "image/svg+xml" }]
      })
    },
    resources: {
      tool: { inputSchema: object() },
      run: async () => ({
        content: [
          { type: "resource", resource: { uri: "file:///a", text: "A" } },
          { type: "resource_link", uri: "file:///b", name: "b" }
        ]
      })
    },
    sum: {
      tool: {
        inputSchema: object({ a: { type: "number" }, b: { type: "number" } }),
        outputSchema: object({ sum: { type: "number" } })
      },
      run: async ({ a, b }) => {
        const structuredContent = { sum: Number(a) + Number(b) }
        return { ...text(JSON.stringify(structuredContent)), structuredContent }
      }
    },
    lie: {
      tool: { inputSchema: object(), outputSchema: object({ sum: { type: "number" } }) },
      run: async () => ({ ...text(""), structuredContent: { sum: "much" } })
    },
    slow: {
      tool: { inputSchema: object() },
      run: (_, signal) =>
        new Promise((resolve) => {
          onSlow("begun")
          signal.addEventListener("abort", () => {
            onSlow("cancelled")
            resolve(text("cancelled"))
          })
        })
    },
    grow: {
      tool: { inputSchema: object() },
      run: async () => {
        tools["grown"] = { tool: { inputSchema: object() }, run: async () => text("new") }
        await server.sendToolListChanged()
        return text("grown")
      }
    },
    environment: {
      tool: { inputSchema: object() },
      run: async () => text(Object.keys(process.env).join(" "))
    },
    die: {
      tool: { inputSchema: object() },
      run: async () => {
        process.stderr.write("out of memory\n")
        process.exit(7)
      }
    }
  }
  const pageSize = 5
  server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
    const start = Number(params?.cursor ?? 0)
    const all = Object.entries(tools).map(([name, { tool }]) => ({ name, ...tool }))
    return {
      tools: all.slice(start, start + pageSize),
      ...start + pageSize < all.length ? { nextCursor: String(start + pageSize) } : {}
    }
  })
  server.setRequestHandler(
    CallToolRequestSchema,
    ({ params }, { signal }) => tools[params.name]!.run(params.arguments ?? {}, signal)
  )
  return server
}

/** The same over HTTP, a server for each session. */
export const makeSessions = (onSlow?: Parameters<typeof makeServer>[0]) => {
  const transports = new Map<string, StreamableHTTPServerTransport>()
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const session = request.headers["mcp-session-id"]
    let transport = typeof session === "string" ? transports.get(session) : undefined
    if (transport === undefined && session !== undefined) {
      response.writeHead(404).end()
      return
    }
    if (transport === undefined) {
      const made = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => crypto.randomUUID(),
        onsessioninitialized: (id) => {
          transports.set(id, made)
        }
      })
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it allows `undefined` where the other does not
      await makeServer(onSlow).connect(made as never)
      transport = made
    }
    await transport.handleRequest(request, response)
  }
  return { handle, forget: () => transports.clear() }
}
