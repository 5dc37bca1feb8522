// The keys of a proxy that has no shared secret, instead of secret(…):
//
//   const keys = await ed25519('http://127.0.0.1:4601/.well-known/jwks.json') // of its admin listener
//
// It asks again for a key that it does not know, as after a restart of the proxy, but no more than once in five
// seconds, whoever sends what. What comes until the answer is there is refused. Node alone is enough.

import { createPublicKey, verify } from 'node:crypto';

export async function ed25519(url, pause = 5000) {
  let keys = new Map();
  let next = -Infinity;
  async function refresh() {
    if (performance.now() < next) return;
    next = performance.now() + pause;
    try {
      const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(2000) });
      keys = parsed(await answer.json());
    } catch { /* those before serve on */ }
  }
  await refresh();
  return { get: (kid) => (keys.has(kid) || refresh(), keys.get(kid)) };
}

function parsed(jwks) {
  return new Map(jwks.keys.filter(({ crv }) => crv === 'Ed25519').map((jwk) => {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return [jwk.kid, { alg: 'ed25519', check: (base, given) => verify(null, base, key, given) }];
  }));
}
