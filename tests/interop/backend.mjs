// A backend that believes a request only when `http-message-signatures` from npm does.
//
//   node backend.mjs serve KEYS PORT      answers each request with what it saw and whether it believes it
//   node backend.mjs vectors FILE         one line of JSON a vector: is it verified, and is a forged one?
//
// KEYS is a file, read at each request: {"<keyid>": {"alg": …, "secret": base64 | "jwk": {…}}}.

import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import signatures from 'http-message-signatures';

const IDENTITY = [
  'x-clerk-principal', 'x-clerk-token-type', 'x-clerk-user-id', 'x-clerk-session-id', 'x-clerk-org-id',
  'x-clerk-org-slug', 'x-clerk-org-role', 'x-clerk-org-permissions', 'x-clerk-actor-id',
];
const DERIVED = ['@method', '@authority', '@path'];

function key({ alg, secret, jwk }, id) {
  const material = secret === undefined ? createPublicKey({ key: jwk, format: 'jwk' }) : Buffer.from(secret, 'base64');
  return { id, algs: [alg], verify: signatures.createVerifier(material, alg) };
}

// Returns why the message is not believed, or null. The library returns null for a message without a
// signature it has a key for, and that must not pass either.
async function refusal(message, keys, requiredFields, tolerance = 0) {
  try {
    const verified = await signatures.httpbis.verifyMessage({
      keyLookup: async ({ keyid, tag }) =>
        tag === 'countersign' && Object.hasOwn(keys, keyid) ? key(keys[keyid], keyid) : null,
      requiredFields,
      requiredParams: ['created', 'expires', 'keyid', 'alg', 'tag'],
      tolerance,
    }, message);
    return verified === true ? null : `the library says ${verified}`;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

async function serve(keysFile, port) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const message = {
      method: request.method,
      url: `http://${request.headers.host}${request.url}`,
      headers: request.headers,
    };
    const keys = JSON.parse(readFileSync(keysFile, 'utf8'));
    const error = await refusal(message, keys, [...IDENTITY, ...DERIVED]);
    const pairs = request.rawHeaders.flatMap((name, i, all) => (i % 2 ? [] : [[name.toLowerCase(), all[i + 1]]]));
    response.writeHead(error === null ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify({
      verified: error === null, error, method: request.method, target: request.url, headers: pairs, body,
    }));
  });
  server.listen(Number(port), '127.0.0.1', () => console.log('listening'));
}

async function vectors(file) {
  for (const vector of JSON.parse(readFileSync(file, 'utf8'))) {
    const { alg, keyid } = vector;
    const known = alg === 'hmac-sha256'
      ? { alg, secret: vector.key }
      : { alg, jwk: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(vector.public_key, 'base64').toString('base64url') } };
    const required = [...vector.headers.map(([name]) => name), ...DERIVED];
    const message = {
      method: vector.method,
      url: `http://${vector.authority}${vector.path}`,
      headers: {
        ...Object.fromEntries(vector.headers),
        'signature-input': vector.signature_input,
        signature: vector.signature,
      },
    };
    const forged = { ...message, headers: { ...message.headers, 'x-clerk-user-id': 'user_root' } };
    // The vectors are from 2023: time is not what is tested here.
    const forever = 10 ** 10;
    console.log(JSON.stringify({
      name: vector.name,
      error: await refusal(message, { [keyid]: known }, required, forever),
      forged: await refusal(forged, { [keyid]: known }, required, forever),
    }));
  }
}

const [command, ...args] = process.argv.slice(2);
await { serve, vectors }[command](...args);
