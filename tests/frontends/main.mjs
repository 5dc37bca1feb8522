// Front ends and the proxy in Debian's Chromium: React and Gatsby with their API behind it, Next.js as a whole behind it.
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
import { singlePage } from './single_page.mjs';
import { GATSBY, REACT } from './site.mjs';

const DEADLINE = 420_000; // milliseconds for all of it: about half of that where the machine has nothing else to do
// Nothing leaves this machine, whatever the browser would like to tell its makers.
const LOCAL = 'MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost';
const FLAGS = ['--no-proxy-server', '--disable-quic', '--ignore-certificate-errors'];

const cases = new Cases();
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
await cases.scene('react', () => singlePage(cases, there, REACT));
await cases.scene('next', () => next(cases, there));
await cases.scene('gatsby', () => singlePage(cases, there, GATSBY));
cases.same('the Frontend API knew all that it was asked for', api.unknown, []);
await browser.close();
await issuer.program.stop();
process.exit(cases.close());
