// A backend in Node, of HTTP/1.1 or of cleartext HTTP/2: `node backend.mjs http|h2c PORT`.

import { createHash } from "node:crypto"
import { once } from "node:events"
import http from "node:http"
import http2 from "node:http2"
import { setTimeout as pause } from "node:timers/promises"

const [kind, port] = process.argv.slice(2)
const PIECE = Buffer.alloc(65_536, "a")

// What a path does, as `asgi.py` does it.
const paths = {
  "/hello": (_, answer) => end(answer, 200, "hello"),
  async "/length"(request, answer) {
    const [hash, length] = [createHash("sha256"), request.headers["content-length"] ?? "none"]
    let total = 0
    for await (const piece of request) {
      hash.update(piece)
      total += piece.length
    }
    end(answer, 200, JSON.stringify({ declared: length, total, sha256: hash.digest("hex") }))
  },
  async "/bytes"(request, answer) {
    let left = Number(new URL(request.url, "http://a").searchParams.get("n"))
    for (; left > 0; left -= PIECE.length) {
      if (!answer.write(PIECE.subarray(0, left))) await once(answer, "drain")
    }
    answer.end()
  },
  async "/echo"(request, answer) {
    answer.writeHead(200, { "content-type": "application/octet-stream" })
    for await (const piece of request) answer.write(piece)
    answer.end()
  },
  async "/slow"(_, answer) {
    for (const word of ["one", "two", "three"]) {
      answer.write(word)
      await pause(200)
    }
    answer.end()
  },
  async "/told"(request, answer) {
    let body = ""
    for await (const piece of request) body += piece
    end(answer, 200, JSON.stringify({ body, trailers: request.trailers }))
  },
  async "/endless"(_, answer) {
    answer.writeHead(200, { "content-type": "text/event-stream" })
    let isOpen = true
    answer.on("close", () => (isOpen = false))
    while (isOpen) {
      answer.write("data: tick\n\n")
      await pause(100)
    }
  },
  "/nothing": (_, answer) => answer.writeHead(204).end(),
  "/unchanged": (_, answer) => answer.writeHead(304, { etag: '"v1"' }).end(),
  "/early": (_, answer) => end(answer, 413, "too much"),
  "/trailers"(_, answer) {
    answer.writeHead(200, { trailer: "x-sum" })
    answer.write("with trailers")
    answer.addTrailers({ "x-sum": "13" })
    answer.end()
  },
}

function end(answer, status, body) {
  answer.writeHead(status, { "content-length": Buffer.byteLength(body) })
  answer.end(answer.req?.method === "HEAD" ? undefined : body)
}

// Each connection has a number, which its answers name.
const numbers = new WeakMap()
let connections = 0
async function serve(request, answer) {
  const connection = request.stream?.session ?? request.socket
  if (!numbers.has(connection)) numbers.set(connection, ++connections)
  answer.setHeader("x-connection", numbers.get(connection))
  answer.setHeader("x-user", request.headers["x-clerk-user-id"] ?? "not told")
  const [path] = request.url.split("?")
  await (paths[path] ?? ((_, answer) => end(answer, 404, "no such path")))(request, answer)
}

const server = kind === "h2c" ? http2.createServer(serve) : http.createServer(serve)
// A client that goes away while it is answered is no bug of this backend's.
process.on("unhandledRejection", error => console.error(error.code ?? error))
server.listen(Number(port), "127.0.0.1", () => console.log("listening"))
