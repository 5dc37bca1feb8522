// People with browsers before `countersign demo`: they sign in, stay longer than a token lives, and sign out.

import { suffixOf } from './clerk.mjs';
import { otherSites } from './other_sites.mjs';
import { Program } from './program.mjs';
import { Visitor } from './visitor.mjs';

const ADA = 'user_2xHq6uHb8KkM3nQs5VxY7zCeGjR';
const ALAN = 'user_2xHq9bLe4NpQ6sUw8YaC1dGjKnX';
// A session token lives 60 s, the leeway is 5 s, and a reload takes its time.
const LONGER_THAN_A_TOKEN = 70_000;

export async function demo(cases, browser) {
  const program = await Program.demo();
  const there = new There(program.about);
  // Two sign in and wait for their tokens to expire; the others come meanwhile.
  let wait;
  const waiting = new Promise((resolve) => { wait = resolve; });
  const longest = cases.scene('demo: renewed', () => renewed(cases, browser, there, wait)).finally(wait);
  await waiting;
  for (const scene of [deepLink, scripts, nobody, oftenOut, elsewhere]) {
    await cases.scene(`demo: ${scene.name}`, () => scene(cases, browser, there, program));
  }
  await longest;
  cases.same('demo: SIGTERM ends it with status 0', await program.stop(), 0);
}

// Where everything is.
class There {
  constructor({ proxy, issuer, publishable_key: key }) {
    Object.assign(this, { proxy, issuer, key });
  }

  isSignIn = (url) => url.href.startsWith(`${this.issuer}/sign-in?`);

  isSignOut = (url) => url.href.startsWith(`${this.issuer}/sign-out?`);

  // The steps of a journey as a line each: status, place and what is asked there.
  told(steps) {
    return steps.map(({ status, url }) => `${status} ${url.origin === this.proxy ? 'proxy' : 'issuer'} ${url.pathname}`);
  }

  async signIn(tab, path, name) {
    await tab.open(`${this.proxy}${path}`);
    return tab.press('button', name, `${this.proxy}${path}`);
  }
}

async function renewed(cases, browser, there, wait) {
  const [ada, alan] = [await Visitor.of(browser), await Visitor.of(browser, { scripts: true })];
  const tab = await ada.tab();
  await firstSignIn(cases, ada, tab, there);

  const second = await ada.tab();
  const steps = await second.open(`${there.proxy}/hello`);
  cases.same('demo: a second tab is signed in at once', there.told(steps), ['200 proxy /hello']);

  const alone = await alan.tab();
  await there.signIn(alone, '/orders?x=1', /Alan/);
  cases.check('demo: Alan is another user', (await alone.text()).includes(ALAN), await alone.text());
  // As a browser that has only what Clerk's own front end gives it.
  await alan.take(`__refresh_${suffixOf(there.key)}`);

  wait();
  await new Promise((resolve) => setTimeout(resolve, LONGER_THAN_A_TOKEN));

  await refreshed(cases, ada, tab, second, there);
  await shaken(cases, alan, alone, there);
  await signedOut(cases, ada, tab, second, there);
  await Promise.all([ada.leave(), alan.leave()]);
}

async function firstSignIn(cases, ada, tab, there) {
  let steps = await tab.open(`${there.proxy}/`);
  cases.same('demo: a first visit ends at the sign-in page', there.told(steps), [
    '307 proxy /', '307 issuer /v1/client/handshake', '307 proxy /', '307 proxy /', '200 issuer /sign-in',
  ]);
  cases.same('demo: the first visit has a handshake for a browser that nobody knows', steps[0].reason, 'dev-browser-missing');
  cases.check('demo: the secret key has it come back as a nonce', steps[2].url.searchParams.has('__clerk_handshake_nonce'), steps[2]);
  cases.same('demo: the way back is the address', new URL(tab.url).searchParams.get('redirect_url'), `${there.proxy}/`);
  cases.same('demo: the sign-in page says what it is', await tab.heading(), 'Sign in');
  const before = await ada.cookies();
  cases.same('demo: before that nobody is signed in', [before.__client_uat?.value, before.__session], ['0', undefined]);
  await tab.shoot('sign-in');

  steps = await tab.press('button', /Ada/, `${there.proxy}/`);
  cases.same('demo: choosing Ada leads back by a handshake', there.told(steps), [
    '303 issuer /sign-in', '307 proxy /', '307 issuer /v1/client/handshake', '307 proxy /', '200 proxy /',
  ]);
  cases.same('demo: the address is clean', tab.url, `${there.proxy}/`);
  const text = await tab.text();
  for (const told of ['You are signed in', ADA, 'org:admin', 'The countersignature verifies.']) {
    cases.check(`demo: the page says ${told}`, text.includes(told), text);
  }
  await checkCookies(cases, ada, suffixOf(there.key));
  await tab.shoot('signed-in');

  steps = await tab.open(`${there.proxy}/orders?x=1`);
  cases.same('demo: the next page needs nothing', there.told(steps), ['200 proxy /orders']);
  steps = await tab.reload();
  cases.same('demo: a reload at once needs nothing', there.told(steps), ['200 proxy /orders']);
  cases.same('demo: and sets nothing', steps[0].sets, []);
}

