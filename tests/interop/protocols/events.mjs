// Server-sent events as a page takes them: npm's `eventsource`, and Node's HTTP/2 beside it.

import { once } from "node:events"
import http from "node:http"
import http2 from "node:http2"
import { EventSource } from "eventsource"
import { given, pause, run, until } from "./cases.mjs"

const COUNT = 6 // events of one answer
const PACE = 120 // milliseconds between two of them
const SOON = 200 // milliseconds an event may take

// The backend: answers are of `COUNT` events, from the one after `Last-Event-ID`.
const asked = []
const left = []
async function answer(request, response) {
  const last = Number(request.headers["last-event-id"] ?? 0)
  asked.push({ last, user: request.headers["x-clerk-user-id"], accept: request.headers.accept })
  let isOpen = true
  response.on("close", () => {
    if (isOpen) left.push(Date.now())
    isOpen = false
  })
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" })
  response.write("retry: 50\n\n")
  for (let id = last + 1; isOpen && id <= last + COUNT; id++) {
    response.write(`id: ${id}\nevent: tick\ndata: ${Date.now()}\n\n`)
    await pause(PACE)
  }
  isOpen = false
  response.end()
}
const backend = given.backend === "h2c" ? http2.createServer(answer) : http.createServer(answer)
await once(backend.listen(given.port, "127.0.0.1"), "listening")

const bearer = { Authorization: `Bearer ${given.token}` }

/** Opens a page's stream; `got` fills with the events: which, and how long it took. */
function source(headers = bearer) {
  const fetching = (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } })
  const stream = new EventSource(`${given.url}/events`, { fetch: fetching })
  const got = []
  stream.addEventListener("tick", event => got.push({ id: event.lastEventId, took: Date.now() - Number(event.data) }))
  return { stream, got }
}

const ids = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => `${from + at}`).join()

await run({
  async "events come one by one while the answer is open, and go on where it ended"() {
    const { stream, got } = source()
    await until(() => got.length >= 2 * COUNT + 1, 8000)
    stream.close()
    const isComplete = got
      .map(event => event.id)
      .join()
      .startsWith(ids(1, 2 * COUNT + 1))
    const resumed =
      asked
        .slice(0, 3)
        .map(one => one.last)
        .join() === [0, COUNT, 2 * COUNT].join()
    return { held: isComplete && resumed && got.every(event => event.took < SOON), seen: { got, asked } }
  },
  async "a page that leaves: the backend sees it"() {
    await until(() => left.length)
    return { held: left.length === 1, seen: left }
  },
  async "the backend is told who listens"() {
    return { held: asked.every(one => one.user === given.user && one.accept === "text/event-stream"), seen: asked }
  },
  async "without a token: 401, no attempt after it, and the backend saw nothing"() {
    const before = asked.length
    const { stream, got } = source({})
    const [error] = await once(stream, "error")
    await pause(100)
    const state = stream.readyState
    stream.close()
    const held = error.code === 401 && state === EventSource.CLOSED && !got.length && asked.length === before
    return { held, seen: [error.code, state, got, asked.length] }
  },
  async "over HTTP/2 events come one by one too, and the backend sees who leaves"() {
    const session = http2.connect(given.url)
    const stream = session.request({ ":path": "/events", accept: "text/event-stream", ...head(bearer) })
    const took = []
    stream.setEncoding("utf8")
    stream.on("data", text => {
      for (const [, sent] of text.matchAll(/data: (\d+)/g)) took.push(Date.now() - Number(sent))
    })
    await until(() => took.length >= COUNT - 1)
    const before = left.length
    stream.close(http2.constants.NGHTTP2_CANCEL)
    await until(() => left.length > before)
    session.close()
    return { held: took.every(one => one < SOON) && left.length === before + 1, seen: { took, left } }
  },
})

function head(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}
