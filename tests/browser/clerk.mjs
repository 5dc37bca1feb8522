// What Clerk is to a production instance: a key set, a sign-in page and the handshake, on loopback.
//
// It shares its host with the proxy, as `clerk.example.com` shares a domain with `app.example.com`:
// cookies that it sets there reach the proxy. So the handshake's result comes in one, as in production.

import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { body, listening } from './program.mjs';

export const USER = 'user_2xHqProdAdaLovelace00000000';
const LIVES = 60; // seconds, as Clerk's tokens
const GONE = 'Path=/; Max-Age=0';
const KEPT = 'Path=/; SameSite=Lax; Max-Age=31536000';

export class Clerk extends EventEmitter {
  // How handshakes go: one of `HANDSHAKES`.
  handshake = 'good';
  // Whether the sign-in page believes that it has nothing to do, and sends everybody back.
  sendsBack = false;
  // Where the handshake `elsewhere` leads.
  elsewhere = '';
  // The queries of all handshakes that were asked for.
  handshakes = [];
  signIns = 0;
  held = [];
  #clients = new Map();
  #key = keyPair();
  #stranger = keyPair();

  static async start() {
    const clerk = new Clerk();
    clerk.server = await listening((request, response) => clerk.#answer(request, response));
    clerk.origin = clerk.server.origin;
    clerk.publishableKey = `pk_live_${btoa(`${new URL(clerk.origin).host}$`)}`;
    clerk.suffix = suffixOf(clerk.publishableKey);
    return clerk;
  }

  async close() {
    await this.server.close();
  }

  // The cookies of a browser in which somebody signed in elsewhere on this domain: Clerk knows it, and
  // the application has no session of it yet.
  client() {
    const id = this.#signIn();
    const since = String(this.#clients.get(id).since);
    return { __client: id, __client_uat: since, [this.#own('__client_uat')]: since };
  }

  // The cookies of a session whose token says these claims instead of the usual ones.
  session(claims) {
    const token = this.mint({ sid: name('sess'), ...claims });
    return { __session: token, [this.#own('__session')]: token };
  }

  mint(claims) {
    const iat = now();
    return this.#sign(this.#key, {
      iss: this.origin, sub: USER, iat, nbf: iat - 10, exp: iat + LIVES, sts: 'active', v: 2, fva: [1, -1],
      jti: randomBytes(10).toString('hex'), ...claims,
    });
  }

  // Lets go of the handshakes that were not answered: their connections break off.
  drop() {
    this.held.splice(0).forEach((response) => response.destroy());
  }

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.origin);
    const cookies = Object.fromEntries((request.headers.cookie ?? '').split('; ').map((pair) => pair.split('=')));
    const client = this.#clients.get(cookies.__client);
    switch (`${request.method} ${pathname}`) {
      case 'GET /.well-known/jwks.json':
        response.writeHead(200, { 'content-type': 'application/json' });
        return response.end(JSON.stringify({ keys: [this.#key.jwk] }));
      case 'GET /v1/client/handshake':
        this.handshakes.push(Object.fromEntries(searchParams));
        HANDSHAKES[this.handshake].call(this, response, searchParams.get('redirect_url'), client);
        return this.emit('handshake');
      case 'GET /sign-in':
        this.signIns += 1;
        if (this.sendsBack) return away(response, 303, searchParams.get('redirect_url'));
        return page(response, 'Sign in');
      case 'POST /sign-in': {
        await body(request);
        const cookies = this.client();
        const lines = Object.entries(cookies).map(([own, value]) => `${own}=${value}; ${KEPT}`);
        return away(response, 303, searchParams.get('redirect_url'), lines);
      }
      case 'GET /sign-out':
        return page(response, 'Sign out');
      case 'POST /sign-out': {
        // What Clerk's front-end library does in the page is done here, too: it takes the session away.
        await body(request);
        this.#clients.delete(cookies.__client);
        return away(response, 303, searchParams.get('redirect_url'), this.directives());
      }
      default:
        response.writeHead(404);
        return response.end();
    }
  }

  // What a handshake has the proxy set for this client.
  directives(client) {
    const since = `=${client?.since ?? 0}; ${KEPT}`;
    const token = client && this.mint({ sid: client.sid });
    const session = client ? `=${token}; ${KEPT}` : `=; ${GONE}`;
    return [
      `__client_uat${since}`, `${this.#own('__client_uat')}${since}`,
      `__session${session}`, `${this.#own('__session')}${session}`,
      `__clerk_handshake=; ${GONE}`,
    ];
  }

  // Sends the browser to an address, with a token that carries these directives.
  bring(response, address, directives, { forged = false } = {}) {
    const key = forged ? { ...this.#stranger, kid: this.#key.kid } : this.#key;
    const iat = now();
    const token = this.#sign(key, { iss: this.origin, iat, exp: iat + LIVES, handshake: directives });
    away(response, 307, address, [`__clerk_handshake=${token}; ${KEPT}`]);
  }

  #signIn() {
    const id = name('client');
    this.#clients.set(id, { sid: name('sess'), since: now() });
    return id;
  }

  #own(base) {
    return `${base}_${this.suffix}`;
  }

  #sign({ kid, privateKey }, claims) {
    const header = { alg: 'RS256', cat: 'cl_B7d4PD111AAA', kid, typ: 'JWT' };
    const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
  }
}

// How a handshake may go. `back` is the address that the proxy gave.
const HANDSHAKES = {
  good(response, back, client) {
    this.bring(response, back, this.directives(client));
  },
  empty(response, back) {
    away(response, 307, back);
  },
  forged(response, back, client) {
    this.bring(response, back, this.directives(client), { forged: true });
  },
  greedy(response, back, client) {
    const others = ['admin', 'PHPSESSID', '__sessionfoo', '__Host-app'];
    this.bring(response, back, [...this.directives(client), ...others.map((other) => `${other}=stub; ${KEPT}`)]);
  },
  broken(response) {
    response.writeHead(500, { 'content-type': 'text/html' });
    response.end('<title>Broken</title><h1>Broken</h1>');
  },
  silent(response) {
    this.held.push(response);
  },
  elsewhere(response, _, client) {
    this.bring(response, this.elsewhere, this.directives(client));
  },
};

function page(response, title) {
  response.writeHead(200, { 'content-type': 'text/html' });
  response.end(`<!doctype html><link rel="icon" href="data:,"><title>${title}</title>
    <h1>${title}</h1><form method="post"><button>${title}</button></form>`);
}

function away(response, status, location, cookies = []) {
  response.writeHead(status, { location, 'set-cookie': cookies });
  response.end();
}

// What an instance's cookies end in.
export function suffixOf(publishableKey) {
  const hash = createHash('sha1').update(publishableKey).digest('base64');
  return hash.slice(0, 8).replaceAll('+', '-').replaceAll('/', '_');
}

function keyPair() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = name('ins');
  return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' } };
}

function name(kind) {
  return `${kind}_${randomBytes(14).toString('hex').slice(0, 27)}`;
}

export function now() {
  return Math.floor(Date.now() / 1000);
}