async function checkCookies(cases, visitor, suffix) {
  cases.same('demo: the cookies are Clerk’s', await visitor.cookieNames(), [
    '__clerk_db_jwt', `__clerk_db_jwt_${suffix}`, '__client_uat', `__client_uat_${suffix}`,
    `__refresh_${suffix}`, '__session', `__session_${suffix}`,
  ]);
  const cookies = await visitor.cookies();
  cases.same('demo: no script sees the refresh token', cookies[`__refresh_${suffix}`]?.httpOnly, true);
  const strict = Object.values(cookies).filter((cookie) => cookie.sameSite !== 'Lax').map((cookie) => cookie.name);
  cases.same('demo: other sites do not send them', strict, []);
}

async function refreshed(cases, ada, tab, second, there) {
  const before = (await ada.cookies()).__session.value;

  // The session is asked for a new token behind the scenes: there is a secret key, and a refresh token.
  const steps = await tab.reload();
  cases.same('demo: 70 s later a reload shows the page without a redirect', there.told(steps), ['200 proxy /orders']);
  cases.check('demo: it sets a new session', steps[0].sets.some((line) => line.startsWith('__session=ey')), steps[0].sets);
  cases.same('demo: the address stays as it is', tab.url, `${there.proxy}/orders?x=1`);
  cases.check('demo: the page is still Ada’s', (await tab.text()).includes(ADA), await tab.text());
  const after = (await ada.cookies()).__session.value;
  cases.check('demo: the session is the same, its token another', after !== before && sid(after) === sid(before), after);

  const again = await second.reload();
  cases.same('demo: the second tab has it, too', [there.told(again), again[0].sets], [['200 proxy /hello'], []]);
}

async function shaken(cases, alan, tab, there) {
  const before = (await alan.cookies()).__session.value;
  const asked = await script(tab, 'POST');
  cases.same('demo: 70 s later a script is told 401', [asked.status, asked.reason], [401, 'session-token-expired']);

  // Without a refresh token there is nothing but to go and ask.
  const steps = await tab.reload();
  cases.same('demo: 70 s later a reload goes through the handshake', there.told(steps), [
    '307 proxy /orders', '307 issuer /v1/client/handshake', '307 proxy /orders', '200 proxy /orders',
  ]);
  const sent = steps[1].url.searchParams;
  const reason = 'session-token-expired-refresh-non-eligible-no-refresh-cookie';
  cases.same('demo: the handshake is told why', sent.get('__clerk_hs_reason'), reason);
  cases.same('demo: and where the page is', sent.get('redirect_url'), `${there.proxy}/orders?x=1`);
  cases.same('demo: afterwards the address is clean', tab.url, `${there.proxy}/orders?x=1`);
  cases.check('demo: the page is still Alan’s', (await tab.text()).includes(ALAN), await tab.text());
  const after = (await alan.cookies()).__session.value;
  cases.check('demo: this session is the same, too', after !== before && sid(after) === sid(before), after);
}

async function signedOut(cases, ada, tab, second, there) {
  await tab.press('link', 'Sign out', there.isSignOut);
  cases.check('demo: a link alone signs nobody out', (await tab.text()).includes('signed in as Ada Lovelace'), await tab.text());
  await tab.shoot('sign-out');
  const steps = await tab.press('button', 'Sign out', there.isSignIn);
  cases.same('demo: after sign-out comes the sign-in page', steps.at(-1).url.pathname, '/sign-in');
  const left = (await ada.cookieNames()).filter((name) => /^__(session|refresh)/.test(name));
  cases.same('demo: no session is left', left, []);

  await second.reload();
  cases.check('demo: the second tab is signed out, too', there.isSignIn(new URL(second.url)), second.url);
  await tab.back();
  const seen = await tab.text();
  cases.check('demo: going back shows nobody’s page', !seen.includes(ADA), [tab.url, seen]);

  await tab.open(`${there.proxy}/public/hello`);
  cases.same('demo: a public page says that nobody is signed in', await tab.heading(), 'Nobody is signed in');
  await tab.shoot('nobody');
}

