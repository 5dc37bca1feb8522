// Debian's Chromium with people at it: before the demo, and before `serve` with a Frontend API of our own.
//
// CHROMIUM is where the browser is, COUNTERSIGN_BIN the program (target/release/countersign); with SCREENSHOTS, a folder, pictures
// of all pages are put there. Everything started here has ended when this process has.

import { chromium } from 'playwright-core';
import { Cases } from './cases.mjs';
import { demo } from './demo.mjs';
import { production } from './production.mjs';

const DEADLINE = 150_000; // milliseconds for all of it
// Nothing leaves this machine, whatever the browser would like to tell its makers.
const FLAGS = ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost', '--no-proxy-server', '--disable-quic'];

const cases = new Cases();
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(status));
setTimeout(() => {
  cases.check('the run came to its end in time', false);
  cases.close();
  process.exit(1);
}, DEADLINE).unref();

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
await Promise.all([
  cases.scene('demo', () => demo(cases, browser)),
  cases.scene('production', () => production(cases, browser)),
]);
await browser.close();
process.exit(cases.close());
