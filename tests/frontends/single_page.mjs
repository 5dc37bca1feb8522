// Pages of files in a browser, with Clerk's own script in them; their API is on another origin, behind the proxy.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Calls } from './calls.mjs';
import { ADA, ALAN, FrontendApi, PUBLISHABLE_KEY } from './frontend_api.mjs';
import { REACT, build, site } from './site.mjs';
import { Program, body, freeAddress, listening } from '../browser/program.mjs';
import { Visitor } from '../browser/visitor.mjs';

const EXPIRED = 'session-token-expired';
// Milliseconds that a clock is behind: by it, a token that has expired is good, and Clerk's script keeps it.
const SLOW = 300_000;

const ALL = [states, late, neverGood, otherRefusals, bodies, anothersOrders, down];
const FEW = [states, late, neverGood];

export async function singlePage(cases, { browser, issuer, api, folder }, front) {
  const page = await site(front);
  const backend = await Backend.start(page.origin);
  const [proxy, admin] = [await freeAddress(), await freeAddress()];
  await build(front, proxy);
  const settings = join(folder, `${front.name}.toml`);
  writeFileSync(settings, issuer.settings);
  const words = ['--workers', '1', '--config', settings, '--upstream', backend.origin, '--authorized-party', page.origin];
  const program = await Program.serve(words, { CLERK_PUBLISHABLE_KEY: PUBLISHABLE_KEY }, proxy, admin);
  const there = { browser, api, backend, page, name: front.name, url: `${page.origin}${front.path}`, calls: new Calls(program, proxy) };
  try {
    for (const scene of front === REACT ? ALL : FEW) {
      api.reset();
      Object.assign(backend, { calls: [], preflights: [], answers: 200 });
      await cases.scene(`${front.name}: ${scene.name}`, () => scene(cases, there));
    }
    cases.same(`${front.name}: SIGTERM ends the proxy with status 0`, await program.stop(), 0);
  } finally {
    await Promise.all([page.close(), backend.close()]);
  }
}

// An API that lets the page's scripts call it, and remembers who did.
class Backend {
  static async start(party) {
    const backend = new Backend();
    const allowed = {
      'access-control-allow-origin': party, 'access-control-allow-headers': 'authorization, content-type, x-note',
      'access-control-allow-methods': 'GET, PUT, POST', vary: 'Origin',
    };
    const { origin, close } = await listening(async (request, response) => {
      const { method, url, headers } = request;
      const text = await body(request);
      if (method === 'OPTIONS') {
        backend.preflights.push(headers['x-clerk-principal']);
        response.writeHead(204, allowed);
        return response.end();
      }
      const user = headers['x-clerk-user-id'];
      backend.calls.push({ method, url, user, body: text, note: headers['x-note'] });
      response.writeHead(backend.answers, { ...allowed, 'content-type': 'text/plain' });
      return response.end(`2 orders of ${user}`);
    });
    return Object.assign(backend, { origin, close });
  }
}

// Opens the page in a browser of its own; `asked()` is what has come to the proxy since.
async function opened({ browser, url, calls }, { slow = false } = {}) {
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  if (slow) await tab.page.clock.setSystemTime(Date.now() - SLOW);
  const asked = await calls.from();
  await tab.open(url);
  return { visitor, tab, asked, shown: (text) => tab.page.getByText(text, { exact: true }).waitFor() };
}

async function states(cases, there) {
  const { api, backend, name } = there;
  const release = api.hold();
  const { visitor, tab, asked, shown } = await opened(there);
  await shown('Loading …');
  cases.same(`${name}: until Clerk has answered it says that it loads`, await tab.text(), 'Loading …');
  await tab.shoot(`${name}-loading`);

  release();
  await shown('Sign in');
  cases.same(`${name}: whoever is signed out is offered to sign in, and nothing else`, await tab.text(), 'Sign in');
  await tab.shoot(`${name}-signed-out`);
  cases.same(`${name}: until then the API was asked for nothing`, await asked(), []);

  await tab.press('button', 'Sign in', (url) => url.pathname === '/sign-in');
  await tab.press('button', 'Enter', there.url);
  await shown(`2 orders of ${ADA}`);
  cases.same(`${name}: whoever is signed in sees what the backend answers`, await tab.text(), `2 orders of ${ADA}`);
  await tab.shoot(`${name}-signed-in`);
  cases.same(`${name}: it takes one request`, await asked(), ['GET 200 none']);
  cases.same(`${name}: the preflight came to the backend as from nobody`, backend.preflights, ['anonymous']);
  await visitor.leave();
}

async function late(cases, there) {
  const { api, backend, name } = there;
  Object.assign(api, { user: ADA, tokens: [FrontendApi.expired(), {}] });
  const { visitor, tab, asked, shown } = await opened(there, { slow: true });
  await shown(`2 orders of ${ADA}`);
  cases.same(`${name}: a token that came too late is refused once, a fresh one is not`, await asked(), [`GET 401 ${EXPIRED}`, 'GET 200 none']);
  cases.same(`${name}: one fresh token was asked for`, api.renewals, 1);
  cases.same(`${name}: the backend was asked once, by her`, backend.calls.map((call) => call.user), [ADA]);
  cases.same(`${name}: nobody sees any of it`, await tab.text(), `2 orders of ${ADA}`);
  await visitor.leave();
}

