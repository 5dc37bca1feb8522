// Asks Clerk's own library and the proxy the same, thousands of times, and tells every difference.
//
//   node oracle.mjs [--seed S]… [--cases N] [--case N]   S is a number, or `random`; COUNTERSIGN_BIN is the proxy
//   node oracle.mjs --self-test                          without a proxy: is every kind of difference found?
//
// Exit status 1 where there is a difference that no row of `deviations.mjs` says, or a run of 5,000 has never met a
// reason of the library's that it should.

import { parseArgs } from 'node:util';
import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { clerk } from './clerk.mjs';
import { ClerkApi } from './clerk_api.mjs';
import { DEVIATIONS } from './deviations.mjs';
import { judge } from './judge.mjs';
import { Proxies } from './proxies.mjs';
import { MET } from './reasons.mjs';
import { makeRequest } from './requests.mjs';
import { selfTest } from './self_test.mjs';
import { Mint } from './tokens.mjs';

const AT_A_TIME = 4;
const SHOWN = 20; // differences
// A request that took this long is made anew: its dates may have come too near to where a verdict turns.
const LONGEST = 1_500; // milliseconds

const say = (text) => process.stdout.write(`${text}\n`);

class Run {
  differences = 0;
  #met = new Map();
  #deviating = new Map();
  #again = 0;

  constructor(seed, world) {
    Object.assign(this, { seed, world });
  }

  async ask(number) {
    for (;;) {
      const began = Date.now();
      const mint = new Mint();
      const request = makeRequest({ seed: this.seed, number, now: Math.floor(began / 1000), mint });
      const verdict = await judge(request, { ...this.world, mint }).catch((error) => {
        throw new Error(`--seed ${this.seed} --case ${number} could not be judged`, { cause: error });
      });
      if (Date.now() - began < LONGEST) return this.#count(request, verdict, mint);
      this.#again += 1;
    }
  }

  #count(request, { clerks, deviations, differences }, mint) {
    const name = [clerks.status, clerks.status === 'throws' ? null : clerks.reason].filter(Boolean).join(' ');
    this.#met.set(name, (this.#met.get(name) ?? 0) + 1);
    for (const name of deviations) this.#deviating.set(name, (this.#deviating.get(name) ?? 0) + 1);
    if (differences.length === 0) return;
    this.differences += 1;
    if (this.differences <= SHOWN) say(this.#difference(request, { clerks, deviations, differences }, mint));
  }

  #difference(request, { clerks, deviations, differences }, mint) {
    const { instance, number, method, target, headers, answers, notes, now } = request;
    const lines = [
      `--- difference: --seed ${this.seed} --case ${number}: ${instance.name}; ${notes.join(', ')}; now ${now}`,
      `${method} ${target}`, ...headers.map((pair) => pair.join(': ')),
      ...Object.entries(answers).map(([about, answer]) => `Clerk's API to ${about}: ${JSON.stringify(answer)}`),
      `Clerk's library: ${JSON.stringify(clerks)}`,
      ...(deviations.length > 0 ? [`deviations: ${deviations.join(', ')}`] : []),
      ...differences.flatMap(({ access, want, got }) => Object.keys(want)
        .filter((key) => !isDeepStrictEqual(want[key], got[key]))
        .flatMap((key) => [['want', want], ['got ', got]]
          .map(([word, answer]) => `${access} ${key}: ${word} ${JSON.stringify(answer[key])}`))),
    ];
    const { text, legend } = mint.told(lines.join('\n'));
    return [text, ...legend].join('\n');
  }

  // Prints what was met; returns whether it was enough, and nothing was different.
  close(cases) {
    const table = (map) => [...map].sort(([, one], [, other]) => other - one)
      .map(([name, times]) => `${String(times).padStart(6)}  ${name}`).join('\n');
    say(`--- seed ${this.seed}: what Clerk's library said\n${table(this.#met)}`);
    say(`--- seed ${this.seed}: deviations\n${table(this.#deviating)}`);
    if (this.#again > 0) say(`asked again, for it took too long: ${this.#again}`);
    const missing = MET.filter((name) => !this.#met.has(name));
    const unused = DEVIATIONS.map(({ name }) => name).filter((name) => !this.#deviating.has(name));
    if (cases >= 5000 && missing.length > 0) say(`never met: ${missing.join(', ')}`);
    if (cases >= 5000 && unused.length > 0) say(`deviations never met: ${unused.join(', ')}`);
    say(`seed ${this.seed}: ${cases - this.differences} passed, ${this.differences} failed`);
    return this.differences === 0 && (cases < 5000 || missing.length === 0);
  }
}

async function run({ seeds, cases, only }, world) {
  let good = true;
  for (const seed of seeds) {
    const began = Date.now();
    say(`=== seed ${seed}, ${only === undefined ? `${cases} requests` : `request ${only}`}`);
    const run = new Run(seed, world);
    const left = only === undefined ? Array.from({ length: cases }, (_, at) => at) : [only];
    const work = async () => {
      for (let number; (number = left.shift()) !== undefined;) await run.ask(number);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
    good = run.close(only === undefined ? cases : 1) && good;
    say(`took ${((Date.now() - began) / 1000).toFixed(1)} s`);
  }
  return good;
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string', multiple: true, default: ['1'] },
    cases: { type: 'string', default: '5000' },
    case: { type: 'string' },
    'self-test': { type: 'boolean', default: false },
  },
});
const seeds = values.seed.map((seed) => (seed === 'random' ? randomInt(2 ** 32) : Number(seed)));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const api = await ClerkApi.start();
const ask = clerk(api.url);
let good;
if (values['self-test']) {
  good = await selfTest({ ask, api }, say);
} else {
  const binary = process.env.COUNTERSIGN_BIN;
  if (!binary) throw new Error('COUNTERSIGN_BIN says where the proxy is');
  const proxies = await Proxies.start(binary, api.url);
  const world = { ask, api, proxy: (request, access) => proxies.ask(request, access) };
  good = await run({ seeds, cases: Number(values.cases), only: values.case && Number(values.case) }, world);
  await proxies.close();
}
api.close();
process.exitCode = good ? 0 : 1;
