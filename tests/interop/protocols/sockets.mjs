// WebSockets of npm's `ws`, server and client, and of undici, which are a browser's.

import { createHash, randomBytes } from "node:crypto"
import { once } from "node:events"
import { createServer } from "node:http"
import { WebSocket as BrowserSocket } from "undici"
import WebSocket, { WebSocketServer } from "ws"
import { given, run, until } from "./cases.mjs"

const MANY = 10_000
const LARGE = 16 << 20
const CODES = [
  [1000, ""],
  [1000, "done"],
  [3001, "elsewhere"],
  [4001, "schluß ☃"],
]

// The backend: what it saw of each connection, by its path.
const seen = {}
let upgrades = 0
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true, maxPayload: 2 * LARGE, handleProtocols })
const server = createServer((_, answer) => answer.end("no socket"))
server.on("upgrade", (request, stream, head) => {
  upgrades += 1
  if (request.url === "/refused") {
    stream.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nx-why: full\r\nConnection: close\r\n\r\nno way")
    return
  }
  sockets.handleUpgrade(request, stream, head, socket => serve(request, socket))
})
await once(server.listen(given.port, "127.0.0.1"), "listening")

/** Chooses the second that is offered at `/second`, none at `/none`, else the first. */
function handleProtocols(offered, request) {
  const [first, second] = offered
  return { "/second": second, "/none": false }[request.url] ?? first
}

function serve(request, socket) {
  const known = (seen[request.url] = { headers: request.headers, raw: request.rawHeaders, pongs: [] })
  socket.on("pong", data => known.pongs.push(data.toString()))
  socket.on("ping", data => (known.ping = data.toString()))
  socket.on("close", (code, reason) => (known.closed = [code, reason.toString()]))
  socket.on("error", error => (known.error = error.code))
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }))
  const [, deed, code, reason] = request.url.split("/")
  if (deed === "greet") socket.send("welcome")
  if (deed === "ping") socket.ping("are you there")
  if (deed === "close") socket.close(Number(code), decodeURIComponent(reason))
  if (deed === "break") socket.terminate()
}

const bearer = { Authorization: `Bearer ${given.token}` }

/** Opens a socket with the token in its head. */
async function open(path, protocols = [], options = {}) {
  const socket = new WebSocket(given.url + path, protocols, { headers: bearer, maxPayload: 2 * LARGE, ...options })
  const first = once(socket, "message").catch(() => {})
  await once(socket, "open")
  return Object.assign(socket, { first })
}

async function closing(socket) {
  const [code, reason] = await once(socket, "close")
  return [code, reason.toString()]
}

/** What an attempt is answered that ends without a socket: status, and body. */
async function refusal(path, protocols, headers) {
  const socket = new WebSocket(given.url + path, protocols, { headers })
  const [, answer] = await once(socket, "unexpected-response")
  let body = ""
  for await (const piece of answer) body += piece
  return { status: answer.statusCode, headers: answer.headers, body }
}

/** Sends pieces back and forth and tells whether they came back as they went. */
async function echoed(socket, pieces) {
  const back = []
  const all = new Promise((resolve, reject) => {
    socket.on("message", (data, isBinary) => {
      back.push(isBinary ? data : data.toString())
      if (back.length === pieces.length) resolve()
    })
    socket.on("close", code => reject(new Error(`closed with ${code} after ${back.length}`)))
  })
  for (const piece of pieces) socket.send(piece)
  await all
  const wrong = pieces.findIndex((piece, at) => !same(piece, back[at]))
  socket.removeAllListeners("close")
  socket.close()
  return { held: wrong < 0, seen: `number ${wrong} of ${pieces.length} is another` }
}

const same = (a, b) => typeof a === typeof b && (typeof a === "string" ? a === b : a.equals(b))
const equal = (a, b) => ({ held: JSON.stringify(a) === JSON.stringify(b), seen: a })
const digest = data => createHash("sha256").update(data).digest("hex")

