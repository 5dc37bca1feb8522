// Where the proxy answers otherwise than Clerk's library, and what it answers then: a row each, with a name and why.
//
// A row is no excuse for a difference: it says the answer. Most say which other request the library is to be asked in
// this one's place (`rewrite`), since our answer is Clerk's to that; the others say what becomes of the library's
// verdict (`instead`). Rows apply in order, each to what the rows above it have left. What they say is documented in
// README.md, “Where it differs from Clerk's own library”, or a case of `tests/it/corpus/tables.rs`.

import { CATEGORY, KID } from './tokens.mjs';
import {
  bearer, cookies, header, presented, query, tokens, withAnswers, withCookies, withHeader, withoutParameters,
  withTokens,
} from './rewrite.mjs';

const TOLD = 'Origin-As-Told';
const HANDSHAKE = ['__clerk_handshake', '__clerk_handshake_nonce'];

// What the library is asked for a request, and what that verdict is to us:
// `verdict`, the library's own `clerks` verdict, the names of the `deviations` that made a difference.
export async function expected(request, world) {
  const clerks = await world.ask(request);
  const parties = [...request.instance.origins, STAND_IN];
  const isChecked = request.instance.azp !== 'off';
  const ask = (other, options) =>
    world.ask(other, { ...(isChecked && { authorizedParties: parties }), ...options });
  const asked = { ...world, ask, original: request, back: (verdict) => verdict };
  let [current, verdict] = [request, clerks];
  const names = [];
  for (const row of DEVIATIONS) {
    let next = verdict;
    if (row.rewrite) {
      const changed = await row.rewrite(current, { ...asked, verdict });
      if (!changed) continue;
      const { request: other, back = (it) => it } = changed;
      current = other;
      const outer = asked.back;
      asked.back = (it) => outer(back(it));
      next = await ask(current);
    } else {
      const instead = await row.instead(verdict, current, asked);
      next = instead ? { ...instead, calls: withPayloads(instead.calls, verdict.calls) } : verdict;
    }
    if (JSON.stringify(asked.back(next)) !== JSON.stringify(asked.back(verdict))) names.push(row.name);
    verdict = next;
  }
  return { verdict: asked.back(verdict), clerks, deviations: names, asked: current };
}

// What a handshake has brought is looked at before anything that a row of `instead` is about.
function withPayloads(calls, before) {
  const isPayload = ({ url }) => url.includes('/handshake_payload?');
  if (!calls || !before) return calls;
  return [...before.filter(isPayload), ...calls.filter((call) => !isPayload(call))];
}

const signedOut = (reason, request) => ({
  status: 'signed-out', reason, location: null, cookies: [], caller: null, calls: [],
  carrier: header(request, 'Authorization') === undefined ? 'cookie' : 'header',
});

const isEligible = (request) => {
  const dest = header(request, 'Sec-Fetch-Dest');
  return request.method === 'GET'
    && (dest ? ['document', 'iframe'].includes(dest) : Boolean(header(request, 'Accept')?.startsWith('text/html')));
};

const isDocument = (request) => request.method === 'GET' && header(request, 'Sec-Fetch-Dest') === 'document';

const authority = (origin) => origin.split('://')[1];

// Tells whether one of the tokens that are shown, of those that `has`, gets as far as having its signature verified.
async function isVerified(request, { ask, mint }, has) {
  const broken = (alg) => withTokens(request, mint, (spec, token) => (has(spec) ? mint.changed(token, (it) => {
    it.signature = 'bad';
    if (typeof it.header === 'string') it.header = JSON.parse(it.header);
    const isMachine = ['at+jwt', 'application/at+jwt'].includes(it.header.typ);
    Object.assign(it.header, { alg, kid: KID, typ: isMachine ? it.header.typ : 'JWT' });
  }) : undefined), presented(request, mint));
  // A token whose signature was bad before is the same now.
  const [one, other] = [broken('RS256') ?? { request }, broken('none')];
  if (!other) return false;
  return (await ask(one.request)).reason === 'token-invalid-signature'
    && (await ask(other.request)).reason === 'token-invalid-algorithm';
}

