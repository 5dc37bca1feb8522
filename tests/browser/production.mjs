// People with browsers before `countersign serve` for a production instance, whose Frontend API is
// ours: it can be told to do what Clerk's never should.

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Clerk, USER, now } from './clerk.mjs';
import { otherSites } from './other_sites.mjs';
import { Program, body, freeAddress, listening } from './program.mjs';
import { Visitor } from './visitor.mjs';

// Where the backend is told who calls, or that nobody does.
const SETTINGS = '[[route]]\npath = "/feed"\naccess = "optional"\n';
const LOOPS = 'countersign_handshake_loops_total';

export async function production(cases, browser) {
  const [clerk, backend] = [await Clerk.start(), await Backend.start()];
  const [proxy, admin] = [await freeAddress(), await freeAddress()];
  const folder = mkdtempSync(join(tmpdir(), 'countersign-'));
  const file = join(folder, 'countersign.toml');
  writeFileSync(file, SETTINGS);
  const words = ['--config', file, '--upstream', backend.origin, '--authorized-party', proxy];
  const program = await Program.serve(words, { CLERK_PUBLISHABLE_KEY: clerk.publishableKey }, proxy, admin);
  const there = { browser, clerk, backend, program, proxy };
  try {
    for (const scene of [
      signInAndOut, expired, signedOutElsewhere, loop, forged, greedy, broken, silent, elsewhere, wrongParty, strangers,
    ]) {
      clerk.handshake = 'good';
      await cases.scene(`production: ${scene.name}`, () => scene(cases, there));
    }
    cases.same('production: SIGTERM ends it with status 0', await program.stop(), 0);
  } finally {
    await Promise.all([clerk.close(), backend.close()]);
    rmSync(folder, { recursive: true });
  }
}

// Remembers who called for what, and with which cookies.
class Backend {
  calls = [];

  static async start() {
    const backend = new Backend();
    const { origin, close } = await listening(async (request, response) => {
      await body(request);
      const { headers, method, url } = request;
      const user = headers['x-clerk-user-id'];
      const cookies = (headers.cookie ?? '').split('; ').map((pair) => pair.split('=')[0]);
      backend.calls.push({ method, url, principal: headers['x-clerk-principal'], user, cookies });
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(`<!doctype html><link rel="icon" href="data:,"><title>App</title><h1>Hello ${user || 'nobody'}</h1>`);
    });
    return Object.assign(backend, { origin, close });
  }

  last() {
    return this.calls.at(-1);
  }
}

// A browser in which somebody is signed in with Clerk; the application has seen nothing of it.
async function signedIn({ browser, clerk, proxy }, options) {
  const visitor = await Visitor.of(browser, options);
  await give(visitor, clerk.client(), proxy);
  return [visitor, await visitor.tab()];
}

async function give(visitor, cookies, proxy) {
  for (const [name, value] of Object.entries(cookies)) await visitor.put(name, value, new URL(proxy).hostname);
}

// The steps of a journey as a line each.
function told(steps, { proxy, clerk }) {
  const places = { [proxy]: 'proxy', [clerk.origin]: 'clerk' };
  return steps.map(({ status, url }) => `${status} ${places[url.origin] ?? 'elsewhere'} ${url.pathname}`);
}

async function signInAndOut(cases, there) {
  const { browser, clerk, backend, proxy } = there;
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  let steps = await tab.open(`${proxy}/orders?x=1`);
  cases.same('production: who is signed out is sent to sign in', told(steps, there), ['307 proxy /orders', '200 clerk /sign-in']);
  await tab.open(`${proxy}/feed`);
  cases.same('production: to a page for everybody the backend is told that nobody calls', backend.last().principal, 'anonymous');

  await tab.open(`${proxy}/orders?x=1`);
  steps = await tab.press('button', 'Sign in', `${proxy}/orders?x=1`);
  cases.same('production: a sign-in comes back by a handshake', told(steps, there), [
    '303 clerk /sign-in', '307 proxy /orders', '307 clerk /v1/client/handshake', '200 proxy /orders',
  ]);
  const [asked] = clerk.handshakes;
  const { redirect_url: back, format, __clerk_hs_reason: reason } = asked;
  const wanted = [`${proxy}/orders?x=1`, 'token', 'client-uat-but-no-session-token'];
  cases.same('production: the handshake says what it is for', [back, format, reason], wanted);
  cases.same('production: the backend is told who calls', [backend.last().url, backend.last().user], ['/orders?x=1', USER]);
  cases.same('production: the page says so', await tab.heading(), `Hello ${USER}`);
  cases.same('production: the cookies are Clerk’s', await visitor.cookieNames(), [
    '__client', '__client_uat', `__client_uat_${clerk.suffix}`, '__session', `__session_${clerk.suffix}`,
  ]);
  steps = await tab.reload();
  cases.same('production: a reload needs nothing', [told(steps, there), steps[0].sets], [['200 proxy /orders'], []]);
  await tab.open(`${proxy}/feed`);
  cases.same('production: a page for everybody is told who calls', backend.last().user, USER);

  await tab.open(`${clerk.origin}/sign-out?redirect_url=${encodeURIComponent(`${proxy}/feed`)}`);
  await tab.press('button', 'Sign out', `${proxy}/feed`);
  cases.same('production: the backend is told of a sign-out', [backend.last().principal, backend.last().user], ['anonymous', '']);
  steps = await tab.open(`${proxy}/orders?x=1`);
  cases.same('production: and whoever signed out may sign in', told(steps, there), ['307 proxy /orders', '200 clerk /sign-in']);
  await visitor.leave();
}

