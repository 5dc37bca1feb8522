// Compares: what Clerk's library says of a request, through the named deviations, and what the proxy answers.

import { isDeepStrictEqual } from 'node:util';
import { expected } from './deviations.mjs';
import { ROUTES } from './proxies.mjs';

// The answer that a verdict asks for, where every path has this access.
export function answerTo(verdict, access) {
  const { status, location, cookies } = verdict;
  // Clerk's one open-ended family of reasons is one word to us.
  const reason = verdict.reason?.startsWith('session-token-expired') ? 'session-token-expired' : verdict.reason;
  const answer = {
    status: 200, backend: null, authStatus: null, reason: null, location, cookies: [...cookies].sort(), caching: null,
  };
  const own = { ...answer, backend: 'not asked', reason, caching: 'no-store' };
  if (verdict.code) return { ...own, status: verdict.code };
  if (status === 'throws') return { ...own, status: 500 };
  if (status === 'handshake') return { ...own, status: 307, authStatus: 'handshake' };
  // The handshake of a development instance is over: the same address again.
  if (location !== null && status === 'signed-in') return { ...own, status: 307, reason: 'handshake-over' };
  if (location !== null) return { ...own, status: 307, authStatus: 'signed-out' };
  if (status === 'signed-in') return { ...answer, backend: verdict.caller };
  // Whatever cookies a browser has, it may see what is for everybody. A bearer token was shown on purpose.
  if (access === 'optional' && verdict.carrier === 'cookie') return answer;
  return { ...own, status: 401, authStatus: 'signed-out' };
}

// Judges a request. `world`: `ask` the library, `proxy` to ask with a request and an access, `mint`, `api`.
//
// Returns the library's verdict, the names of the deviations, and the differences: an access, what was expected, what
// came instead.
export async function judge(request, world) {
  const { api } = world;
  api.know(request.answers);
  const ask = async (other, options) => {
    api.know(other.answers);
    api.taken('clerk', other.answers);
    const verdict = await world.ask(other, options);
    const isBearer = other.headers.some(([name, value]) => name === 'Authorization' && /^Bearer([ \t]|$)/.test(value));
    return { ...verdict, carrier: isBearer ? 'header' : 'cookie', calls: api.taken('clerk', other.answers) };
  };
  const { verdict, clerks, deviations } = await expected(request, { ...world, ask });
  const differences = [];
  for (const access of ROUTES) {
    api.taken('ours', request.answers);
    const came = await world.proxy(request, access);
    const want = { ...answerTo(verdict, access), calls: verdict.calls };
    const got = { ...came, calls: api.taken('ours', request.answers) };
    if (!isDeepStrictEqual(got, want)) differences.push({ access, want, got });
  }
  return { clerks, deviations, differences };
}
