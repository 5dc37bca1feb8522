// Clerk's Frontend API as far as Clerk's own script in a page asks for it: the script itself, what an instance
// is, who is signed in, tokens, and a page to sign in at. On loopback, and under TLS: the script speaks no other.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { now, suffixOf } from '../browser/clerk.mjs';
import { body } from '../browser/program.mjs';

export const ADA = 'user_2xHqFrontendsAda0000000000';
export const ALAN = 'user_2xHqFrontendsAlan000000000';
// As those of development instances: Clerk's script knows them by their ending.
const HOST = 'calm-otter-12.clerk.accounts.dev';
export const PUBLISHABLE_KEY = `pk_test_${btoa(`${HOST}$`)}`;
const BROWSER = 'dvb_2xHqFrontends00000000000000';
const [KEPT, GONE] = ['Path=/; SameSite=Lax; Max-Age=31536000', 'Path=/; Max-Age=0'];
const LIVES = 60; // seconds, as Clerk's tokens
const SCRIPTS = dirname(createRequire(import.meta.url).resolve('@clerk/clerk-js'));
const SCRIPT = /^\/npm\/@clerk\/clerk-js@[^/]+\/dist\/([\w.-]+\.js)$/;
// What Clerk draws is another package. This draws nothing: the examples only have its places on the page.
const DRAWING = /^\/npm\/@clerk\/ui@[^/]+\/dist\/ui\.browser\.js$/;
const DRAWS_NOTHING = `globalThis.__internal_ClerkUICtor = class {
  ensureMounted = async () => ({ mountComponent() {}, unmountComponent() {}, updateProps() {} });
};`;
// Clerk's script says in the fragment where to go from there, the proxy in the query.
const SIGN_IN = `<!doctype html><link rel="icon" href="data:,"><title>Sign in</title><form method="post"><button>Enter</button></form>
  <script>document.forms[0].action = location.hash ? '?' + location.hash.split('?')[1] : location.search;</script>`;
const TOKENS = /^POST \/v1\/client\/sessions\/\w+\/tokens$/;
const TOUCH = /^POST \/v1\/client\/sessions\/\w+\/touch$/;

export class FrontendApi {
  // Who is signed in in every browser; nobody where it is null.
  user;
  // Who signs in at the page for it.
  next;
  // Claims of the tokens to come, besides the usual ones: of the first, the second … and the last of all others.
  tokens;
  // How many tokens a page has asked for.
  renewals;
  // What it was asked for and does not know.
  unknown = [];
  signIn = `https://${HOST}/sign-in`;
  #signIns = 0;
  #since = now();
  #gate = Promise.resolve();

