// Writes what it saw of each request: node seen.mjs PORT, with SEEN a file.

import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

const all = ({ rawHeaders: raw }, wanted) =>
  raw.filter((_, i) => i % 2 && raw[i - 1].toLowerCase() === wanted).join(',');

const server = createServer((request, response) => {
  const pieces = [];
  const tell = (whole) => {
    const body = Buffer.concat(pieces);
    const { method, url: target } = request;
    const [host, user] = [all(request, 'host'), all(request, 'x-clerk-user-id')];
    const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
    const connection = String(request.socket.remotePort);
    appendFileSync(process.env.SEEN, `${JSON.stringify({ method, target, host, user, length: body.length, digest, whole, connection })}\n`);
  };
  request.on('data', (piece) => pieces.push(piece));
  request.on('error', () => tell(false));
  request.on('end', () => {
    tell(true);
    response.writeHead(200, { 'x-saw': `${request.method} ${request.url}`, 'content-length': 2 });
    response.end('ok');
  });
});
// As a server of nothing but HTTP does: a request to upgrade is a request.
server.on('checkExpectation', (request, response) => server.emit('request', request, response));
server.listen(Number(process.argv[2]), '127.0.0.1');