// Tells whether a token that `has` decides, and nothing is wrong with it as far as the library looks.
async function isGood(verdict, request, world, has) {
  const isSignedIn = verdict.status === 'signed-in'
    || ['primary-domain-cross-origin-sync', 'active-organization-mismatch'].includes(verdict.reason);
  // Where other cookies are set it is with another token, which a handshake or a refresh has brought.
  const isOwn = verdict.cookies.every((line) => line.startsWith('__clerk_redirect_count'));
  return isSignedIn && isOwn && await isVerified(request, world, has);
}

const claimsOf = (spec) => (typeof spec.claims === 'string' ? JSON.parse(spec.claims) : spec.claims);

// The same token with other claims, signed as it was.
const withClaims = (mint, token, change) => mint.changed(token, (spec) => {
  spec.claims = { ...claimsOf(spec), ...change };
});

const isForeign = (instance) => (spec) => !instance.issuers.includes(claimsOf(spec).iss);

export const DEVIATIONS = [
  {
    name: 'host of nobody',
    why: 'what browsers call us is what settings say, not what a request says',
    rewrite(request) {
      const hosts = request.instance.origins.map(authority);
      const name = header(request, 'X-Forwarded-Host') === undefined ? 'Host' : 'X-Forwarded-Host';
      if (hosts.includes(header(request, name))) return undefined;
      const [origin] = request.instance.origins;
      const changed = withHeader(request, name, () => authority(origin));
      return { request: { ...withHeader(changed, 'X-Forwarded-Proto', () => origin.split('://')[0]), origin } };
    },
  },
  {
    name: 'settings are checked at the start',
    why: 'the library throws at each request whose `Origin` is that of the sign-in page',
    rewrite(request, { verdict }) {
      if (verdict.status !== 'throws' || !request.instance.satellite) return undefined;
      // The library looks at `Origin` for nothing else.
      const headers = request.headers.map(([name, value]) => [name === 'Origin' ? TOLD : name, value]);
      return { request: { ...request, headers } };
    },
  },
  {
    name: 'any case of Bearer',
    why: 'the case of a scheme is free (RFC 9110 §11.1)',
    rewrite(request) {
      const match = /^bearer (.*)/i.exec(header(request, 'Authorization') ?? '');
      if (!match || header(request, 'Authorization').startsWith('Bearer ')) return undefined;
      return { request: withHeader(request, 'Authorization', () => `Bearer ${match[1]}`) };
    },
  },
  {
    name: 'nothing but Bearer',
    why: 'a bare token, or another scheme, is the backend\'s own business',
    rewrite(request) {
      const value = header(request, 'Authorization');
      if (value === undefined || /^bearer([ \t]|$)/i.test(value)) return undefined;
      return { request: withHeader(request, 'Authorization', () => null) };
    },
  },
  {
    name: 'one token after Bearer',
    why: 'what follows it would be ignored, and the backend may read it in another way',
    rewrite(request) {
      const match = /^Bearer [!-~]+([ \t].*)$/.exec(header(request, 'Authorization') ?? '');
      return match ? { request: withHeader(request, 'Authorization', () => 'Bearer two-words') } : undefined;
    },
  },
  {
    name: 'a count that is none',
    why: 'the library counts on from fractions, from below zero and in sixteens; here they count as none',
    rewrite(request) {
      const isOdd = (text) => !Number.isInteger(Number(text)) || Number(text) < 0 || /x/i.test(text);
      return { request: withCookies(request, (name, value) =>
        (name === '__clerk_redirect_count' && isOdd(value) ? [name, '0'] : undefined)) };
    },
  },
  {
    name: 'a PEM does not say which algorithm its key is for',
    why: 'an RSA key verifies all three of RS256, RS384 and RS512',
    rewrite(request, { mint }) {
      if (request.instance.secretKey) return undefined;
      return withTokens(request, mint, ({ header }, token) => (['RS384', 'RS512'].includes(header.alg)
        ? mint.changed(token, (it) => { it.header.alg = 'RS256'; }) : undefined));
    },
  },
  {
    name: 'JSON that is no object',
    why: 'the library throws where a part of a token is `null`, and looks for a key where it is a list',
    rewrite(request, { mint }) {
      const isOdd = (part) => typeof part === 'string' && ['null', '[]'].includes(part);
      return withTokens(request, mint, ({ header, claims }, token) =>
        (isOdd(header) || isOdd(claims) ? token.replaceAll('.', '-') : undefined));
    },
  },
  {
    name: 'two readings of a token',
    why: 'JSON with a member twice, and extensions in `crit`: refused like a token that is none',
    rewrite(request, { mint }) {
      const isOdd = ({ header, claims }) => header.crit !== undefined
        || typeof claims === 'string' && claims.includes(TWICE);
      return withTokens(request, mint, (spec, token) => (isOdd(spec) ? token.replaceAll('.', '-') : undefined));
    },
  },
  {
    name: 'a machine\'s token with padding',
    why: 'the library looks whose it is by its letters, and takes it for a session\'s where `=` follows',
    rewrite(request, { mint }) {
      const isMachines = (spec) => `${claimsOf(spec).sub}`.startsWith('mch_') || `${spec.header.typ}`.includes('at+jwt');
      const bare = (text) => text.replace(/=+$/, '');
      const isPadded = (token) => token !== bare(token) && mint.spec(bare(token)) && isMachines(mint.spec(bare(token)));
      const changed = withHeader(request, 'Authorization', (line) => (isPadded(line.split(' ')[1] ?? '') ? bare(line) : line));
      const whole = withCookies(changed, (name, value) => (isPadded(value) ? [name, bare(value)] : undefined));
      return JSON.stringify(whole) === JSON.stringify(request) ? undefined : { request: whole };
    },
  },
  {
    name: 'one token at a time',
    why: 'a cookie beside a bearer token is none of its business; the library refreshes the cookie\'s, or sends it along',
    async rewrite(request, { ask }) {
      if (!bearer(request) || !cookies(request).some(([name]) => name.startsWith('__session'))) return undefined;
      const { name } = await sessionCookie(request, ask);
      // Cookies without a session, of which the library reads the same family.
      const suffix = `_${request.instance.suffix}`;
      const isSuffixed = name.endsWith(suffix);
      const gone = ['__session', `__session${suffix}`, isSuffixed ? '__client_uat' : `__client_uat${suffix}`];
      const bare = withCookies(request, (own) =>
        (gone.includes(own) || own === `__client_uat${suffix}` ? null : undefined));
      const client = ['Cookie', `__client_uat${suffix}=5`];
      return { request: isSuffixed ? { ...bare, headers: [...bare.headers, client] } : bare };
    },
  },
  {
    name: 'a referrer that is no web page',
    why: 'an app, or nothing, is no other domain of the application that has a state to be fetched',
    rewrite: (request) => (/^https?:/.test(header(request, 'Referer') ?? 'https:') ? undefined
      : { request: withHeader(request, 'Referer', () => null) }),
  },
  {
    name: 'the account portal of a proxied Frontend API',
    why: 'the library looks for it under the proxy\'s address: who comes from signing in goes round once more',
    rewrite(request) {
      const { proxyUrl, portal } = request.instance;
      const isPortal = (it) => URL.canParse(it) && new URL(it).origin === portal;
      if (!proxyUrl || !isPortal(header(request, 'Referer'))) return undefined;
      return { request: withHeader(request, 'Referer', () => null) };
    },
  },
  {
    name: 'a handshake\'s result only where it belongs',
    why: 'whoever makes a link could put a session of their own into it',
    rewrite(request) {
      const hidden = [];
      if (!isEligible(request) || !request.instance.isDevelopment) hidden.push(...HANDSHAKE);
      const { request: other, back } = withoutParameters(request, hidden);
      const bare = isEligible(request)
        ? other
        : withCookies(other, (name) => (HANDSHAKE.includes(name) ? null : undefined));
      return JSON.stringify(bare) === JSON.stringify(request) ? undefined : { request: bare, back };
    },
  },
  {
    name: 'a nonce without a secret key',
    why: 'there is nobody to ask, and no handshake of ours has brought it; the request is decided without it',
    rewrite(request) {
      if (request.instance.secretKey) return undefined;
      const { request: other, back } = withoutParameters(request, ['__clerk_handshake_nonce']);
      return { request: withCookies(other, (name) => (name === '__clerk_handshake_nonce' ? null : undefined)), back };
    },
  },
  {
    name: 'a broken handshake does not throw',
    why: 'the page would be a 500 until somebody clears the address',
    rewrite(request, { verdict }) {
      if (verdict.status !== 'throws' || !request.instance.isDevelopment) return undefined;
      const { request: other, back } = withoutParameters(request, ['__clerk_handshake']);
      return { request: withCookies(other, (name) => (name === '__clerk_handshake' ? null : undefined)), back };
    },
  },
  {
    name: 'only Clerk\'s cookies are set',
    why: 'what comes back with a handshake decides about a sign-in, and about nothing else of the application\'s',
    rewrite(request, { mint }) {
      const isClerks = (line) => /^__(session|client_uat|refresh)(_[\w-]+)?=|^__clerk_/.test(line);
      const own = (list) => (Array.isArray(list) ? list.filter(isClerks) : list);
      const answers = structuredClone(request.answers);
      for (const { json } of Object.values(answers)) {
        for (const name of ['directives', 'cookies']) if (json?.[name]) json[name] = own(json[name]);
      }
      const first = withTokens(request, mint, (spec, token) => (spec.claims?.handshake
        ? mint.changed(token, ({ claims }) => { claims.handshake = own(claims.handshake); }) : undefined));
      const second = withAnswers(first?.request ?? request, answers);
      return { request: second.request, back: (verdict) => (first?.back ?? ((it) => it))(second.back(verdict)) };
    },
  },
  {
    name: 'no __clerk_redirect_url',
    why: 'it sends a browser with its development session to any address',
    rewrite(request) {
      const { isDevelopment, satellite } = request.instance;
      if (!isDevelopment || satellite) return undefined;
      return withoutParameters(request, ['__clerk_redirect_url']);
    },
  },
  {
    name: 'form before key',
    why: 'nobody looks for the key of a token that will be refused for its `typ` or `alg`',
    rewrite(request, { mint }) {
      const isOdd = ({ header }) => typeof header === 'object' && header.kid !== KID
        && (!['RS256', 'RS384', 'RS512'].includes(header.alg) || !['JWT', undefined].includes(header.typ));
      return withTokens(request, mint, (spec, token) =>
        (isOdd(spec) ? mint.changed(token, (it) => { it.header.kid = KID; }) : undefined));
    },
  },
  {
    name: 'the id of a session is one of Clerk\'s',
    why: 'it becomes part of an address at the Backend API; another is none',
    rewrite(request, { mint, verdict }) {
      const isOdd = (spec) => claimsOf(spec).sid !== undefined && !/^sess_[a-zA-Z0-9]+$/.test(claimsOf(spec).sid);
      const isTried = verdict.reason?.startsWith('session-token-expired') || verdict.calls.some(({ told }) => told);
      if (!isTried) return undefined;
      return withTokens(request, mint, (spec, token) =>
        (isOdd(spec) ? withClaims(mint, token, { sid: undefined }) : undefined), presented(request, mint));
    },
  },
  {
    name: 'a date that is no number is none',
    why: 'the library compares it as JavaScript does: `null` is 1970, a text is neither before nor after anything',
    rewrite: (request, { mint }) => withTokens(request, mint, (spec, token) =>
      (!['undefined', 'number'].includes(typeof claimsOf(spec).iat)
        ? withClaims(mint, token, { iat: undefined, iatIsOdd: true }) : undefined)),
  },
  {
    name: 'nobody has the empty name',
    why: 'a token for it is refused like one without a subject',
    rewrite: (request, { mint }) => withTokens(request, mint, (spec, token) =>
      (claimsOf(spec).sub === '' ? withClaims(mint, token, { sub: undefined }) : undefined)),
  },
  {
    name: 'an audience that is configured is required',
    why: 'the library lets absent and odd ones pass',
    rewrite(request, { mint }) {
      const { audience } = request.instance;
      if (!audience) return undefined;
      const isFor = ({ aud }) => (Array.isArray(aud)
        ? aud.every((it) => typeof it === 'string') && aud.some((it) => audience.includes(it))
        : audience.includes(aud));
      return withTokens(request, mint, (spec, token) => (!claimsOf(spec).handshake && !isFor(claimsOf(spec))
        ? withClaims(mint, token, { aud: 'nobody' }) : undefined));
    },
  },
  {
    name: 'a token without azp',
    why: 'Clerk mints them itself; where they change something by cookie, a page of ours has to send them',
    rewrite(request, { mint }) {
      const { azp, origins } = request.instance;
      if (azp !== 'auto') return undefined;
      return withTokens(request, mint, (spec, token) => (!claimsOf(spec).handshake && claimsOf(spec).azp === undefined
        ? withClaims(mint, token, { azp: STAND_IN }) : undefined));
    },
  },
  {
    name: 'a new token of nobody\'s',
    why: 'a session that a handshake or a refresh brings is held against the same rules',
    rewrite(request, { mint }) {
      const shown = presented(request, mint);
      const isBad = (spec) => {
        const claims = claimsOf(spec);
        return !claims.handshake && (isForeign(request.instance)(spec) || !hasSession(spec) || !isOfSession(spec)
          || claims.iatIsOdd || livesTooLong(request)(spec));
      };
      const brought = tokens(request, mint).filter((token) => !shown.includes(token));
      return withTokens(request, mint, (spec, token) =>
        (isBad(spec) ? mint.changed(token, (it) => { it.signature = 'bad'; }) : undefined), brought);
    },
  },
  {
    name: 'a refresh that brings another session',
    why: 'Clerk would not send one, and whoever stands in its place must not',
    rewrite(request, { mint }) {
      const sessions = presented(request, mint).map((token) => claimsOf(mint.spec(token)).sid);
      const ofRefresh = Object.entries(request.answers).filter(([about]) => about.startsWith('refresh'));
      const brought = tokens({ headers: [], target: '/', answers: ofRefresh }, mint);
      return withTokens(request, mint, (spec, token) => (sessions.includes(claimsOf(spec).sid)
        ? undefined : mint.changed(token, (it) => { it.signature = 'bad'; })), brought);
    },
  },
  {
    name: 'the issuer is pinned',
    why: 'the library does not look who issued a token; here it is looked at first, to the letter',
    async instead(verdict, request, world) {
      const isOdd = isForeign(request.instance);
      const shown = world.mint.spec(bearer(request));
      const isRefused = shown ? isOdd(shown) : await isVerified(request, world, isOdd);
      return isRefused ? signedOut('token-invalid-issuer', request) : undefined;
    },
  },
  {
    name: 'a date that is no number is refused',
    why: 'as the library does, once the token is verified',
    instead: async (verdict, request, world) => (await isGood(verdict, request, world, (it) => claimsOf(it).iatIsOdd)
      ? signedOut('token-verification-failed', request) : undefined),
  },
  {
    name: 'tokens that live for years',
    why: 'one that cannot be taken back, or whose end a JavaScript date cannot hold, never ends',
    instead: async (verdict, request, world) => (await isGood(verdict, request, world, livesTooLong(request))
      ? signedOut('token-lifetime-exceeded', request) : undefined),
  },
  {
    name: 'a session has an id',
    why: 'a token without is an ID token or one of a template, by the same key',
    instead: async (verdict, request, world) => (await isGood(verdict, request, world, (it) => !hasSession(it))
      ? signedOut('token-type-mismatch', request) : undefined),
  },
  {
    name: 'a pending session',
    why: 'one with tasks left is not signed in; the library leaves that to its caller',
    async instead(verdict, request, world) {
      // A development handshake that brought it is over all the same.
      if (verdict.caller?.pending && verdict.location) return undefined;
      if (verdict.caller?.pending) return { ...verdict, status: 'signed-out', reason: 'session-pending', caller: null };
      const isPending = (spec) => claimsOf(spec).sts === 'pending';
      return await isGood(verdict, request, world, isPending)
        ? signedOut('session-pending', request) : undefined;
    },
  },
  {
    name: 'two session cookies that differ',
    why: 'they are two callers, and whose is a guess: neither is shown to Clerk, and a page fetches a new one',
    async instead(verdict, request, { ask }) {
      const names = cookies(request).map(([name]) => name).filter((name) => name.startsWith('__session'));
      if (verdict.carrier === 'header' || new Set(names).size === names.length) return undefined;
      if (verdict.location && !isHandshake(verdict)) return undefined;
      const without = await ask(withCookies(request, (name) => (HANDSHAKE.includes(name) ? null : undefined)));
      const decision = ({ calls, ...rest }) => JSON.stringify(rest);
      if (decision(without) !== decision(await ask(request))) return undefined; // a handshake has decided
      const { name, to } = await sessionCookie(request, ask);
      const values = cookies(request).filter(([own]) => own === name).map(([, value]) => value);
      if (new Set(values).size < 2) return undefined;
      if (BEFORE_SESSIONS.includes(verdict.reason)) {
        if (!isHandshake(verdict)) return undefined;
        return { ...verdict, location: withoutParameter(verdict.location, '__session') };
      }
      if (request.instance.satellite && isDocument(request) && verdict.reason === 'session-token-and-uat-missing') {
        return undefined; // a satellite's page, which does not ask by itself
      }
      const reason = 'session-token-missing';
      if (!isEligible(request) || redirectCount(request) === 3) return signedOut(reason, request);
      to.searchParams.set('__clerk_hs_reason', reason);
      return {
        ...signedOut(reason, request), status: 'handshake', location: withoutParameter(to.href, '__session'),
        cookies: [counted(redirectCount(request) + 1)],
      };
    },
  },
  {
    name: 'a nonce that Clerk does not exchange',
    why: 'where Clerk does not answer, nobody can tell who is signed in',
    instead(verdict, request) {
      const nonce = query(request).concat(cookies(request)).find(([name]) => name === '__clerk_handshake_nonce')?.[1];
      // Any other status says that there is no such nonce.
      const { status = 200 } = request.answers[nonce] ?? {};
      const isLost = verdict.reason === 'session-token-missing' && ![200, 400, 404, 410, 422].includes(status);
      return isLost ? { ...signedOut('clerk-unavailable', request), code: 503, calls: verdict.calls } : undefined;
    },
  },
  {
    name: 'another site\'s page',
    why: 'a cookie comes with every request; `Origin` and `Sec-Fetch-Site` tell whose one is that may change something',
    instead: (verdict, request) => (isByCookie(verdict, request) && page(request) === 'foreign'
      ? { ...signedOut('cross-site-request', request), code: 403, cookies: verdict.cookies } : undefined),
  },
  {
    name: 'no azp, and no page of ours',
    why: 'where nobody says whose page it is, a token has to say whom it was given to',
    async instead(verdict, request, { ask, mint }) {
      const isAsked = isByCookie(verdict, request) && request.instance.azp === 'auto';
      if (!isAsked || page(request) !== 'unknown') return undefined;
      // What was made up for a token without `azp` is taken back.
      const { caller } = await ask(request, { authorizedParties: request.instance.origins });
      const refused = signedOut('token-invalid-authorized-parties', request);
      return caller ? undefined : { ...refused, cookies: verdict.cookies };
    },
  },
  {
    name: 'after three handshakes the count begins anew',
    why: 'the library counts on from four, which no browser of ours was ever told',
    instead(verdict) {
      const lines = verdict.cookies.map((line) => line.replace(/^(__clerk_redirect_count=)(?![123];)[^;]*/, '$11'));
      return { ...verdict, cookies: lines };
    },
  },
  {
    name: 'addresses stay as they were written',
    why: 'the library writes every query anew, which an application may read in another way',
    instead(verdict, request) {
      if (!verdict.location) return undefined;
      const gone = isHandshake(verdict)
        ? ['__clerk_db_jwt', '__dev_session']
        : [...HANDSHAKE, '__clerk_help', '__clerk_db_jwt'];
      const [path, search] = request.target.split('?');
      const nameOf = (pair) => [...new URLSearchParams(pair).keys()][0];
      const kept = (search ?? '').split('&').filter((pair) => search !== undefined && !gone.includes(nameOf(pair)));
      const { origin } = new URL(request.origin);
      const written = `${origin}${path}${kept.length > 0 ? `?${kept.join('&')}` : ''}`;
      const anew = new URL(written);
      anew.searchParams.delete('none');
      if (verdict.location === anew.href) return { ...verdict, location: written };
      const to = new URL(verdict.location);
      // A development satellite names the page in another parameter, and only as WHATWG URL writes it.
      const name = isHandshake(verdict) ? 'redirect_url' : '__clerk_redirect_url';
      const [theirs, ours] = isHandshake(verdict)
        ? [anew.href, written]
        : [new URL(`${origin}${request.target}`).href, `${origin}${request.target}`];
      if (to.searchParams.get(name) !== theirs) return undefined;
      to.searchParams.set(name, ours);
      return { ...verdict, location: to.href };
    },
  },
  {
    name: 'without a secret key a handshake comes back as a token',
    why: 'a nonce can be exchanged only with it',
    instead(verdict, { instance }) {
      if (instance.secretKey || !isHandshake(verdict)) return undefined;
      return { ...verdict, location: verdict.location.replace('&format=nonce', '&format=token') };
    },
  },
  {
    name: 'two Authorization headers',
    why: 'two callers; the backend may take the one that was not looked at',
    instead: (_, request, { original }) => (original.headers.filter(([name]) => name === 'Authorization').length > 1
      ? { ...signedOut('credential-repeated', request), code: 400 } : undefined),
  },
];

