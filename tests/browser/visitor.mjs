// Somebody with a browser of their own: tabs that share cookies, and every step of the last journey.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

const PATIENCE = 20_000; // milliseconds for anything that a browser is waited for
const NARROW = { width: 375, height: 740 };
const WIDE = { width: 1100, height: 800 };
const COUNTS = ['__clerk_redirect_count', '__countersign_handshakes', '__countersign_sign_ins'];
const SHOTS = process.env.SCREENSHOTS;

export class Visitor {
  tabs = [];

  // A browser that has never been used. `scripts`: pages may be asked to run what we write, whatever
  // their content security policy says.
  static async of(browser, { scripts = false } = {}) {
    const visitor = new Visitor();
    visitor.context = await browser.newContext({ viewport: WIDE, bypassCSP: scripts });
    visitor.context.setDefaultTimeout(PATIENCE);
    return visitor;
  }

  async tab() {
    const tab = new Tab(await this.context.newPage());
    this.tabs.push(tab);
    return tab;
  }

  // The cookies that this host has set, by name.
  async cookies() {
    const cookies = await this.context.cookies();
    return Object.fromEntries(cookies.map((cookie) => [cookie.name, cookie]));
  }

  // Their names, less those that count how often the browser was sent away.
  async cookieNames() {
    return Object.keys(await this.cookies()).filter((name) => !COUNTS.includes(name)).sort();
  }

  // As if a moment had passed since the last handshake: Clerk's own count of them lasts for 2 s.
  async pause() {
    await this.take('__clerk_redirect_count');
  }

  async put(name, value, host) {
    await this.context.addCookies([{ name, value, domain: host, path: '/', sameSite: 'Lax' }]);
  }

  async take(name) {
    await this.context.clearCookies({ name });
  }

  async leave() {
    await this.context.close();
  }
}

export class Tab {
  #answers = [];

  constructor(page) {
    this.page = page;
    page.on('response', (answer) => {
      const request = answer.request();
      if (request.isNavigationRequest() && request.frame() === page.mainFrame()) this.#answers.push(answer);
    });
  }

  // Each answer on the way of the last journey: what was asked, what came, what it set.
  async steps() {
    return Promise.all(this.#answers.map(async (answer) => {
      const lines = await answer.headersArray();
      const of = (name) => lines.filter((line) => line.name.toLowerCase() === name).map((line) => line.value);
      return {
        url: new URL(answer.url()),
        method: answer.request().method(),
        status: answer.status(),
        to: of('location')[0],
        reason: of('x-clerk-auth-reason')[0],
        type: of('content-type')[0],
        sets: of('set-cookie').flatMap((value) => value.split('\n')),
      };
    }));
  }

  async open(url) {
    return this.#go(() => this.page.goto(url));
  }

  async reload() {
    return this.#go(() => this.page.reload());
  }

  async back() {
    return this.#go(() => this.page.goBack());
  }

  // Clicks a link or a button, and waits until the browser is where that leads.
  async press(role, name, at) {
    return this.until(at, () => this.page.getByRole(role, { name }).click());
  }

  // Does something that ends in a page at an address for which `at` is true.
  async until(at, act) {
    return this.#go(() => Promise.all([this.page.waitForURL(at), act()]));
  }

  get url() {
    return this.page.url();
  }

  async text() {
    return this.page.locator('body').innerText();
  }

  async heading() {
    return this.page.getByRole('heading', { level: 1 }).innerText();
  }

  // Takes a picture in each form that a person may see, where pictures are asked for.
  async shoot(name) {
    if (!SHOTS) return;
    mkdirSync(SHOTS, { recursive: true });
    for (const [form, size, colorScheme] of [
      ['', WIDE, 'light'],
      ['-dark', WIDE, 'dark'],
      ['-narrow', NARROW, 'light'],
      ['-narrow-dark', NARROW, 'dark'],
    ]) {
      await this.page.setViewportSize(size);
      await this.page.emulateMedia({ colorScheme });
      await this.page.screenshot({ path: join(SHOTS, `${name}${form}.png`), fullPage: true });
    }
    await this.page.setViewportSize(WIDE);
    await this.page.emulateMedia({ colorScheme: 'light' });
  }

  async #go(act) {
    this.#answers = [];
    await act();
    return this.steps();
  }
}
