// Node's HTTP/2, for what curl cannot be asked to do: a body whose end is never sent, pieces that wait for an answer, trailers.

import { once } from "node:events"
import http2 from "node:http2"
import { check, given, run, within } from "./cases.mjs"

const session = http2.connect(given.url)
session.on("error", error => check("the connection lasts", false, `${error}`))
const head = { authorization: `Bearer ${given.token}` }

function ask(method, path, options, headers = head) {
  const stream = session.request({ ":method": method, ":path": path, ...headers }, options)
  stream.setEncoding("utf8")
  return stream
}

/** The status and the body of an answer, which has to end. */
async function answer(stream) {
  const [{ ":status": status }] = await once(stream, "response")
  let body = ""
  for await (const piece of stream) body += piece
  return [status, body]
}

const equal = (a, b) => ({ held: JSON.stringify(a) === JSON.stringify(b), seen: a })

const cases = {}

if (given.early) {
  cases["an early answer comes while the body is still open"] = async () => {
    const stream = ask("POST", "/early", { endStream: false })
    stream.write(Buffer.alloc(16_384))
    const [{ ":status": status }] = await within(5000, once(stream, "response"))
    stream.on("error", () => {}) // the backend wants no more of the body, and may say so
    stream.close()
    return equal(status, 413)
  }
}

Object.assign(cases, {
  async "an upload without a token is refused while its body is still open"() {
    const stream = ask("POST", "/length", { endStream: false }, {})
    stream.write(Buffer.alloc(16_384))
    const [status, body] = await within(5000, answer(stream))
    return equal([status, JSON.parse(body).reason], [401, "dev-browser-missing"])
  },
  async "the next request on the connection is as good as any"() {
    return equal(await answer(ask("GET", "/hello")), [200, "hello"])
  },
  async "100 requests at once on one connection"() {
    const answers = await Promise.all(Array.from({ length: 100 }, () => answer(ask("GET", "/hello"))))
    return equal([...new Set(answers.map(String))], ["200,hello"])
  },
})

if (given.echoes) {
  cases["each piece of a body comes back before the next is sent"] = async () => {
    const stream = ask("POST", "/echo", { endStream: false })
    const back = []
    for (let at = 0; at < 20; at++) {
      stream.write(`part ${at}`)
      const [piece] = await within(5000, once(stream, "data"))
      back.push(piece)
    }
    stream.end()
    await once(stream.resume(), "end")
    return { held: back.every((piece, at) => piece === `part ${at}`), seen: back }
  }
}

if (given.trailers) {
  cases["trailers of a request reach the backend"] = async () => {
    const options = { endStream: false, waitForTrailers: true }
    const stream = ask("POST", "/told", options, { ...head, trailer: "x-sum, x-clerk-user-id" })
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "13", "x-clerk-user-id": "user_root" }))
    stream.end("with trailers")
    return equal(await answer(stream), [200, JSON.stringify({ body: "with trailers", trailers: { "x-sum": "13" } })])
  }
}

await run(cases)