async function expired(cases, there) {
  const { clerk, backend, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  await tab.open(`${proxy}/orders?x=1`);
  const before = (await visitor.cookies()).__session.value;
  const { iat, sid } = claims(before);
  await give(visitor, clerk.session({ sid, iat, exp: now() - 10 }), proxy);
  const asked = clerk.handshakes.length;

  const steps = await tab.reload();

  cases.same('production: an expired token is renewed by a handshake', told(steps, there), [
    '307 proxy /orders', '307 clerk /v1/client/handshake', '200 proxy /orders',
  ]);
  const reason = 'session-token-expired-refresh-non-eligible-no-refresh-cookie';
  cases.same('production: one, which says why', clerk.handshakes.slice(asked).map((it) => it.__clerk_hs_reason), [reason]);
  cases.same('production: the address is clean', tab.url, `${proxy}/orders?x=1`);
  cases.same('production: the backend is told the same', [backend.last().url, backend.last().user], ['/orders?x=1', USER]);
  const after = claims((await visitor.cookies()).__session.value);
  cases.check('production: the session is the same and good again', after.sid === sid && after.exp > now(), after);
  await visitor.leave();
}

// Clerk says that nobody is signed in, whatever the cookies said.
async function signedOutElsewhere(cases, there) {
  const { clerk, backend, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  await visitor.take('__client');
  const calls = backend.calls.length;
  const steps = await tab.open(`${proxy}/`);
  cases.same('production: a sign-out elsewhere ends at the sign-in page', told(steps, there), [
    '307 proxy /', '307 clerk /v1/client/handshake', '307 proxy /', '200 clerk /sign-in',
  ]);
  cases.same('production: the cookies say so, too', (await visitor.cookies()).__client_uat.value, '0');
  cases.same('production: the backend was not asked', backend.calls.length, calls);
  await visitor.leave();
}

async function loop(cases, there) {
  const { clerk, program, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  clerk.handshake = 'empty';
  const steps = await looped(cases, there, 'a handshake that brings nothing', tab);
  cases.same('production: a loop is counted', await program.metric(LOOPS), 1);
  cases.same('production: who looks at it sees a problem', steps.at(-1).type, 'application/problem+json');
  await tab.shoot('refused');

  clerk.handshake = 'good';
  await visitor.pause();
  const again = await tab.reload();
  cases.same('production: after a loop a reload may be good again', told(again, there), [
    '307 proxy /orders', '307 clerk /v1/client/handshake', '200 proxy /orders',
  ]);
  await visitor.leave();
}

async function forged(cases, there) {
  const { clerk, program } = there;
  const [visitor, tab] = await signedIn(there);
  const before = [await visitor.cookieNames(), await program.metric(LOOPS)];
  clerk.handshake = 'forged';
  const steps = await looped(cases, there, 'a forged handshake', tab);
  const sets = steps.filter((step) => step.url.origin === there.proxy).flatMap((step) => step.sets);
  const counts = ['__clerk_redirect_count=', '__countersign_handshakes='];
  const others = sets.filter((line) => !counts.some((count) => line.startsWith(count)));
  cases.same('production: a forged handshake sets nothing', others, []);
  const left = (await visitor.cookieNames()).filter((name) => name !== '__clerk_handshake');
  cases.same('production: and leaves the cookies as they were', left, before[0]);
  cases.same('production: it is a loop, too', await program.metric(LOOPS), before[1] + 1);
  await visitor.leave();
}

// Opens a page; checks that it ends with 401 after three handshakes, and not in the browser's own error.
async function looped(cases, { clerk, backend, proxy }, name, tab) {
  const before = [clerk.handshakes.length, backend.calls.length];
  const steps = await tab.open(`${proxy}/orders?x=1`);
  const last = steps.at(-1);
  cases.same(`production: ${name}: three times, then 401`, [clerk.handshakes.length - before[0], last.status], [3, 401]);
  cases.same(`production: ${name}: it says what is wrong`, last.reason, 'client-uat-but-no-session-token');
  cases.same(`production: ${name}: the backend was not asked`, backend.calls.length, before[1]);
  cases.same(`production: ${name}: the address is the page’s`, tab.url, `${proxy}/orders?x=1`);
  return steps;
}

async function greedy(cases, there) {
  const { clerk, backend, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  clerk.handshake = 'greedy';
  await tab.open(`${proxy}/orders?x=1`);
  cases.same('production: a handshake with more in it is good', backend.last().user, USER);
  const wanted = ['__client', '__client_uat', `__client_uat_${clerk.suffix}`, '__session', `__session_${clerk.suffix}`];
  cases.same('production: but cookies that are not Clerk’s do not arrive', await visitor.cookieNames(), wanted);
  await tab.reload();
  const seen = backend.last().cookies.filter((name) => name !== '__clerk_redirect_count').sort();
  cases.same('production: and the backend sees none of them', seen, wanted);
  await visitor.leave();
}

async function broken(cases, there) {
  const { clerk, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  clerk.handshake = 'broken';
  const steps = await tab.open(`${proxy}/orders?x=1`);
  cases.same('production: a handshake that fails is shown as such', told(steps, there), [
    '307 proxy /orders', '500 clerk /v1/client/handshake',
  ]);
  await recovers(cases, there, tab, 'a handshake that failed');
  await visitor.leave();
}

async function silent(cases, there) {
  const { clerk, backend, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  clerk.handshake = 'silent';
  const begun = once(clerk, 'handshake');
  const stuck = tab.open(`${proxy}/orders?x=1`).catch((error) => error.message.split('\n')[0]);
  await begun;

  const other = await Visitor.of(there.browser);
  await give(other, { ...clerk.client(), ...clerk.session({}) }, proxy);
  const beside = await (await other.tab()).open(`${proxy}/beside`);
  cases.same('production: while Clerk keeps silent, who has a session goes on', told(beside, there), ['200 proxy /beside']);
  await other.leave();

  const calls = backend.calls.length;
  const shown = tab.page.waitForEvent('framenavigated', (frame) => frame.url().startsWith('chrome-error:'));
  clerk.drop();
  const [error] = await Promise.all([stuck, shown]);
  cases.check('production: who waits for Clerk is told by the browser', /ERR_EMPTY_RESPONSE/.test(error), error);
  cases.same('production: and the backend was not asked', backend.calls.length, calls);
  await recovers(cases, there, tab, 'a handshake without an answer');
  await visitor.leave();
}

async function elsewhere(cases, there) {
  const { clerk, proxy } = there;
  const [visitor, tab] = await signedIn(there);
  const seen = [];
  const site = await listening((request, response) => {
    seen.push([request.url, request.headers.cookie, request.headers.referer]);
    response.end('Elsewhere');
  });
  try {
    clerk.handshake = 'elsewhere';
    clerk.elsewhere = `http://localhost:${site.port}/landing`;
    const steps = await tab.open(`${proxy}/orders?x=1`);
    cases.same('production: a handshake may lead elsewhere', told(steps, there), [
      '307 proxy /orders', '307 clerk /v1/client/handshake', '200 elsewhere /landing',
    ]);
    const pages = seen.filter(([url]) => url !== '/favicon.ico');
    cases.same('production: which learns nothing of the session', pages, [['/landing', undefined, undefined]]);
    const next = await tab.open(`${proxy}/orders?x=1`);
    cases.same('production: who comes from there has what Clerk gave', told(next, there), ['200 proxy /orders']);
  } finally {
    await site.close();
    await visitor.leave();
  }
}

// Signed in, but not for this application: the sign-in page has nothing to do and sends everybody back.
async function wrongParty(cases, there) {
  const { browser, clerk, backend, program, proxy } = there;
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  await give(visitor, { ...clerk.client(), ...clerk.session({ azp: 'https://elsewhere.example' }) }, proxy);
  clerk.sendsBack = true;
  const before = [clerk.signIns, backend.calls.length, await program.metric(LOOPS)];
  const steps = await tab.open(`${proxy}/orders?x=1`);
  clerk.sendsBack = false;
  const seen = [clerk.signIns - before[0], steps.at(-1).status];
  cases.same('production: a sign-in page that sends straight back: three times, then 401', seen, [3, 401]);
  cases.same('production: a session of another party: it says so', steps.at(-1).reason, 'token-invalid-authorized-parties');
  cases.same('production: a session of another party: the backend was not asked', backend.calls.length, before[1]);
  cases.same('production: it is a loop, too', await program.metric(LOOPS), before[2] + 1);
  await visitor.leave();
}

async function strangers(cases, there) {
  const { backend, program, proxy } = there;
  const [visitor, tab] = await signedIn(there, { scripts: true });
  await tab.open(`${proxy}/`);
  await otherSites(cases, 'production', { visitor, tab, proxy, program, asked: () => backend.calls.map((call) => call.url) });
  await visitor.leave();
}

// Checks that once Clerk is well again, so is the page.
async function recovers(cases, { clerk, proxy }, tab, name) {
  clerk.handshake = 'good';
  const steps = await tab.open(`${proxy}/orders?x=1`);
  cases.same(`production: after ${name} the page comes`, steps.at(-1).status, 200);
}

function claims(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
}