const cases = {
  async [`${MANY} messages, text and binary, come back in their order`]() {
    const pieces = Array.from({ length: MANY }, (_, at) => (at % 2 ? `number ${at}, ☃` : Buffer.from(`number ${at}`)))
    return echoed(await open("/many", [], { perMessageDeflate: false }), pieces)
  },
  async "messages of 0 to 70,000 bytes, which is every form of a length"() {
    const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]
    return echoed(
      await open("/lengths", [], { perMessageDeflate: false }),
      lengths.map(length => randomBytes(length)),
    )
  },
  async [`a message of ${LARGE >> 20} MiB comes back whole`]() {
    const [large, socket] = [randomBytes(LARGE), await open("/large", [], { perMessageDeflate: false })]
    socket.send(large)
    const [back] = await once(socket, "message")
    socket.close()
    return { held: digest(back) === digest(large), seen: `${back.length} bytes` }
  },
  async "permessage-deflate is agreed upon by the two ends"() {
    const socket = await open("/deflate")
    const agreed = socket.extensions
    const back = await echoed(socket, ["a".repeat(100_000), Buffer.alloc(100_000, 7), "short"])
    return { held: agreed.includes("permessage-deflate") && back.held, seen: [agreed, back] }
  },
  async "no extension where the client offers none"() {
    const socket = await open("/plain", [], { perMessageDeflate: false })
    socket.close()
    return equal([socket.extensions, seen["/plain"].headers["sec-websocket-extensions"] ?? null], ["", null])
  },
  async "what the backend says at once comes after the 101"() {
    const socket = await open("/greet")
    const [data] = await socket.first
    socket.close()
    return equal(data.toString(), "welcome")
  },
  async "ping and pong, from either side"() {
    const socket = await open("/ping")
    const pong = once(socket, "pong")
    socket.ping("knock")
    const [data] = await pong
    await until(() => seen["/ping"].pongs.length)
    socket.close()
    return equal([data.toString(), seen["/ping"].ping, seen["/ping"].pongs], ["knock", "knock", ["are you there"]])
  },
  async "the backend chooses among the protocols that are offered"() {
    const chosen = []
    for (const path of ["/first", "/second"]) {
      const socket = await open(path, ["chat.v1", "chat.v2"])
      chosen.push(socket.protocol, seen[path].headers["sec-websocket-protocol"])
      socket.close()
    }
    return equal(chosen, ["chat.v1", "chat.v1,chat.v2", "chat.v2", "chat.v1,chat.v2"])
  },
  async "a WebSocket of undici's, as browsers have it"() {
    const socket = new BrowserSocket(`${given.url}/undici`, { headers: bearer, protocols: ["chat.v1"] })
    socket.binaryType = "arraybuffer"
    await once(socket, "open")
    socket.send("text")
    const [text] = await once(socket, "message")
    socket.send(Buffer.from([0, 255]))
    const [binary] = await once(socket, "message")
    socket.close(3001, "enough")
    const [closed] = await once(socket, "close")
    const got = [text.data, [...new Uint8Array(binary.data)], socket.protocol, closed.code, closed.wasClean]
    return equal(got, ["text", [0, 255], "chat.v1", 3001, true])
  },
  async "the backend is told who it is, and by nobody else"() {
    const forged = { "x-clerk-user-id": "user_root", x_clerk_user_id: "user_root", "X-Clerk-Org-Role": "org:root" }
    const socket = await open("/who", [], { headers: { ...bearer, ...forged } })
    socket.close()
    const { headers, raw } = seen["/who"]
    const names = raw.filter((name, at) => at % 2 === 0 && /user.id/i.test(name))
    const told = [headers["x-clerk-user-id"], headers["x-clerk-principal"], headers["x-clerk-org-role"], names.length]
    return equal([...told, "signature" in headers], [given.user, "user", "org:admin", 1, true])
  },
  async "a backend that refuses answers the client itself"() {
    const { status, headers, body } = await refusal("/refused", [], bearer)
    return equal([status, headers["x-why"], body], [403, "full", "no way"])
  },
  async "after a refusal the next one is as good as any"() {
    return echoed(await open("/after"), ["still here"])
  },
  async "without a token: 401 with the reason, and the backend saw nothing"() {
    const before = upgrades
    const { status, headers, body } = await refusal("/nobody", [], {})
    const reason = JSON.parse(body).reason
    return equal(
      [status, reason, headers["www-authenticate"], upgrades - before, "/nobody" in seen],
      [401, "dev-browser-missing", 'Bearer realm="countersign"', 0, false],
    )
  },
  async "with a forged token: 401, and the backend saw nothing"() {
    const before = upgrades
    const { status, body } = await refusal("/forged", [], { Authorization: `Bearer ${given.forged}` })
    return equal([status, JSON.parse(body).reason, upgrades - before], [401, "token-invalid-signature", 0])
  },
  async "a token among the protocols lets nobody in unless it is asked for"() {
    const { status } = await refusal("/protocol-off", ["bearer", given.token], {})
    return equal([status, "/protocol-off" in seen], [401, false])
  },
}