  // `mint(claims)` gives a token of the issuer that the proxy believes.
  static async start(mint) {
    const api = new FrontendApi();
    api.mint = mint;
    api.reset();
    api.server = createServer(certificate(), (request, response) => {
      api.#answer(request, response).catch((error) => {
        console.error(error);
        response.destroy();
      });
    });
    api.server.listen(0, '127.0.0.1');
    await once(api.server, 'listening');
    // The browser is told that its host is here.
    api.rule = `MAP ${HOST} 127.0.0.1:${api.server.address().port}`;
    return api;
  }

  // As it begins: nobody is signed in, and all tokens are good.
  reset() {
    Object.assign(this, { user: null, next: ADA, tokens: [{}], renewals: 0 });
    this.#gate = Promise.resolve();
  }

  // Begins a session of somebody's.
  begin(user) {
    [this.user, this.#signIns] = [user, this.#signIns + 1];
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  // Holds back who is signed in, until what it returns is called.
  hold() {
    let release;
    this.#gate = new Promise((resolve) => { release = resolve; });
    return release;
  }

  // The claims of a token that was good until a minute ago.
  static expired() {
    return { iat: now() - 2 * LIVES, nbf: now() - 2 * LIVES, exp: now() - LIVES };
  }

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, `https://${HOST}`);
    const what = `${searchParams.get('_method') ?? request.method} ${pathname}`;
    await body(request);
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*');
    response.setHeader('access-control-allow-credentials', 'true');

    const script = SCRIPT.exec(pathname)?.[1];
    if (script) return send(response, 'text/javascript', readFileSync(join(SCRIPTS, script)));
    if (DRAWING.test(pathname)) return send(response, 'text/javascript', DRAWS_NOTHING);
    if (TOKENS.test(what)) return this.#renew(request, response);
    if (TOUCH.test(what)) return this.#touch(request, response);
    switch (what) {
      case 'POST /v1/dev_browser':
        return json(response, { id: BROWSER });
      case 'GET /v1/environment':
      case 'PATCH /v1/environment':
        return json(response, environment());
      case 'GET /v1/client':
        await this.#gate;
        return json(response, { response: await this.#client(request), client: null });
      case 'DELETE /v1/client/sessions':
        this.user = null;
        return json(response, { response: await this.#client(request), client: null });
      case 'GET /sign-in':
        return send(response, 'text/html', SIGN_IN);
      case 'POST /sign-in':
        this.begin(this.next);
        return away(response, 303, searchParams.get('redirect_url'));
      case 'GET /v1/client/handshake':
        return away(response, 307, searchParams.get('redirect_url'), { __clerk_handshake: await this.#handshake(searchParams) });
      default:
        this.unknown.push(what);
        response.writeHead(404);
        return response.end();
    }
  }

  async #touch(request, response) {
    const client = await this.#client(request);
    return json(response, { response: client.sessions[0], client });
  }

  async #renew(request, response) {
    this.renewals += 1;
    if (this.user) return json(response, await this.#token(request));
    response.writeHead(401, { 'content-type': 'application/json' });
    return response.end('{"errors":[{"code":"authentication_invalid"}]}');
  }

  // What the proxy sets for the page that it sent here: who is signed in, and a token.
  async #handshake(asked) {
    const since = `=${this.user ? this.#since : 0}; ${KEPT}`;
    const azp = new URL(asked.get('redirect_url')).origin;
    const session = this.user ? `=${(await this.#token({ headers: { origin: azp } })).jwt}; ${KEPT}` : `=; ${GONE}`;
    const lines = ['', `_${suffixOf(PUBLISHABLE_KEY)}`].flatMap((suffix) => [
      `__client_uat${suffix}${since}`, `__session${suffix}${session}`, `__clerk_db_jwt${suffix}=${BROWSER}; ${KEPT}`,
    ]);
    return this.mint({ handshake: lines, sub: null, sid: null, azp: null });
  }

  get session() {
    return `sess_2xHqFrontends${String(this.#signIns).padStart(13, '0')}`;
  }

  async #token({ headers }) {
    const claims = this.tokens.length > 1 ? this.tokens.shift() : this.tokens[0];
    const usual = { azp: headers.origin ?? null, sub: this.user, sid: this.session, iat: now(), exp: now() + LIVES };
    return { object: 'token', jwt: await this.mint({ ...usual, ...claims }) };
  }

  async #client(request) {
    const sessions = this.user ? [session(this.session, this.user, await this.#token(request))] : [];
    const [at, last] = [Date.now(), sessions[0]?.id ?? null];
    return {
      object: 'client', id: 'client_2xHqFrontends', sessions, sign_in: null, sign_up: null,
      last_active_session_id: last, created_at: at, updated_at: at,
    };
  }
}

function environment() {
  return {
    object: 'environment',
    auth_config: { object: 'auth_config', id: 'aconf_2xHqFrontends', single_session_mode: true, url_based_session_syncing: true },
    display_config: {
      object: 'display_config', id: 'display_config_2xHqFrontends', instance_environment_type: 'development',
      sign_in_url: `https://${HOST}/sign-in`, sign_up_url: `https://${HOST}/sign-up`,
    },
    user_settings: { attributes: {}, social: {}, sign_in: {}, sign_up: {} },
    organization_settings: { enabled: false },
  };
}

function session(id, user, token) {
  const at = Date.now();
  const times = { created_at: at, updated_at: at };
  const lists = ['email_addresses', 'phone_numbers', 'web3_wallets', 'external_accounts', 'organization_memberships'];
  return {
    object: 'session', id, status: 'active', last_active_at: at, expire_at: at + 1e9, abandon_at: at + 1e9, ...times,
    last_active_organization_id: null, actor: null, tasks: [], last_active_token: token, public_user_data: {},
    user: { object: 'user', id: user, ...Object.fromEntries(lists.map((list) => [list, []])), ...times },
  };
}

// Back to the page, with what tells it which browser this is.
function away(response, status, address, more = {}) {
  const location = new URL(address);
  for (const [name, value] of Object.entries({ __clerk_db_jwt: BROWSER, ...more })) location.searchParams.set(name, value);
  response.writeHead(status, { location: location.href });
  response.end();
}

function json(response, value) {
  return send(response, 'application/json', JSON.stringify(value));
}

function send(response, type, text) {
  response.writeHead(200, { 'content-type': type });
  response.end(text);
}

// A certificate of nobody's: the browser is told not to mind.
function certificate() {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-'));
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(folder, name));
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${HOST}`];
  execFileSync('openssl', ['req', '-x509', ...kind, '-days', '2', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const pair = { key: readFileSync(key), cert: readFileSync(cert) };
  rmSync(folder, { recursive: true });
  return pair;
}
