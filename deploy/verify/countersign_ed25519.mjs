// The keys of a proxy that has no shared secret: ed25519(json) of what its admin listener has at
// /.well-known/jwks.json, instead of secret(…). Node alone is enough.

import { createPublicKey, verify } from 'node:crypto';

export function ed25519(jwks) {
  const keys = jwks.keys.filter(({ crv }) => crv === 'Ed25519').map((jwk) => {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return [jwk.kid, { alg: 'ed25519', check: (base, given) => verify(null, base, key, given) }];
  });
  return new Map(keys);
}
