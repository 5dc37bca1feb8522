// The comparison, tried without a proxy: one is played that answers exactly as it should, and then with one
// thing wrong.

import { isDeepStrictEqual } from 'node:util';
import { DEVIATIONS } from './deviations.mjs';
import { answerTo, judge } from './judge.mjs';
import { makeRequest } from './requests.mjs';
import { Mint } from './tokens.mjs';

const CASES = 400;

// What may be wrong with an answer: returns another one, or nothing where it has no such thing.
const WRONG = {
  'the status': (answer) => ({ ...answer, status: answer.status === 200 ? 401 : 200 }),
  'the reason': (answer) => answer.reason && { ...answer, reason: 'token-invalid-x' },
  'the auth status': (answer) => answer.authStatus && { ...answer, authStatus: null },
  'a letter of the address': (answer) => answer.location
    && { ...answer, location: answer.location.replace(/.$/, (it) => (it === 'x' ? 'y' : 'x')) },
  'no address': (answer) => answer.location && { ...answer, location: null },
  'a cookie less': (answer) => answer.cookies.length > 0 && { ...answer, cookies: answer.cookies.slice(1) },
  'a cookie more': (answer) => ({ ...answer, cookies: [...answer.cookies, 'a=b'] }),
  'another user': (answer) => answer.backend?.user
    && { ...answer, backend: { ...answer.backend, user: 'user_mallory' } },
  'another organization': (answer) => answer.backend?.user
    && { ...answer, backend: { ...answer.backend, organization: 'org_mallory' } },
  'a user for nobody': (answer) => answer.backend === null && { ...answer, backend: { user: 'user_mallory' } },
  'kept by caches': (answer) => answer.caching && { ...answer, caching: null },
};

export async function selfTest(world, say) {
  let [passed, failed] = [0, 0];
  const check = (name, held) => {
    if (held) passed += 1;
    else failed += 1;
    if (!held) say(`FAIL ${name}`);
  };
  const seen = new Map(Object.keys(WRONG).map((name) => [name, 0]));
  const deviating = new Set();
  for (let number = 0; number < CASES; number += 1) {
    const mint = new Mint();
    const request = makeRequest({ seed: 'self-test', number, now: Math.floor(Date.now() / 1000), mint });
    // First as it should be: what is wanted is learnt from an answer that is none.
    const learnt = await judge(request, { ...world, mint, proxy: async () => ({}) });
    const wanted = Object.fromEntries(learnt.differences.map(({ access, want }) => [access, want]));
    const { calls } = learnt.differences[0].want;
    const api = {
      know: (answers) => world.api.know(answers),
      taken: (side, answers) => (side === 'ours' ? calls : world.api.taken(side, answers)),
    };
    const play = (change) => judge(request, {
      ...world, mint, api, proxy: async (_, access) => change(wanted[access]) || wanted[access],
    });
    check(`request ${number}: the right answer`, (await play((it) => it)).differences.length === 0);
    // Then with one thing wrong, each request with another.
    const names = Object.keys(WRONG);
    const name = names[number % names.length];
    const applies = Object.values(wanted).some((answer) => WRONG[name](answer));
    if (applies) {
      seen.set(name, seen.get(name) + 1);
      check(`request ${number}: ${name}`, (await play(WRONG[name])).differences.length > 0);
    }
    // And as the library says, where ours is to deviate.
    if (learnt.deviations.length > 0) {
      learnt.deviations.forEach((it) => deviating.add(it));
      const isSame = Object.entries(wanted).every(([access, want]) =>
        isDeepStrictEqual(want, { ...answerTo(learnt.clerks, access), calls: want.calls }));
      const clerks = await judge(request, {
        ...world, mint, api, proxy: async (_, access) => answerTo(learnt.clerks, access),
      });
      if (!isSame) check(`request ${number}: Clerk's answer in the place of ours`, clerks.differences.length > 0);
    }
  }
  for (const [name, times] of seen) check(`${name} was tried`, times > 0);
  say(`deviations met: ${deviating.size} of ${DEVIATIONS.length}`);
  say(`self-test: ${passed} passed, ${failed} failed`);
  return failed === 0;
}