// An address that somebody was sent, of a place in a page.
async function deepLink(cases, browser, there) {
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  const address = `${there.proxy}/orders?x=1&y=%2F#frag`;
  await tab.open(address);
  cases.check('demo: a deep link ends at the sign-in page', there.isSignIn(new URL(tab.url)), tab.url);
  await tab.press('button', /Ada/, (url) => url.origin === there.proxy);
  cases.same('demo: after sign-in the deep link is where it was', tab.url, address);
  cases.check('demo: and shows who calls', (await tab.text()).includes(ADA), await tab.text());

  await tab.back();
  cases.same('demo: going back to the sign-in page leads here again', tab.url.split('#')[0], address.split('#')[0]);
  cases.check('demo: still signed in', (await tab.text()).includes(ADA), await tab.text());
  await visitor.leave();
}

// What a script of the page's own can do.
async function scripts(cases, browser, there) {
  const visitor = await Visitor.of(browser, { scripts: true });
  const tab = await visitor.tab();
  await tab.open(`${there.proxy}/public/hello`);
  for (const method of ['GET', 'POST']) {
    const { status, type, redirected } = await script(tab, method);
    const seen = [status, type, redirected];
    const wanted = [401, 'application/problem+json', false];
    cases.same(`demo: ${method} by a script of nobody: 401 and no redirect`, seen, wanted);
  }

  await there.signIn(tab, '/hello', /Ada/);
  for (const method of ['GET', 'POST']) {
    const { status, user } = await script(tab, method);
    cases.same(`demo: ${method} by a script of the page: 200, as Ada`, [status, user], [200, ADA]);
  }
  await visitor.leave();
}

// Asks for the echo by a script of the page; gives what the script could read.
function script(tab, method) {
  return tab.page.evaluate(async (method) => {
    const answer = await fetch('/orders', { method, body: method === 'POST' ? 'a=b' : undefined });
    const told = await answer.json();
    return {
      status: answer.status,
      type: answer.headers.get('content-type'),
      reason: answer.headers.get('x-clerk-auth-reason'),
      redirected: answer.redirected,
      user: told.identity?.['x-clerk-user-id'],
    };
  }, method);
}

// A page for everybody has nobody sign in.
async function nobody(cases, browser, there) {
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  const steps = await tab.open(`${there.proxy}/public/hello`);
  cases.same('demo: a public page is there for anybody', there.told(steps), ['200 proxy /public/hello']);
  cases.same('demo: and sets no cookies', await visitor.cookieNames(), []);
  await visitor.leave();
}

// Signing out and in again is no loop, however often somebody does.
async function oftenOut(cases, browser, there) {
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  await tab.open(`${there.proxy}/`);
  for (const [name, user] of [[/Ada/, ADA], [/Alan/, ALAN], [/Ada/, ADA], [/Alan/, ALAN], [/Ada/, ADA]]) {
    await visitor.pause();
    await tab.press('button', name, (url) => url.origin === there.proxy);
    const text = await tab.text();
    if (!cases.check(`demo: changing users often: ${name.source} is signed in`, text.includes(user), text)) break;
    await visitor.pause();
    await tab.press('link', 'Sign out', there.isSignOut);
    await tab.press('button', 'Sign out', (url) => !there.isSignOut(url));
    if (!cases.check(`demo: changing users often: ${name.source} is signed out`, there.isSignIn(new URL(tab.url)), tab.url)) break;
  }
  await visitor.leave();
}

// Pages of other sites.
async function elsewhere(cases, browser, there, program) {
  const visitor = await Visitor.of(browser, { scripts: true });
  const tab = await visitor.tab();
  await there.signIn(tab, '/hello', /Ada/);
  const asked = () => program.access().filter((line) => line.upstream_us !== undefined).map((line) => line.path);
  await otherSites(cases, 'demo', { visitor, tab, proxy: there.proxy, program, asked });
  await visitor.leave();
}

function sid(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).sid;
}
