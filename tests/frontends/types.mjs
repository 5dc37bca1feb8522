// The examples against the packages they import: `tsc --strict` takes them as they are, and refuses them once
// something in them is wrong. Beside that, all four call the API in the same words, but for where it is and for whom
// Clerk is asked.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Cases } from '../browser/cases.mjs';

const PLACES = {
  react: ['work/react', 'work/react/Orders.tsx'],
  nextjs: ['work/nextjs', 'work/nextjs/app/orders.tsx'],
  expo: ['expo', 'expo/work/Orders.tsx'],
  gatsby: ['gatsby', 'gatsby/work/src/pages/orders.tsx'],
};
const cases = new Cases();
const calls = new Set();
for (const [name, [project, file]] of Object.entries(PLACES)) {
  const text = readFileSync(file, 'utf8');
  cases.same(`${name}: its types hold`, tsc(project), '');
  wrong(name, project, file, text, 'isLoaded,', 'isLoading,');
  wrong(name, project, file, text, 'skipCache: fresh', 'skipCache: path');
  calls.add(theSame(/^(?:export )?(async function call\(.*?^const read = [^\n]*)$/ms.exec(text)?.[1]));
}
cases.check('all four call the API in the same words', calls.size === 1 && !calls.has(undefined), [...calls]);
process.exit(cases.close());

// What tsc prints of a project.
function tsc(project) {
  const { stdout, stderr, status, error } = spawnSync('node_modules/.bin/tsc', ['--project', project, '--pretty', 'false'], { encoding: 'utf8' });
  return error ? error.message : `${stdout}${stderr}${status && !stdout ? `status ${status}` : ''}`;
}

// Less the API's address, and how Expo comes to Clerk.
function theSame(text) {
  return text?.replace(/fetch\(`.*?\/\$\{path\}`/, 'fetch(…').replace('getClerkInstance().session?.getToken', 'getToken');
}

function wrong(name, project, file, text, right, mistake) {
  writeFileSync(file, text.replace(right, mistake));
  const told = tsc(project);
  cases.check(`${name}: ${mistake} instead of ${right} does not pass`, text.includes(right) && told.includes('error TS'), told);
  writeFileSync(file, text);
}
