// Front ends before the proxy, with Debian's Chromium: the React example, and a Next.js application behind it.
//
// CHROMIUM is where the browser is, COUNTERSIGN_BIN the program (target/release/countersign); with SCREENSHOTS, a folder,
// pictures of the pages are put there. Everything started here has ended when this process has.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Cases } from '../browser/cases.mjs';
import { FrontendApi } from './frontend_api.mjs';
import { Issuer } from './issuer.mjs';
import { next } from './next.mjs';
import { react } from './react.mjs';

const DEADLINE = 240_000; // milliseconds for all of it
// Nothing leaves this machine, whatever the browser would like to tell its makers.
const LOCAL = 'MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost';
const FLAGS = ['--no-proxy-server', '--disable-quic', '--ignore-certificate-errors'];

const cases = new Cases();
for (const [signal, status] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(status));
setTimeout(() => {
  cases.check('the run came to its end in time', false);
  cases.close();
  process.exit(1);
}, DEADLINE).unref();

const folder = mkdtempSync(join(tmpdir(), 'countersign-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const issuer = await Issuer.start();
const api = await FrontendApi.start((claims) => issuer.mint(claims));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [`--host-resolver-rules=${api.rule}, ${LOCAL}`, ...FLAGS] });
const there = { browser, issuer, api, folder };
if (!process.env.ONLY || process.env.ONLY === 'react') await cases.scene('react', () => react(cases, there));
if (!process.env.ONLY || process.env.ONLY === 'next') await cases.scene('next', () => next(cases, there));
await browser.close();
await issuer.program.stop();
process.exit(cases.close());
