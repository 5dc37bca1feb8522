// Pages that are built once and served as files, from an origin of their own.

import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './children.mjs';
import { PUBLISHABLE_KEY } from './frontend_api.mjs';
import { listening } from '../browser/program.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };

export const REACT = {
  name: 'react', folder: 'work/react', files: 'dist', path: '/', prefix: 'VITE',
  build: ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'],
};
export const GATSBY = {
  name: 'gatsby', folder: 'gatsby/work', files: 'public', path: '/orders/', prefix: 'GATSBY',
  build: ['gatsby/node_modules/gatsby/cli.js', 'build', '--no-color'],
};

// Builds it with what would stand in its `.env`.
export async function build({ folder, prefix, build: [program, ...words] }, api) {
  const settings = { [`${prefix}_API_URL`]: api, [`${prefix}_CLERK_PUBLISHABLE_KEY`]: PUBLISHABLE_KEY };
  const env = { ...process.env, NODE_ENV: 'production', GATSBY_TELEMETRY_DISABLED: '1', ...settings };
  await run([join(HERE, program), ...words], { cwd: join(HERE, folder), env });
}

export async function site({ folder, files }) {
  return listening(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const file = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
    const text = await readFile(join(HERE, folder, files, file)).catch(() => null);
    response.writeHead(text ? 200 : 404, { 'content-type': TYPES[extname(file)] ?? 'text/plain' });
    response.end(text);
  });
}
