// Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//
//   const keys = secret(process.env.COUNTERSIGN_SIGNING_SECRET)        // or await ed25519(jwks)
//   const told = verify(request, keys)                                 // an IncomingMessage; throws Refused
//   app.use(guard(keys))      // Express, Connect: before any router, which cut `url`; then request.countersign
//
// Options, as in your settings: `identity: […]`, all in their order, and `x-clerk-assertion` last where
// `signing.mode` has both kinds; `prefix`; `cover: ['query']`. A header with the prefix that is not in
// the list is refused. Node alone is enough. Made to be copied.

import { createHmac, createPublicKey, timingSafeEqual, verify as verifies } from 'node:crypto';

// The default of `identity.headers`; those of `identity.claims` follow them.
export const IDENTITY = [
  'principal', 'token-type', 'user-id', 'session-id', 'org-id', 'org-slug', 'org-role', 'org-permissions', 'actor-id',
].map((name) => `x-clerk-${name}`);
// Of a structured dictionary: a comma within quotes ends no member.
const MEMBER = /(?:[^,"]|"(?:[^"\\]|\\.)*")+/g;
const PARAMS = new RegExp(
  String.raw`^\(("[^"]+"(?: "[^"]+")*)\);created=([0-9]{1,15});expires=([0-9]{1,15})` +
  String.raw`;keyid="([^"]*)";alg="([^"]*)";tag="countersign"$`,
);

export class Refused extends Error {}

// The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
export function secret(text) {
  const key = text.startsWith('base64:') ? Buffer.from(text.slice(7), 'base64') : Buffer.from(text);
  const mac = (base) => createHmac('sha256', key).update(base).digest();
  const check = (base, given) => given.length === 32 && timingSafeEqual(given, mac(base));
  return new Map([[mac('kid').toString('hex').slice(0, 8), { alg: 'hmac-sha256', check }]]);
}

// The keys of a key set, as the admin listener has it at /.well-known/jwks.json.
export function ed25519(jwks) {
  const keys = jwks.keys.filter(({ crv }) => crv === 'Ed25519').map((jwk) => {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return [jwk.kid, { alg: 'ed25519', check: (base, given) => verifies(null, base, key, given) }];
  });
  return new Map(keys);
}

// Returns the identity headers, by name.
export function verify(request, keys, options = {}) {
  const { identity = IDENTITY, prefix = 'x-clerk-', cover = [], now = Date.now() / 1000 } = options;
  const [path, ...query] = request.url.split('?'); // as they came: Node decodes nothing
  const values = new Map();
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    // A name with `_` would be taken for ours further on.
    const name = request.rawHeaders[i].toLowerCase().replaceAll('_', '-');
    values.set(name, [...(values.get(name) ?? []), request.rawHeaders[i + 1].trim()]);
  }
  const only = (name, found = values.get(name) ?? []) => {
    need(found.length === 1, `${name} is there ${found.length} times`);
    return found[0];
  };
  const ours = (name) => {
    const members = ((values.get(name) ?? []).join(', ').match(MEMBER) ?? []).map((member) => member.trim());
    const found = members.filter((member) => member.startsWith('countersign=')).map((member) => member.slice(12));
    return only(`our ${name}`, found);
  };
  const params = ours('signature-input');
  const signature = ours('signature');
  const form = PARAMS.exec(params);
  need(form, 'the signature is not of our kind');
  const [, covered, created, expires, keyid, alg] = form;
  const expected = [...identity, '@method', '@authority', '@path', ...cover.map((part) => `@${part}`)];
  need(covered === expected.map((name) => `"${name}"`).join(' '), 'it does not cover what it must');
  const key = keys.get(keyid);
  need(key?.alg === alg, 'no key of this id and algorithm is known');
  need(Number(created) <= now + 5 && Number(expires) >= now - 5, 'the signature is not of this time');
  for (const name of values.keys()) {
    // What is not covered anybody may have added.
    need(!name.startsWith(prefix) || identity.includes(name), `${name} is not signed`);
  }
  const told = Object.fromEntries(identity.map((name) => [name, only(name)]));
  const derived = { '@method': request.method, '@authority': only('host'), '@path': path };
  const lines = { ...told, ...derived, '@query': `?${query.join('?')}` };
  const base = expected.map((name) => `"${name}": ${lines[name]}\n`).join('') + `"@signature-params": ${params}`;
  const [, given] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(signature) ?? [];
  need(given && key.check(Buffer.from(base, 'latin1'), Buffer.from(given, 'base64')), 'the signature does not hold');
  return told;
}

export function guard(keys, options) {
  return (request, response, next) => {
    try {
      request.countersign = verify(request, keys, options);
    } catch (why) {
      if (!(why instanceof Refused)) throw why;
      response.writeHead(401, { 'content-type': 'text/plain' }).end(`${why.message}\n`);
      return;
    }
    next();
  };
}

function need(so, why) {
  if (!so) throw new Refused(why);
}
