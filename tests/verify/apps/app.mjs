import { createServer } from 'node:http';
import { secret, verify } from '../../../deploy/verify/countersign.mjs';

const { PORT, COUNTERSIGN_SIGNING_SECRET, IDENTITY, COVER } = process.env;
const keys = secret(COUNTERSIGN_SIGNING_SECRET);
const options = { identity: IDENTITY.split(' '), cover: COVER.split(' ').filter(Boolean) };

createServer((request, response) => {
  try {
    const told = Object.entries(verify(request, keys, options));
    response.end(told.map(([name, value]) => `${name}: ${value}\n`).join(''));
  } catch (why) {
    response.writeHead(401).end(why.message);
  }
}).listen(Number(PORT), '127.0.0.1');
