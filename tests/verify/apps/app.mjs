import { createServer } from 'node:http';
import { Refused, secret, verify } from '../../../deploy/verify/countersign.mjs';
import { ed25519 } from '../../../deploy/verify/countersign_ed25519.mjs';

const { PORT, COUNTERSIGN_SIGNING_SECRET, JWKS_URL, IDENTITY, COVER } = process.env;
const keys = JWKS_URL ? await ed25519(JWKS_URL) : secret(COUNTERSIGN_SIGNING_SECRET);
const options = { identity: IDENTITY.split(' '), cover: COVER.split(' ').filter(Boolean) };

createServer((request, response) => {
  try {
    const told = Object.entries(verify(request, keys, options));
    response.end(told.map(([name, value]) => `${name}: ${value}\n`).join(''));
  } catch (why) {
    response.writeHead(why instanceof Refused ? 401 : 500).end(why.message);
  }
}).listen(Number(PORT), '127.0.0.1');
