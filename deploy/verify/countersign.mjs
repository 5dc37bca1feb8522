// Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//
//   const told = verify(request, secret(process.env.COUNTERSIGN_SIGNING_SECRET)) // an IncomingMessage; throws Refused
//   told['x-clerk-user-id']                                                      // empty for nobody
//
// Options, as in your settings: `identity: […]`, all in their order, and `x-clerk-assertion` last where
// `signing.mode` has both kinds; `prefix`; `cover: ['query']`. A header with the prefix that is not in
// the list is refused. Node alone is enough. Made to be copied.

import { createHmac, timingSafeEqual } from 'node:crypto';

// The default of `identity.headers`; those of `identity.claims` follow them.
export const IDENTITY = ['principal', 'token-type', 'user-id', 'session-id', 'org-id', 'org-slug', 'org-role',
  'org-permissions', 'actor-id'].map((name) => `x-clerk-${name}`);
// Of a structured dictionary: a comma within quotes ends no member.
const MEMBER = /(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/g;
const PARAMS = /^\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15});keyid="([^"]*)";alg="([^"]*)";tag="countersign"$/;

export class Refused extends Error {}

// The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
export function secret(text) {
  const key = text.startsWith('base64:') ? Buffer.from(text.slice(7), 'base64') : Buffer.from(text);
  if (key.length < 32) throw new RangeError('a secret has at least 32 bytes');
  const mac = (base) => createHmac('sha256', key).update(base).digest();
  const check = (base, given) => given.length === 32 && timingSafeEqual(given, mac(base));
  return new Map([[mac('kid').toString('hex').slice(0, 8), { alg: 'hmac-sha256', check }]]);
}

// Returns the identity headers, by name.
export function verify(request, keys, options = {}) {
  const { identity = IDENTITY, prefix = 'x-clerk-', cover = [], now = Date.now() / 1000 } = options;
  const [, path, query] = /^([^?]*)\??(.*)$/s.exec(request.url); // as they came: Node decodes nothing
  const values = new Map();
  for (const [i, text] of request.rawHeaders.entries()) {
    const name = text.toLowerCase().replaceAll('_', '-'); // a name with `_` would be taken for ours further on
    if (i % 2 === 0) values.set(name, [...(values.get(name) ?? []), request.rawHeaders[i + 1].trim()]);
  }
  const need = (so, why) => { if (!so) throw new Refused(why); return so; };
  const only = (name, found = values.get(name) ?? []) =>
    need(found.length === 1, `${name} is there ${found.length} times`) && found[0];
  const members = (name) => ((values.get(name) ?? []).join(', ').match(MEMBER) ?? []).map((text) => text.trim());
  const ours = (name) => only(`our ${name}`, members(name).filter((text) => text.startsWith('countersign='))).slice(12);
  const [params, signature] = [ours('signature-input'), ours('signature')];
  const [, covered, created, expires, keyid, alg] = need(PARAMS.exec(params), 'the signature is not of our kind');
  const expected = [...identity, '@method', '@authority', '@path', ...cover.map((part) => `@${part}`)];
  need(covered === expected.map((name) => `"${name}"`).join(' '), 'it does not cover what it must');
  need(keys.get(keyid)?.alg === alg, 'no key of this id and algorithm is known');
  need(created <= now + 5 && expires >= now - 5, 'the signature is not of this time');
  const beside = [...values.keys()].find((name) => name.startsWith(prefix) && !identity.includes(name));
  need(beside === undefined, `${beside} is not signed`); // what is not covered anybody may have added
  const told = Object.fromEntries(identity.map((name) => [name, only(name)]));
  const authority = only('host', values.get(':authority') ?? values.get('host')); // HTTP/2 has the former
  const derived = { '@method': request.method, '@authority': authority, '@path': path, '@query': `?${query}` };
  const lines = { ...told, ...derived };
  const base = expected.map((name) => `"${name}": ${lines[name]}\n`).join('') + `"@signature-params": ${params}`;
  const [, given] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(signature) ?? [];
  const bytes = Buffer.from(base, /[^\0-\xff]/.test(base) ? 'utf16le' : 'latin1'); // what was no byte holds for nothing
  const holds = given && keys.get(keyid).check(bytes, Buffer.from(given, 'base64'));
  return need(holds, 'the signature does not hold') && told;
}
