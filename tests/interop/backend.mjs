// A backend that believes a request only when a library from npm does.
//
//   node backend.mjs LIBRARY serve POLICY PORT   answers each request with what it saw and whether it believes it
//   node backend.mjs LIBRARY vectors FILE        one line of JSON a vector: is it verified, and is a forged one?
//
// LIBRARY is `http-message-signatures` or `http-message-sig`: the names are close, the code is not related.
// POLICY is a file, read at each request: {"required": ["x-clerk-principal", …, "@path"],
// "keys": {"<keyid>": {"alg": …, "secret": base64 | "jwk": {…}}}}.

import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { verifySignature } from 'http-message-sig';
import signatures from 'http-message-signatures';

const DERIVED = ['@method', '@authority', '@path'];

const PARAMETERS = ['created', 'expires', 'keyid', 'alg', 'tag'];

// Each throws, or returns what is not `true`, where the message is not believed. A message has `method`,
// `url` (absolute) and `fields`: a [name, value] a header line, as they came.
const LIBRARIES = {
  // Its `headers` are those of Node, which joins lines of one name.
  'http-message-signatures': ({ method, url, headers }, keys, required, skew) =>
    signatures.httpbis.verifyMessage({
      keyLookup: async ({ keyid, tag }) => {
        if (tag !== 'countersign' || !Object.hasOwn(keys, keyid)) return null;
        const { alg } = keys[keyid];
        return { id: keyid, algs: [alg], verify: signatures.createVerifier(material(keys[keyid]), alg) };
      },
      requiredFields: required,
      requiredParams: PARAMETERS,
      tolerance: skew,
    }, { method, url, headers }),

  // It brings no HMAC and takes no secret: the primitive is the caller's, all around it is the library's.
  'http-message-sig': async ({ method, url, fields }, keys, required, skew) => {
    const verified = await verifySignature({
      kind: 'request', method, targetUri: url, fields: fields.map(([name, value]) => ({ name, value })),
    }, {
      label: 'countersign',
      policy: {
        algorithms: ['hmac-sha256', 'ed25519'],
        requiredComponents: required,
        requiredParameters: PARAMETERS,
        clockSkew: skew,
      },
      resolveVerifier({ parameters: { keyid, tag } }) {
        if (tag !== 'countersign' || !Object.hasOwn(keys, keyid)) throw new Error(`no key ${keyid} for ${tag}`);
        const { alg } = keys[keyid];
        const known = material(keys[keyid]);
        return {
          algorithm: alg,
          verify(base, signature) {
            if (alg === 'ed25519') return verify(null, base, known, signature);
            const mac = createHmac('sha256', known).update(base).digest();
            return mac.length === signature.length && timingSafeEqual(mac, signature);
          },
        };
      },
    });
    return verified.label === 'countersign' && verified.parameters.tag === 'countersign';
  },
};

function material({ secret, jwk }) {
  return secret === undefined ? createPublicKey({ key: jwk, format: 'jwk' }) : Buffer.from(secret, 'base64');
}

// Returns why the message is not believed, or null. `http-message-signatures` returns null for a message
// without a signature it has a key for, and that must not pass either.
async function refusal(library, message, keys, required, skew = 0) {
  try {
    const verified = await LIBRARIES[library](message, keys, required, skew);
    return verified === true ? null : `the library says ${verified}`;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

async function serve(library, policyFile, port) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const message = {
      method: request.method,
      url: `http://${request.headers.host}${request.url}`,
      headers: request.headers,
      fields: pairs(request.rawHeaders),
    };
    const { keys, required } = JSON.parse(readFileSync(policyFile, 'utf8'));
    const error = await refusal(library, message, keys, required);
    const seen = JSON.stringify({
      verified: error === null,
      error,
      method: request.method,
      target: request.url,
      headers: message.fields.map(([name, value]) => [name.toLowerCase(), value]),
      body,
    });
    const headers = { 'content-type': 'application/json' };
    if (request.method === 'HEAD') headers['x-seen'] = Buffer.from(seen).toString('base64');
    response.writeHead(error === null ? 200 : 401, headers);
    response.end(seen);
  });
  server.listen(Number(port), '127.0.0.1', () => console.log('listening'));
}

// Node lists names and values in turn.
function pairs(raw) {
  return raw.flatMap((name, i) => (i % 2 ? [] : [[name, raw[i + 1]]]));
}

async function vectors(library, file) {
  for (const vector of JSON.parse(readFileSync(file, 'utf8'))) {
    const { alg, keyid } = vector;
    const known = alg === 'hmac-sha256'
      ? { alg, secret: vector.key }
      : { alg, jwk: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(vector.public_key, 'base64').toString('base64url') } };
    const required = [...vector.headers.map(([name]) => name), ...DERIVED];
    const message = (change) => {
      const headers = {
        ...Object.fromEntries(vector.headers),
        ...change,
        'signature-input': vector.signature_input,
        signature: vector.signature,
      };
      const { method, authority, path } = vector;
      return { method, url: `http://${authority}${path}`, headers, fields: Object.entries(headers) };
    };
    // The vectors are from 2023: time is not what is tested here.
    const forever = 10 ** 10;
    console.log(JSON.stringify({
      name: vector.name,
      error: await refusal(library, message({}), { [keyid]: known }, required, forever),
      forged: await refusal(library, message({ 'x-clerk-user-id': 'user_root' }), { [keyid]: known }, required, forever),
    }));
  }
}

const [library, command, ...args] = process.argv.slice(2);
await { serve, vectors }[command](library, ...args);