for (const [code, reason] of CODES) {
  const title = `${code}${reason ? ` with a reason` : ""}`
  cases[`the client closes with ${title}`] = async () => {
    const path = `/left/${code}/${encodeURIComponent(reason)}`
    const socket = await open(path)
    socket.close(code, reason)
    const own = await closing(socket)
    await until(() => seen[path].closed)
    return equal([seen[path].closed, own[0]], [[code, reason], code])
  }
  cases[`the backend closes with ${title}`] = async () => {
    const path = `/close/${code}/${encodeURIComponent(reason)}`
    const closed = await closing(await open(path))
    await until(() => seen[path].closed)
    return equal([closed, seen[path].closed[0]], [[code, reason], code])
  }
}

Object.assign(cases, {
  async "a client that breaks off: the backend sees the end"() {
    const socket = await open("/broken")
    socket.terminate()
    await until(() => seen["/broken"].closed)
    return equal(seen["/broken"].closed?.[0], 1006)
  },
  async "a backend that breaks off: the client sees the end"() {
    const [code] = await closing(await open("/break"))
    return equal(code, 1006)
  },
})

/** The token where a page of a browser can put it: with `websocket_protocol_token`. */
const inProtocol = {
  async "the token among the protocols lets in, and the backend is offered neither it nor `bearer`"() {
    const socket = await open("/token/1", ["bearer", given.token], { headers: {} })
    socket.close()
    const { headers, raw } = seen["/token/1"]
    const told = [socket.protocol, headers["sec-websocket-protocol"] ?? null, headers["x-clerk-user-id"]]
    return equal([...told, JSON.stringify(raw).includes(given.token)], ["bearer", null, given.user, false])
  },
  async "a protocol beside the token is the backend's to choose"() {
    const socket = await open("/token/2", ["chat.v1", "bearer", given.token], { headers: {} })
    socket.close()
    return equal([socket.protocol, seen["/token/2"].headers["sec-websocket-protocol"]], ["chat.v1", "chat.v1"])
  },
  async "where the backend chooses none of them the client gets `bearer`"() {
    const socket = await open("/none", ["bearer", given.token, "chat.v1"], { headers: {} })
    socket.close()
    return equal([socket.protocol, seen["/none"].headers["sec-websocket-protocol"]], ["bearer", "chat.v1"])
  },
  async "a WebSocket of undici's with the token among its protocols"() {
    const socket = new BrowserSocket(`${given.url}/token/3`, ["bearer", given.token])
    await once(socket, "open")
    socket.send("hello")
    const [message] = await once(socket, "message")
    socket.close()
    return equal([message.data, socket.protocol], ["hello", "bearer"])
  },
  async "a forged token among the protocols: 401, and the backend saw nothing"() {
    const before = upgrades
    const { status, body } = await refusal("/token/4", ["bearer", given.forged], {})
    return equal([status, JSON.parse(body).reason, upgrades - before], [401, "token-invalid-signature", 0])
  },
}

await run(given.protocolToken ? inProtocol : cases)
