// A Next.js application as a whole behind the proxy, without Clerk's middleware: pages, routes, actions, streams.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADA, ALAN, FrontendApi, PUBLISHABLE_KEY } from './frontend_api.mjs';
import { Next } from './next_server.mjs';
import { suffixOf } from '../browser/clerk.mjs';
import { Program, freeAddress } from '../browser/program.mjs';
import { Visitor } from '../browser/visitor.mjs';

const COMPILES = 60_000; // milliseconds that the server for development may take for a page
// The settings are those that people are told to paste.
const GUIDE = new URL('../../deploy/examples/frontends/README.md', import.meta.url);
const [, ROUTES] = /^```toml\n(.*?)^```$/ms.exec(readFileSync(GUIDE, 'utf8'));

export async function next(cases, { browser, issuer, api, folder }) {
  const [proxy, admin] = [await freeAddress(), await freeAddress()];
  await Next.build();
  const app = await Next.start();
  const settings = join(folder, 'next.toml');
  writeFileSync(settings, `${issuer.settings}\n${ROUTES}`);
  const serve = (upstream) => Program.serve(
    ['--config', settings, '--upstream', upstream.origin, '--authorized-party', proxy],
    { CLERK_PUBLISHABLE_KEY: PUBLISHABLE_KEY, CLERK_SIGN_IN_URL: api.signIn }, proxy, admin,
  );
  const program = await serve(app);
  const there = { browser, api, issuer, proxy, serve };
  try {
    for (const scene of [assets, routes, forgeries, streams, people, actions]) {
      api.reset();
      await cases.scene(`next: ${scene.name}`, () => scene(cases, there));
    }
    cases.same('next: SIGTERM ends the proxy with status 0', await program.stop(), 0);
  } finally {
    await app.stop();
  }
  await cases.scene('next: development', () => development(cases, there));
}

// What a script with a token is answered, or one without.
async function ask({ proxy, issuer }, path, { user, ...init } = {}) {
  const headers = { ...init.headers, ...(user && { authorization: `Bearer ${await issuer.mint({ sub: user, azp: proxy })}` }) };
  return fetch(`${proxy}${path}`, { redirect: 'manual', ...init, headers });
}

