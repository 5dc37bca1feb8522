// The page as Vite builds it, on an origin of its own.

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { listening } from '../browser/program.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript' };

// Builds the React example; `settings` are what would stand in its `.env`.
export async function build(settings) {
  const vite = join(HERE, 'node_modules/vite/bin/vite.js');
  const env = { ...process.env, NODE_ENV: 'production', ...settings };
  await promisify(execFile)(process.execPath, [vite, 'build', '--logLevel', 'warn'], { cwd: join(HERE, 'work/react'), env });
}

export async function site() {
  return listening(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const file = pathname === '/' ? '/index.html' : pathname;
    const text = await readFile(join(HERE, 'work/react/dist', file)).catch(() => null);
    response.writeHead(text ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'text/plain' });
    response.end(text);
  });
}
