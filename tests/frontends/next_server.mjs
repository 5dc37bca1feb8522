// A Next.js application: built once, then served by its own server, which listens on loopback alone.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, start, stop } from './children.mjs';
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

export class Next {
  static async build() {
    await run([NEXT, 'build', APP], { env: ENV });
  }

  // `mode` is `start`, or `dev`.
  static async start(mode = 'start') {
    const next = new Next();
    next.origin = await freeAddress();
    const { hostname, port } = new URL(next.origin);
    next.child = start([NEXT, mode, APP, '--hostname', hostname, '--port', port], { env: ENV });
    next.child.ended.then(() => { next.gone = true; });
    await next.#ready();
    return next;
  }

  async #ready() {
    const deadline = Date.now() + START;
    while (Date.now() < deadline && !this.gone) {
      if (await fetch(`${this.origin}/logo.svg`).then(({ ok }) => ok, () => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`Next.js did not get ready:\n${this.child.log.slice(-4000)}`);
  }

  // Changes a file of its source.
  async edit(path, change) {
    const file = join(APP, path);
    await writeFile(file, change(await readFile(file, 'utf8')));
  }

  async stop() {
    await stop(this.child);
  }
}