// What is decided before a session is looked at.
const BEFORE_SESSIONS = ['dev-browser-missing', 'dev-browser-sync', 'satellite-needs-syncing', 'credential-repeated'];

const isHandshake = (verdict) => verdict.status === 'handshake' && verdict.location.includes('/v1/client/handshake?');

function withoutParameter(location, name) {
  const to = new URL(location);
  to.searchParams.delete(name);
  return to.href;
}

const counted = (count) => `__clerk_redirect_count=${count}; SameSite=Lax; HttpOnly; Max-Age=2`;

const redirectCount = (request) =>
  Number(cookies(request).find(([name]) => name === '__clerk_redirect_count')?.[1]) || 0;

// The session cookie that the library reads, by its name; and where it sends a browser with such cookies.
//
// It says so where it is made to send a browser away.
async function sessionCookie(request, ask) {
  const { instance } = request;
  const isInTheWay = (name) => HANDSHAKE.includes(name) || name === '__clerk_redirect_count';
  let page = withCookies(request, (name) => (isInTheWay(name) ? null : undefined));
  page = withHeader(withHeader(page, 'Sec-Fetch-Dest', () => null), 'Authorization', () => null);
  const hidden = withoutParameters(page, [...HANDSHAKE, '__clerk_redirect_url']);
  const [forced, options] = instance.isDevelopment
    ? ['__clerk_db_jwt=forced', { isSatellite: false }]
    : ['__clerk_synced=false', {
      isSatellite: true, domain: instance.satellite?.domain ?? instance.host.replace('clerk.', ''),
      signInUrl: 'https://elsewhere.example/',
    }];
  const [path, search] = hidden.request.target.split('?');
  const verdict = hidden.back(await ask({
    ...page, method: 'GET', target: `${path}?${[forced, search].filter(Boolean).join('&')}`,
    headers: [...page.headers, ['Sec-Fetch-Dest', 'document']],
  }, options));
  const to = new URL(verdict.location);
  const suffix = to.searchParams.get('suffixed_cookies') === 'true' ? `_${instance.suffix}` : '';
  // What forced it is taken out again.
  const home = to.searchParams.get('redirect_url');
  const back = instance.isDevelopment ? home : home.replace(/(\?)__clerk_synced=false(?:&|$)/, '$1');
  to.searchParams.set('redirect_url', back.replace(/\?$/, ''));
  const browser = cookies(request).find(([name]) => name === `__clerk_db_jwt${suffix}`)?.[1];
  if (instance.isDevelopment) to.searchParams.set('__clerk_db_jwt', browser);
  return { name: `__session${suffix}`, to };
}

