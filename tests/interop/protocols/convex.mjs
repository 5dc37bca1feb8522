// Convex's own clients before a stub of its backend, which speaks as much of the protocols as they need.

import { once } from "node:events"
import { createServer } from "node:http"
import { ConvexClient, ConvexHttpClient } from "convex/browser"
import { anyApi } from "convex/server"
import { WebSocketServer } from "ws"
import { given, run, until } from "./cases.mjs"

const NOTES = [{ title: "Grüße ☃", size: 3n }]
const WIRE = [{ title: "Grüße ☃", size: { $integer: "AwAAAAAAAAA=" } }] // an int64 as Convex writes it

// What the stub was asked, by path; and what came over each sync socket.
const asked = []
const syncs = []
const server = createServer(async (request, response) => {
  let body = ""
  for await (const piece of request) body += piece
  asked.push({ url: request.url, headers: request.headers, body: body && JSON.parse(body) })
  const answer = { status: "success", value: WIRE, logLines: [] }
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer))
})
const sockets = new WebSocketServer({ server })
sockets.on("connection", (socket, request) => {
  const sync = { url: request.url, headers: request.headers, told: [], authenticated: [] }
  syncs.push(sync)
  serve(socket, sync)
})
await once(server.listen(given.port, "127.0.0.1"), "listening")

/** One sync socket: each change of the query set or of the identity is answered with a transition. */
function serve(socket, sync) {
  let version = { querySet: 0, identity: 0, ts: timestamp(0) }
  let clock = 0
  const send = message => socket.send(JSON.stringify(message))
  const advance = (change, modifications = []) => {
    const next = { ...version, ...change, ts: timestamp(++clock) }
    send({ type: "Transition", startVersion: version, endVersion: next, modifications })
    version = next
  }
  socket.on("message", data => {
    const message = JSON.parse(data)
    sync.told.push(message.type)
    if (message.type === "Authenticate") {
      sync.authenticated.push(message)
      advance({ identity: message.baseVersion + 1 })
    } else if (message.type === "ModifyQuerySet") {
      const added = message.modifications.filter(one => one.type === "Add")
      const empty = { value: WIRE, logLines: [], journal: null }
      const updates = added.map(one => ({ type: "QueryUpdated", queryId: one.queryId, ...empty }))
      advance({ querySet: message.newVersion }, updates)
    } else if (message.type === "Mutation") {
      const done = { requestId: message.requestId, success: true, result: "written", logLines: [] }
      send({ type: "MutationResponse", ...done, ts: timestamp(clock + 1) })
      advance({})
    } else if (message.type === "Action") {
      const { requestId } = message
      send({ type: "ActionResponse", requestId, success: true, result: "acted", logLines: [] })
    }
  })
}

/** A timestamp as the wire has it: 8 bytes, the lowest first, base64. */
function timestamp(number) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(number))
  return bytes.toString("base64")
}

const plain = value => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part))
const equal = (a, b) => ({ held: plain(a) === plain(b), seen: plain(a) })
const quiet = { skipConvexDeploymentUrlCheck: true, logger: false }

/** A client over HTTP with this token, or with none. */
function over(token) {
  const client = new ConvexHttpClient(given.url, quiet)
  if (token) client.setAuth(token)
  return client
}

/** What an attempt is refused with, and whether the stub heard of it. */
async function refused(token) {
  const before = asked.length
  const error = await over(token)
    .query(anyApi.notes.list, {})
    .then(String, error => error.message)
  return [JSON.parse(error).status, JSON.parse(error).reason, asked.length - before]
}

const client = new ConvexClient(given.url, quiet)
await run({
  async "ConvexHttpClient: a query, a mutation and an action, as whom the token says"() {
    const client = over(given.token)
    const answers = [
      await client.query(anyApi.notes.list, { tag: "red" }),
      await client.mutation(anyApi.notes.write, { title: "Grüße ☃" }),
      await client.action(anyApi.notes.send, {}),
    ]
    const got = asked.map(({ url, body, headers }) => [
      url,
      body.path,
      headers["x-clerk-subject"],
      headers["x-clerk-email"],
    ])
    const whom = [given.user, "ada%40example.com"]
    const expected = [
      ["/api/query", "notes:list", ...whom],
      ["/api/mutation", "notes:write", ...whom],
      ["/api/action", "notes:send", ...whom],
    ]
    return equal([answers, got], [[NOTES, NOTES, NOTES], expected])
  },
  async "ConvexHttpClient: the backend gets the token too, which it verifies itself"() {
    return equal(
      asked.map(({ headers }) => headers.authorization === `Bearer ${given.token}`),
      [true, true, true],
    )
  },
  async "ConvexHttpClient: a token for another audience is refused"() {
    return equal(await refused(given.elsewhere), [401, "token-verification-failed", 0])
  },
  async "ConvexHttpClient: without setAuth it is refused"() {
    return equal(await refused(), [401, "dev-browser-missing", 0])
  },
  async "ConvexClient: the token comes inside the socket, whose path is a public route"() {
    client.setAuth(async () => given.token)
    const values = []
    client.onUpdate(anyApi.notes.list, {}, value => values.push(value))
    await until(() => values.length)
    const [sync] = syncs
    const { tokenType, value } = sync?.authenticated[0] ?? {}
    const told = [values[0], /^\/api\/[0-9.]+\/sync$/.test(sync?.url), tokenType, value === given.token]
    return equal(told, [NOTES, true, "User", true])
  },
  async "ConvexClient: to the proxy it is nobody, and the backend is told so"() {
    const { headers } = syncs[0]
    return equal(
      [headers["x-clerk-principal"], headers["x-clerk-subject"], headers.authorization ?? null],
      ["anonymous", "", null],
    )
  },
  async "ConvexClient: mutations and actions over the same socket"() {
    const answers = [await client.mutation(anyApi.notes.write, {}), await client.action(anyApi.notes.send, {})]
    return equal([answers, syncs.length], [["written", "acted"], 1])
  },
  async "ConvexClient: closes, and the backend sees it"() {
    await client.close()
    await until(() => sockets.clients.size === 0)
    return equal(sockets.clients.size, 0)
  },
  async "the rest of the API stays closed: a sync path of another depth wants a token"() {
    const statuses = []
    for (const path of ["/api/sync", "/api/1.48.0/sync/more", "/api/1.48.0/synchronise", "/api/1/2/sync"]) {
      statuses.push((await fetch(given.url + path)).status)
    }
    return equal(statuses, [401, 401, 401, 401])
  },
})
