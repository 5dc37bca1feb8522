// A Next.js application: built once, then served by its own server, which listens on loopback alone.

import { execFile, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PUBLISHABLE_KEY } from './frontend_api.mjs';
import { freeAddress } from '../browser/program.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const APP = join(HERE, 'work/nextjs');
const NEXT = join(HERE, 'node_modules/next/dist/bin/next');
const START = 30_000; // milliseconds it gets to come up
const ENV = {
  ...process.env, NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY: PUBLISHABLE_KEY,
  NEXT_TELEMETRY_DISABLED: '1', CLERK_TELEMETRY_DISABLED: '1', NEXT_PUBLIC_CLERK_TELEMETRY_DISABLED: '1',
};

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Next {
  static async build() {
    await promisify(execFile)(process.execPath, [NEXT, 'build', APP], { env: ENV });
  }

  // `mode` is `start`, or `dev`.
  static async start(mode = 'start') {
    const next = new Next();
    next.origin = await freeAddress();
    const { hostname, port } = new URL(next.origin);
    next.child = spawn(process.execPath, [NEXT, mode, APP, '--hostname', hostname, '--port', port], { env: ENV });
    running.add(next.child);
    next.ended = new Promise((resolve) => next.child.on('exit', resolve)).then(() => running.delete(next.child));
    for (const stream of [next.child.stdout, next.child.stderr]) stream.on('data', (text) => { next.log += text; });
    await next.#ready();
    return next;
  }

  log = '';

  async #ready() {
    const deadline = Date.now() + START;
    while (Date.now() < deadline && running.has(this.child)) {
      if (await fetch(`${this.origin}/logo.svg`).then(({ ok }) => ok, () => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`Next.js did not get ready:\n${this.log.slice(-4000)}`);
  }

  // Changes a file of its source.
  async edit(path, change) {
    const file = join(APP, path);
    await writeFile(file, change(await readFile(file, 'utf8')));
  }

  async stop() {
    this.child.kill('SIGTERM');
    await this.ended;
  }
}
