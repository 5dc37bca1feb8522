// Other people's programs. What they start is in their group, and ends with this process, however that ends.

import { spawn } from 'node:child_process';

const running = new Set();
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(status));
process.on('exit', () => running.forEach((child) => kill(child, 'SIGKILL')));

// Starts a program of Node's; what it says is kept in `log`, and `ended` is its exit status or signal.
export function start(words, { cwd, env }) {
  const child = spawn(process.execPath, words, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  child.log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { child.log += text; });
  running.add(child);
  child.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  return child;
}

// Ends a program and what it has started; returns once it has gone.
export async function stop(child) {
  kill(child, 'SIGTERM');
  await child.ended;
  kill(child, 'SIGKILL');
  running.delete(child);
}

// Runs one to its end.
export async function run(words, how) {
  const child = start(words, how);
  const status = await child.ended;
  running.delete(child);
  if (status !== 0) throw new Error(`${words.slice(0, 2).join(' ')} ended with ${status}:\n${child.log.slice(-4000)}`);
}

function kill({ pid }, signal) {
  try {
    process.kill(-pid, signal);
  } catch {} // the whole group has gone
}