async function assets(cases, there) {
  const page = await (await ask(there, '/', { user: ADA })).text();
  const [script] = page.match(/\/_next\/static\/[^"]+\.js/) ?? [];
  const answer = await ask(there, script);
  const of = (name) => answer.headers.get(name);
  const seen = [answer.status, of('content-type'), of('cache-control')];
  cases.same('next: scripts come without a token', seen, [200, 'application/javascript; charset=UTF-8', 'public, max-age=31536000, immutable']);
  const logo = await ask(there, '/logo.svg');
  cases.same('next: so does what stands in public/', [logo.status, logo.headers.get('content-type')], [200, 'image/svg+xml']);
  for (const path of ['/notes', '/api/whoami', '/notes?_rsc=1', '/_next/data/x/notes.json', '/_next/image?url=%2Flogo.svg&w=16&q=75']) {
    const { status } = await ask(there, path, { headers: { rsc: '1' } });
    cases.same(`next: ${path} does not`, status, 401);
  }
}

async function routes(cases, there) {
  const told = await (await ask(there, '/api/whoami', { user: ADA })).json();
  const { 'x-clerk-principal': principal, 'x-clerk-user-id': user, 'x-clerk-org-role': role } = told.told;
  cases.same('next: a route handler is told who calls', [principal, user, role], ['user', ADA, 'org:admin']);
  const posted = await ask(there, '/api/whoami', { user: ALAN, method: 'POST', body: 'x'.repeat(300_000) });
  const { told: by, body } = await posted.json();
  cases.same('next: a POST comes with its body', [by['x-clerk-user-id'], body.length], [ALAN, 300_000]);
  const page = await (await ask(there, '/', { user: ALAN })).text();
  cases.check('next: a page is told who calls', page.includes(`Hello <!-- -->${ALAN}`), page.slice(0, 600));
  const anybody = await (await ask(there, '/')).text();
  cases.check('next: a page for everybody is told that nobody does', anybody.includes('Hello <!-- -->nobody'), anybody.slice(0, 600));
}

async function forgeries(cases, there) {
  const headers = { 'x-clerk-user-id': 'root', 'x-clerk-principal': 'user', 'x-middleware-subrequest': 'middleware:middleware' };
  const refused = await ask(there, '/api/whoami', { headers });
  cases.same('next: forged headers make nobody a caller', refused.status, 401);
  const { told } = await (await ask(there, '/api/whoami', { user: ADA, headers })).json();
  cases.same('next: nor another one', told['x-clerk-user-id'], ADA);
}

async function streams(cases, there) {
  const answer = await ask(there, '/stream', { user: ADA });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const shell = await read(reader, 'The slow part is on its way.');
  cases.check('next: the shell of a page comes before its slow part is there', !shell.includes('for user_'), shell);
  await ask(there, '/api/release', { user: ADA, method: 'POST' });
  const rest = await read(reader, `The slow part, for ${ADA}.`);
  cases.check('next: the slow part follows', rest.includes(ADA), rest);
}

// Reads on until this has come.
async function read(reader, wanted) {
  let text = '';
  while (!text.includes(wanted)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended without ${wanted}: ${text}`);
    text += value;
  }
  return text;
}

async function people(cases, there) {
  const { api, browser, proxy } = there;
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  const steps = await tab.open(`${proxy}/`);
  const statuses = steps.map(({ status, url }) => `${status} ${url.pathname}`);
  cases.same('next: a browser that nobody knows goes by the handshake', statuses, [
    '307 /', '307 /v1/client/handshake', '307 /', '200 /',
  ]);
  await tab.page.getByRole('button', { name: 'Sign in' }).waitFor();
  cases.same('next: a page for everybody greets nobody, and offers to sign in', await tab.text(), 'Hello nobody\nSign in');
  await tab.shoot('next-signed-out');

  await tab.press('button', 'Sign in', (url) => url.pathname === '/sign-in');
  await tab.press('button', 'Enter', `${proxy}/`);
  await tab.page.getByText(`2 orders of ${ADA}`).waitFor();
  cases.same('next: server and script agree on who is signed in', await tab.text(), `Hello ${ADA}\n2 orders of ${ADA}`);
  await tab.shoot('next-signed-in');

  await expire(visitor, there);
  const renewed = await tab.open(`${proxy}/`);
  cases.same('next: a page with an expired session is renewed', renewed.map(({ status, url }) => `${status} ${url.pathname}`), [
    '307 /', '307 /v1/client/handshake', '307 /', '200 /',
  ]);
  cases.same('next: and is still hers', await tab.heading(), `Hello ${ADA}`);

  await tab.page.getByText(`2 orders of ${ADA}`).waitFor();
  await tab.page.evaluate(() => Clerk.signOut());
  await tab.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await tab.reload();
  cases.same('next: after a sign-out the page greets nobody', await tab.heading(), 'Hello nobody');
  await visitor.leave();
}

async function actions(cases, there) {
  const { api, browser, proxy } = there;
  api.user = ADA;
  const visitor = await Visitor.of(browser);
  const tab = await visitor.tab();
  const steps = await tab.open(`${proxy}/notes`);
  cases.same('next: a page that wants a caller has one', steps.at(-1).status, 200);
  await tab.page.getByLabel('Text').fill('tea');
  await tab.page.getByRole('button', { name: 'Write' }).click();
  await tab.page.getByText(`${ADA} wrote tea`).waitFor();
  cases.check('next: a server action knows who calls', true);
  await tab.shoot('next-action');

  const cookies = Object.values(await visitor.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  const foreign = { cookie: cookies, origin: 'https://elsewhere.example.com' };
  const refused = await ask(there, '/notes', { method: 'POST', headers: foreign });
  cases.same('next: a page of another site can start none', [refused.status, (await refused.json()).reason], [403, 'cross-site-request']);

  cases.same('next: a link is followed by the script of the page', await follow(tab, 'Home', '/'), 200);
  await tab.page.getByRole('heading', { name: `Hello ${ADA}` }).waitFor();

  await tab.open(`${proxy}/notes`);
  await tab.page.waitForFunction(() => window.Clerk?.loaded);
  await expire(visitor, there);
  cases.same('next: with an expired session the script is refused', await follow(tab, 'Stream', '/stream'), 401);
  await tab.page.getByText(`The slow part, for ${ADA}.`).waitFor();
  cases.same('next: and the browser goes there itself, and is renewed', new URL(tab.url).pathname, '/stream');

  // As Clerk's middleware has it: only the browser itself can be sent to Clerk, and this page is for everybody.
  await tab.open(`${proxy}/notes`);
  await tab.page.waitForFunction(() => window.Clerk?.loaded);
  await expire(visitor, there);
  cases.same('next: where a page is for everybody it is not', await follow(tab, 'Home', '/'), 200);
  await tab.page.getByRole('heading', { name: 'Hello nobody' }).waitFor();
  await visitor.leave();
}

// Clicks a link; returns the status of what the page's script is answered for it.
async function follow(tab, name, path) {
  const [answer] = await Promise.all([
    tab.page.waitForResponse((answer) => new URL(answer.url()).pathname === path && answer.request().headers().rsc === '1'),
    tab.page.getByRole('link', { name }).click(),
  ]);
  return answer.status();
}

// As if a minute had passed in which Clerk's script did not run.
async function expire(visitor, { api, proxy }) {
  const stale = await api.mint({ sub: ADA, azp: proxy, sid: api.session, ...FrontendApi.expired() });
  for (const suffix of ['', `_${suffixOf(PUBLISHABLE_KEY)}`]) await visitor.put(`__session${suffix}`, stale, new URL(proxy).hostname);
}

async function development(cases, there) {
  const { api, browser, proxy, serve } = there;
  api.reset();
  api.user = ADA;
  const app = await Next.start('dev');
  const program = await serve(app);
  const visitor = await Visitor.of(browser);
  try {
    const tab = await visitor.tab();
    // It is compiled when it is asked for.
    tab.page.setDefaultTimeout(COMPILES);
    const [socket] = await Promise.all([tab.page.waitForEvent('websocket'), tab.open(`${proxy}/`)]);
    await socket.waitForEvent('framereceived', { timeout: COMPILES });
    cases.same('next dev: a page is told who calls', await tab.heading(), `Hello ${ADA}`);
    const { pathname } = new URL(socket.url());
    cases.same('next dev: the page opens its socket', pathname, '/_next/hmr');
    await tab.page.getByText(`2 orders of ${ADA}`).waitFor();

    await tab.page.evaluate(() => { window.stays = true; });
    await app.edit('app/page.tsx', (text) => text.replace('Hello', 'Welcome'));
    // Whom it greets depends on how old the cookie is by then: on a slow machine, nobody.
    await tab.page.getByRole('heading', { name: /^Welcome / }).waitFor();
    cases.same('next dev: a change of the source is seen without a reload', await tab.page.evaluate(() => window.stays), true);
    await tab.page.close();
    const upgrade = await program.answered((line) => line.path === '/_next/hmr');
    cases.same('next dev: the socket went through the proxy', [upgrade.status, upgrade.decision], [101, 'allowed']);
  } finally {
    await visitor.leave();
    await Promise.all([program.stop(), app.stop()]);
  }
}
