// Runs the proxy before a backend, twice for each instance: where every path is `optional` and where it is `required`.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request as send } from 'node:http';
import { createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listening } from './clerk_api.mjs';
import { INSTANCES, settingsEnvironment, settingsFile } from './instances.mjs';

const START = 20_000; // milliseconds a proxy gets to come up
const ANSWER = 15_000; // and to answer

export const ROUTES = ['optional', 'required'];

export class Proxies {
  #children = new Set();
  #addresses = new Map();
  #agent = new Agent({ keepAlive: true });
  #folder = mkdtempSync(join(tmpdir(), 'oracle-'));
  #backend;

  static async start(binary, api) {
    const proxies = new Proxies();
    process.once('exit', () => proxies.#kill());
    proxies.#backend = createServer(echo);
    const upstream = await listening(proxies.#backend);
    const starts = INSTANCES.flatMap((instance, at) => ROUTES.map((access) =>
      proxies.#start(binary, instance, access, `${at}-${access}`, { upstream, api })));
    await Promise.all(starts);
    return proxies;
  }

  async #start(binary, instance, access, name, { upstream, api }) {
    for (let tries = 1; ; tries += 1) {
      const [listen, admin] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
      const file = join(this.#folder, `${name}.toml`);
      writeFileSync(file, settingsFile(instance, { access, listen, admin, upstream, api }));
      const failure = await this.#run(binary, file, settingsEnvironment(instance), admin);
      if (failure === null) return this.#addresses.set(`${instance.name} ${access}`, listen);
      // Somebody else may have got a port in between.
      if (tries === 5 || !failure.includes('Address already in use')) {
        throw new Error(`the proxy for “${instance.name}”: ${failure}`);
      }
    }
  }

  // Runs a proxy and waits until it is ready; returns what it said where it has ended instead.
  async #run(binary, file, settings, admin) {
    const others = Object.entries(process.env).filter(([key]) => !/^(COUNTERSIGN_|.*CLERK_|PORT$)|_proxy$/i.test(key));
    const child = spawn(binary, ['serve', '--config', file], {
      env: { ...Object.fromEntries(others), ...settings },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#children.add(child);
    let log = '';
    child.stderr.on('data', (text) => { log = (log + text).slice(-4000); });
    const ended = new Promise((done) => child.once('close', (status, signal) => {
      this.#children.delete(child);
      done(`ended with ${status ?? signal}: ${log}`);
    }));
    return Promise.race([ready(admin), ended]);
  }

  // Sends a request as it is and tells what came of it.
  ask({ instance, method, target, headers }, access) {
    const [host, port] = this.#addresses.get(`${instance.name} ${access}`).split(':');
    return new Promise((done, failed) => {
      const options = {
        host, port, method, path: target, headers: headers.flat(), setHost: false, agent: this.#agent, timeout: ANSWER,
      };
      const sent = send(options, (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => done(told(response, Buffer.concat(chunks).toString())));
        response.on('error', failed);
      });
      sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.on('error', failed);
      sent.end();
    });
  }

  // Ends every proxy and tells those that did not end well.
  async close() {
    this.#agent.destroy();
    this.#backend.close();
    this.#backend.closeAllConnections();
    const ends = [...this.#children].map((child) => new Promise((done) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      child.once('exit', (status, signal) => (clearTimeout(timer), done(status === 0 ? null : `${status ?? signal}`)));
      child.kill('SIGTERM');
    }));
    const bad = (await Promise.all(ends)).filter(Boolean);
    rmSync(this.#folder, { recursive: true, force: true });
    if (bad.length > 0) throw new Error(`proxies ended with ${bad.join(', ')}`);
  }

  #kill() {
    for (const child of this.#children) child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const IDENTITY = {
  user: 'x-clerk-user-id', session: 'x-clerk-session-id', organization: 'x-clerk-org-id', slug: 'x-clerk-org-slug',
  role: 'x-clerk-org-role', permissions: 'x-clerk-org-permissions', actor: 'x-clerk-actor-id',
};

// The backend: says in a header whom it was told of. A HEAD has no body.
function echo(request, response) {
  const caller = request.headers['x-clerk-principal'] === 'anonymous'
    ? null
    : Object.fromEntries(Object.entries(IDENTITY).map(([name, it]) => [name, request.headers[it] ?? 'no header']));
  request.resume();
  response.writeHead(200, { 'oracle-caller': JSON.stringify(caller) }).end();
}

function told({ statusCode, headers }, body) {
  const caller = headers['oracle-caller'];
  return {
    status: statusCode,
    // What the backend was told: a caller, `null` for nobody; nothing where it was not asked.
    backend: caller === undefined ? 'not asked' : JSON.parse(caller),
    authStatus: headers['x-clerk-auth-status'] ?? null,
    reason: headers['x-clerk-auth-reason'] ?? (caller === undefined ? problem(body) : null),
    location: headers.location ?? null,
    // Beside Clerk's own count of handshakes there is one of ours, over a longer time.
    cookies: (headers['set-cookie'] ?? []).filter((line) => !line.startsWith('__countersign_')).sort(),
    caching: caller === undefined ? headers['cache-control'] ?? null : null,
  };
}

function problem(body) {
  try {
    return JSON.parse(body).reason ?? null;
  } catch {
    return null;
  }
}

async function ready(admin) {
  for (const end = Date.now() + START; Date.now() < end;) {
    const answer = await fetch(`http://${admin}/readyz`).catch(() => null);
    if (answer?.ok) return null;
    await new Promise((done) => setTimeout(done, 30));
  }
  return 'did not get ready';
}

async function freePort() {
  const socket = createSocket();
  await new Promise((done) => socket.listen(0, '127.0.0.1', done));
  const { port } = socket.address();
  await new Promise((done) => socket.close(done));
  return port;
}
