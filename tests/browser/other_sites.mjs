// What pages of other sites try with somebody's cookies, and what the page's own may do.

import { listening } from './program.mjs';

// `tab` shows a page of the proxy's, of somebody who is signed in; `asked` gives what the backend was
// asked for so far. Beside that the browser wants an icon for each page, which is not looked at.
export async function otherSites(cases, where, { visitor, tab, proxy, program, asked }) {
  const since = (before) => asked().slice(before).filter((path) => path !== '/favicon.ico');
  const site = await listening((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<!doctype html><link rel="icon" href="data:,"><title>Another site</title>
      <a href="${proxy}/linked?x=1">A link</a>`);
  });
  try {
    const isCounted = (line) => line.includes('reason="cross-site-request"');
    const counted = () => program.metric('countersign_requests_total', isCounted);
    cases.same(`${where}: before, no site tried anything`, await counted(), 0);
    // Ports share cookies, so a page at the same host name sends them; one at another does not.
    for (const [name, host, status, reason] of [
      ['another port', '127.0.0.1', 403, 'cross-site-request'],
      ['another host', 'localhost', 401, null],
    ]) {
      const stranger = await visitor.tab();
      const origin = `http://${host}:${site.port}`;
      const before = asked().length;
      const seen = await attempts(stranger, origin, proxy, program);
      for (const [attempt, line] of Object.entries(seen)) {
        cases.same(`${where}: ${name}: ${attempt} is refused`, [line.status, reason && line.reason], [status, reason]);
        if (status === 403) cases.same(`${where}: ${name}: ${attempt} had the cookies`, line.carrier, 'cookie');
      }
      cases.same(`${where}: ${name}: the backend was not asked`, since(before), []);
      await stranger.page.close();
    }
    cases.same(`${where}: what came with cookies is counted`, await counted(), 4);

    const stranger = await visitor.tab();
    await stranger.open(`http://127.0.0.1:${site.port}/`);
    await visitor.pause();
    const steps = await stranger.press('link', 'A link', `${proxy}/linked?x=1`);
    cases.same(`${where}: a link from another site is followed`, steps.at(-1).status, 200);
    cases.same(`${where}: by a handshake`, steps[0].reason, 'primary-domain-cross-origin-sync');
    await stranger.page.close();
  } finally {
    await site.close();
  }

  const before = asked().length;
  const seen = await attempts(tab, null, proxy, program);
  for (const [attempt, line] of Object.entries(seen)) {
    cases.check(`${where}: the page itself: ${attempt} is not refused`, line.status < 400 && line.decision === 'allowed', line);
  }
  const all = ['/simple', '/readable', '/socket', '/form'];
  cases.same(`${where}: the page itself: the backend was asked each time`, since(before), all);
}

// Has a page try all ways to have the browser send something that may change something; gives the
// lines of the access log. Without an `origin` the page is the one that the tab shows.
async function attempts(tab, origin, proxy, program) {
  const from = program.access().length;
  const seen = {};
  const at = async (name, path) => {
    seen[name] = await program.answered((line) => line.path === path, from);
  };
  if (origin) await tab.open(`${origin}/`);

  await tab.page.evaluate(async (url) => {
    await fetch(url, { method: 'POST', body: 'a=b', credentials: 'include', mode: 'no-cors' });
  }, `${proxy}/simple`);
  await at('a simple POST', '/simple');

  await tab.page.evaluate((url) => {
    const headers = { 'content-type': 'text/plain' };
    return fetch(url, { method: 'POST', body: 'a=b', credentials: 'include', headers }).then(() => {}, () => {});
  }, `${proxy}/readable`);
  await at('a POST that wants to read', '/readable');

  await tab.page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = socket.onerror = resolve;
  }), `${proxy.replace('http', 'ws')}/socket`);
  await at('a WebSocket', '/socket');

  await tab.until(`${proxy}/form`, () => tab.page.evaluate((url) => {
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action: url });
    document.body.append(form);
    form.submit();
  }, `${proxy}/form`));
  await at('a form', '/form');
  return seen;
}