const isByCookie = (verdict, request) => verdict.status === 'signed-in' && verdict.location === null
  && verdict.carrier === 'cookie' && !['GET', 'HEAD', 'OPTIONS'].includes(request.method);

// Whose page sent a request: `ours`, `foreign`, or `unknown`.
function page(request) {
  const [origin, site] = [header(request, 'Origin') ?? header(request, TOLD), header(request, 'Sec-Fetch-Site')];
  if (origin !== undefined && origin !== 'null') {
    const own = request.instance.origins;
    const { origin: told, host } = new URL(origin);
    return own.includes(told) || host === new URL(request.origin).host ? 'ours' : 'foreign';
  }
  if (['same-origin', 'none'].includes(site)) return 'ours';
  return site === undefined && origin === undefined ? 'unknown' : 'foreign';
}

// How a token with a member twice begins.
const TWICE = '{"sub":"user_first"';

// Stands in tokens for an `azp` that they do not have, and among the authorized parties.
const STAND_IN = 'https://no-azp.invalid';

// The class of a token: by its category, its `typ`, and whose subject it has.
const isOfSession = ({ header, claims }) => ['at+jwt', 'application/at+jwt'].includes(header.typ) === false
  && !`${claims.sub}`.startsWith('mch_')
  && (!('cat' in header) || [undefined, CATEGORY.session, CATEGORY.unmarked].includes(header.cat));

const hasSession = (spec) => typeof claimsOf(spec).sid === 'string' && claimsOf(spec).sid !== '';

const livesTooLong = (request) => (spec) => {
  const { exp, iat } = claimsOf(spec);
  return exp - (iat ?? request.now) > 86_400 || exp > 253_402_300_799;
};
