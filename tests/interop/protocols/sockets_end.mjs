// How WebSockets end that the proxy ends: when their token does, or when the proxy itself does.

import { once } from "node:events"
import { createServer } from "node:http"
import WebSocket, { WebSocketServer } from "ws"
import { given, pause, run, until } from "./cases.mjs"

// The backend echoes, and remembers when each connection closed. A plain request it answers a little after that.
const closed = {}
let asked = 0
const server = createServer(async (_, answer) => {
  asked += 1
  await until(() => closed["/"], 10_000)
  await pause(300)
  answer.end("late")
})
new WebSocketServer({ server }).on("connection", (socket, request) => {
  socket.on("message", data => socket.send(data.toString()))
  socket.on("close", () => (closed[request.url] = Date.now()))
})
await once(server.listen(given.port, "127.0.0.1"), "listening")

const head = token => ({ headers: { Authorization: `Bearer ${token}` } })

async function open(path, token) {
  const socket = new WebSocket(given.url + path, head(token))
  await once(socket, "open")
  const end = once(socket, "close").then(([code]) => ({ code, at: Date.now() }))
  return Object.assign(socket, { end })
}

/** Talks over a socket until it ends; gives when it answered last. */
async function talk(socket) {
  let last = 0
  socket.on("message", () => (last = Date.now()))
  while (socket.readyState === WebSocket.OPEN) {
    socket.send("still here")
    await pause(50)
  }
  return last
}

const lifetime = {
  async "a socket lives as long as its token, and no longer"() {
    const [short, long] = [await open("/short", given.short), await open("/long", given.long)]
    const last = await talk(short)
    const { code, at } = await short.end
    await until(() => closed["/short"])
    const isOpen = long.readyState === WebSocket.OPEN && !closed["/long"]
    long.terminate()
    const [from, to] = [given.expires * 1000 - 100, given.expires * 1000 + given.leeway * 1000 + 1500]
    const held = from <= at && at <= to && last > from - 500 && closed["/short"] <= to && isOpen
    return { held, seen: { code, from, at, to, last, closed, isOpen } }
  },
}

const drain = {
  async "a socket lives on after SIGTERM until shortly before the grace is over, and a plain request longer"() {
    const socket = await open("/", given.long)
    const plain = fetch(given.url.replace("ws:", "http:"), head(given.long)).then(answer => answer.text())
    await until(() => asked)
    const start = Date.now()
    process.kill(given.pid, "SIGTERM")
    const last = await talk(socket)
    const { code, at } = await socket.end
    await until(() => closed["/"])
    const [lived, spoke, known] = [at - start, last - start, closed["/"] - start]
    const grace = given.grace * 1000
    const inTime = lived > grace * 0.5 && lived <= grace && spoke > lived - 500 && known <= grace
    const late = await plain
    return { held: inTime && late === "late", seen: { code, lived, spoke, known, late } }
  },
}

await run({ lifetime, drain }[given.way])
