// Says what the verifier told it: node node_app.mjs PORT [http2], with VERIFIER as in python_app.py.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createServer2 } from 'node:http2';
import { secret } from '../../../deploy/verify/countersign.mjs';
import { ed25519 } from '../../../deploy/verify/countersign_ed25519.mjs';
import { guard } from '../../../deploy/verify/countersign_middleware.mjs';

const about = JSON.parse(readFileSync(process.env.VERIFIER, 'utf8'));
const keys = about.secret === undefined ? await ed25519(about.jwks_url) : secret(about.secret);
const guarded = guard(keys, about.options);

const [port, version] = process.argv.slice(2);
const create = version === 'http2' ? createServer2 : createServer;
create((request, response) => guarded(request, response, () => {
  const { countersign: told, method, url, rawHeaders: raw } = request;
  const headers = raw.flatMap((name, i) => (i % 2 ? [] : [[name.toLowerCase(), raw[i + 1]]]));
  const [, path, query] = /^([^?]*)\??(.*)$/.exec(url);
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ told, method, path: decodeURIComponent(path), query, headers }));
})).listen(Number(port), '127.0.0.1');
