// The program, and little servers beside it. All on loopback, and all ended when this process ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR || join(ROOT, 'target');
const BINARY = process.env.COUNTERSIGN_BIN || join(TARGET, 'release', 'countersign');
// What of the environment would be a setting.
const OURS = /^((.*_)?CLERK_.*|COUNTERSIGN_.*|.*PORT|.*_proxy)$/i;
const START = 20_000; // milliseconds it gets to come up
const END = 30_000; // and to drain: `drain.grace` is 25 s

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Program {
  #child;
  #lines;
  #ended;
  #log = [];
  #waiting = new Set();

  constructor(words, settings = {}) {
    const kept = Object.entries(process.env).filter(([name]) => !OURS.test(name));
    const env = { ...Object.fromEntries(kept), ...settings };
    this.#child = spawn(BINARY, words, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.#child);
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error) => resolve(error.message));
      this.#child.on('exit', (code, signal) => resolve(code ?? signal));
    });
    this.#ended.then(() => running.delete(this.#child));
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
    createInterface(this.#child.stderr).on('line', (line) => this.#logged(line));
  }

  // `countersign demo`, ready; with what it says of itself as `about`.
  static async demo() {
    const program = new Program(['demo', '--json']);
    program.about = JSON.parse(await program.line());
    program.admin = program.about.admin;
    await program.ready();
    return program;
  }

  // `countersign serve`, ready; `proxy` and `admin` are where it listens.
  static async serve(words, settings, listen, admin) {
    const own = ['--listen', new URL(listen).host, '--admin-listen', new URL(admin).host];
    const program = new Program(['serve', ...own, ...words], settings);
    program.admin = admin;
    await program.ready();
    return program;
  }

  // The next line on its standard output.
  async line() {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error(`it said nothing:\n${this.log()}`);
    return value;
  }

  async ready() {
    const deadline = Date.now() + START;
    while (Date.now() < deadline && running.has(this.#child)) {
      const answer = await fetch(`${this.admin}/readyz`).catch(() => null);
      if (answer?.status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`it did not get ready:\n${this.log()}`);
  }

  // The lines of the access log so far.
  access() {
    return this.#log.filter((line) => line.target === 'access');
  }

  log() {
    return this.#log.map((line) => JSON.stringify(line)).join('\n').slice(-4000);
  }

  // Waits until the access log has a line for which this is true, after the first `from` of them.
  async answered(is, from = 0) {
    for (;;) {
      const found = this.access().slice(from).find(is);
      if (found) return found;
      await new Promise((resolve) => this.#waiting.add(resolve));
    }
  }

  // What a counter says: the sum of its lines, or of those for which this is true.
  async metric(name, is = () => true) {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.split(/[{ ]/)[0] === name && is(line));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  // Sends SIGTERM, and returns the exit status.
  async stop() {
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), END);
    const status = await this.#ended;
    clearTimeout(late);
    return status;
  }

  #logged(line) {
    let told = { line };
    try {
      told = JSON.parse(line);
    } catch {} // a panic writes plain lines
    this.#log.push(told);
    this.#waiting.forEach((resolve) => resolve());
    this.#waiting.clear();
  }
}

// A server on a free port of 127.0.0.1 that answers with `answer(request, response)`.
export async function listening(answer) {
  const server = createServer((request, response) => {
    Promise.resolve(answer(request, response)).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

// The address of a port that is free now.
export async function freeAddress() {
  const probe = await listening(() => {});
  await probe.close();
  return probe.origin;
}

// The body of a request, as text.
export async function body(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return text;
}
