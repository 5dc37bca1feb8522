// A backend that believes an assertion only when `jose` does, with the key set fetched as `jose` fetches it.
//
//   node assertion.mjs PORT JWKS_URL ISSUER AUDIENCE ALG

import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const [port, jwksUrl, issuer, audience, alg] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(jwksUrl)); // its own defaults: 30 s between fetches, 10 min in use
const policy = {
  issuer,
  audience,
  algorithms: [alg],
  typ: 'JWT',
  requiredClaims: ['sub', 'sid', 'iat', 'nbf', 'exp'],
  clockTolerance: 5,
};

createServer(async (request, response) => {
  const assertions = request.headersDistinct['x-clerk-assertion'] ?? [];
  let claims = null;
  let error = null;
  try {
    if (assertions.length !== 1) throw new Error(`${assertions.length} assertions`);
    claims = (await jwtVerify(assertions[0], keys, policy)).payload;
  } catch (refused) {
    error = `${refused.code ?? refused.name}: ${refused.message}`;
  }
  response.writeHead(error === null ? 200 : 401, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error, claims, assertions, headers: request.headers }));
}).listen(Number(port), '127.0.0.1', () => console.log('listening'));
