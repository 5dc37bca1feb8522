// Plays Clerk's Frontend API, as far as its key set, and its Backend API. What it answers depends on
// nothing but what it is asked; and it remembers what each side has asked it.

import { createServer } from 'node:http';
import { KEY_SET } from './tokens.mjs';

export class ClerkApi {
  #answers = new Map();
  #calls = [];
  #server;

  static async start() {
    const api = new ClerkApi();
    api.#server = createServer((request, response) => api.#take(request, response));
    api.url = await listening(api.#server);
    return api;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  // From now on answers what `answers` says for each nonce and refresh token.
  know(answers) {
    for (const [what, answer] of Object.entries(answers)) this.#answers.set(what, answer);
  }

  // Returns what a side has asked with these nonces and refresh tokens, and forgets it.
  taken(side, answers) {
    const isMeant = (call) => call.side === side && Object.hasOwn(answers, call.about);
    const calls = this.#calls.filter(isMeant).map(({ side: _, about: __, ...call }) => call);
    this.#calls = this.#calls.filter((call) => !isMeant(call));
    return calls;
  }

  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = this.#answer(request, Buffer.concat(chunks).toString());
    const { status = 200, json, text, type = json ? 'application/json' : 'text/plain' } = answer;
    response.writeHead(status, { 'content-type': type });
    response.end(json ? JSON.stringify(json) : text);
  }

  #answer({ method, url, headers }, body) {
    const { pathname, searchParams } = new URL(url, 'http://api');
    if (pathname === '/.well-known/jwks.json' || pathname === '/v1/jwks') return { json: KEY_SET };
    if (!headers.authorization?.startsWith('Bearer sk_')) return { status: 401, text: 'no secret key' };
    const side = headers['user-agent']?.startsWith('@clerk/backend') ? 'clerk' : 'ours';
    if (pathname === '/v1/clients/handshake_payload') {
      const about = searchParams.get('nonce');
      this.#calls.push({ side, about, method, url });
      return this.#answers.get(about) ?? { status: 404, text: 'no such nonce' };
    }
    if (/^\/v1\/sessions\/[^/]+\/refresh$/.test(pathname) && method === 'POST') {
      // Which of the browser's headers are told is each side's own business.
      const { request_headers: _, ...told } = JSON.parse(body);
      this.#calls.push({ side, about: told.refresh_token, method, url, told });
      return this.#answers.get(told.refresh_token) ?? { status: 404, text: 'no such session' };
    }
    return { status: 404, text: 'no such thing' };
  }
}

export function listening(server) {
  return new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${server.address().port}`));
  });
}