async function neverGood(cases, there) {
  const { api, backend, name } = there;
  Object.assign(api, { user: ADA, tokens: [FrontendApi.expired()] });
  const { visitor, tab, asked, shown } = await opened(there, { slow: true });
  await shown('Refused: 401');
  await quiet(tab);
  cases.same(`${name}: it is tried again once and not more`, await asked(), [`GET 401 ${EXPIRED}`, `GET 401 ${EXPIRED}`]);
  cases.same(`${name}: the backend was asked nothing`, backend.calls, []);
  await tab.shoot(`${name}-refused`);
  await visitor.leave();

  Object.assign(api, { tokens: [{ azp: 'https://elsewhere.example.com' }] });
  const other = await opened(there);
  await other.shown('Refused: 401');
  const wrong = 'GET 401 token-invalid-authorized-parties';
  cases.same(`${name}: neither is a token of another page`, await other.asked(), [wrong, wrong]);
  await other.visitor.leave();
}

async function otherRefusals(cases, there) {
  const { api, backend, calls } = there;
  api.user = ADA;
  for (const status of [401, 403, 500, 503]) {
    backend.answers = status;
    const { visitor, tab, asked, shown } = await opened(there);
    await shown(`Refused: ${status}`);
    await quiet(tab);
    cases.same(`react: the backend's own ${status} is not tried again`, await asked(), [`GET ${status} none`]);
    await visitor.leave();
  }
  backend.answers = 200;

  // Whoever has signed out meanwhile has no token to send.
  const { visitor, tab, shown } = await opened(there);
  await shown(`2 orders of ${ADA}`);
  await tab.page.evaluate(() => Clerk.signOut());
  await shown('Sign in');
  const since = await calls.from();
  await tab.page.evaluate(() => call('orders'));
  cases.same('react: without a token it is asked once, as nobody', await since(), ['GET 401 dev-browser-missing']);
  await visitor.leave();
}

async function bodies(cases, there) {
  const { api, backend, calls } = there;
  Object.assign(api, { user: ADA, tokens: [{}] });
  const { visitor, tab, shown } = await opened(there);
  await shown(`2 orders of ${ADA}`);
  const since = await calls.from();
  backend.calls = [];
  const stale = await api.mint({ sub: ADA, azp: there.page.origin, ...FrontendApi.expired() });
  const answer = await tab.page.evaluate(async (stale) => {
    const { getToken } = Clerk.session;
    Clerk.session.getToken = (options) => (options.skipCache ? getToken(options) : stale);
    const headers = { 'Content-Type': 'application/json', 'X-Note': 'kept' };
    const answer = await call('orders?x=1', { method: 'PUT', body: '{"item":"tea"}', headers });
    return [answer.status, await answer.text()];
  }, stale);
  cases.same('react: a request with a body is answered', answer, [200, `2 orders of ${ADA}`]);
  cases.same('react: it was sent twice', await since(), [`PUT 401 ${EXPIRED}`, 'PUT 200 none']);
  const wanted = { method: 'PUT', url: '/orders?x=1', user: ADA, body: '{"item":"tea"}', note: 'kept' };
  cases.same('react: it came to the backend once, as a whole', backend.calls, [wanted]);
  await visitor.leave();
}

async function anothersOrders(cases, there) {
  const { api } = there;
  api.begin(ADA);
  const { visitor, tab, asked, shown } = await opened(there);
  await shown(`2 orders of ${ADA}`);
  api.begin(ALAN);
  await tab.page.evaluate(async () => {
    const { sessions } = await Clerk.client.reload();
    await Clerk.setActive({ session: sessions[0].id });
  });
  await shown(`2 orders of ${ALAN}`);
  cases.same('react: whoever comes next sees their own', await tab.text(), `2 orders of ${ALAN}`);
  cases.same('react: each has asked once', await asked(), ['GET 200 none', 'GET 200 none']);

  await tab.page.evaluate(() => Clerk.signOut());
  await shown('Sign in');
  cases.same('react: whoever signs out is offered to sign in', await tab.text(), 'Sign in');
  await visitor.leave();
}

async function down(cases, there) {
  there.api.user = ADA;
  const { visitor, tab, shown } = await opened(there);
  await shown(`2 orders of ${ADA}`);
  await visitor.context.route(/\/orders$/, (route) => route.abort());
  await tab.reload();
  await shown('The API cannot be reached.');
  cases.same('react: an API that is not there is told', await tab.text(), 'The API cannot be reached.');
  await tab.shoot('react-down');
  await visitor.leave();
}

// A page that asks again on and on has done so by then: what it asked came to the proxy before these came back.
async function quiet(tab) {
  for (const _ of Array(5)) await tab.page.evaluate(() => fetch('/').then((answer) => answer.text()));
}
