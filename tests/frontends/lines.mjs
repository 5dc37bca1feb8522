// How long the examples are, by the table in their README: what one pastes has at most fifteen lines of code, every
// number there is right, and no line is long for having been two.

import { readFileSync } from 'node:fs';
import { Cases } from '../browser/cases.mjs';

const EXAMPLES = new URL('../../deploy/examples/frontends/', import.meta.url);
const MOST = 15;
const COLUMNS = 120;
const NAMES = ['React with Vite', 'Next.js', 'Expo', 'Gatsby'];
// As `lines_of_code` of tests/verify has it: neither comments, imports, nor brackets alone. Perl's `use strict` is no
// code there, and no more is a directive here.
const LEFT_OUT = /^\s*(\/\/|import |'use client';$)|^[\s\])};,({]*$/;
const ROW = /^\| ([^|]+) \| ([^|]+) \| (\d+) \| ([^|]+) \|/gm;
const PASTED = /\]\(([^)]+)\)/g;
const AROUND = /\]\(([^)]+)\) (\d+)/g;

const cases = new Cases();
const rows = [...readFileSync(new URL('README.md', EXAMPLES), 'utf8').matchAll(ROW)];
cases.same('README.md: the table has all of them', rows.map(([, name]) => name), NAMES);
for (const [, name, paste, lines, around] of rows) {
  const pasted = [...paste.matchAll(PASTED)].map(([, file]) => file);
  const counted = pasted.reduce((sum, file) => sum + linesOfCode(file), 0);
  cases.check(`${name}: ${counted} lines of at most ${MOST}`, counted > 0 && counted <= MOST, counted);
  cases.same(`README.md: ${name}: ${lines}`, Number(lines), counted);
  const beside = [...around.matchAll(AROUND)];
  for (const [, file, told] of beside) cases.same(`README.md: ${file}: ${told}`, Number(told), linesOfCode(file));
  for (const file of [...pasted, ...beside.map(([, file]) => file)]) {
    cases.same(`${file}: no line has more than ${COLUMNS} columns`, linesOf(file).filter((line) => line.length > COLUMNS), []);
    cases.same(`${file}: no line has two statements`, linesOf(file).filter((line) => /;.*;/.test(line)), []);
  }
}
process.exit(cases.close());

function linesOf(file) {
  return readFileSync(new URL(file, EXAMPLES), 'utf8').split('\n');
}

function linesOfCode(file) {
  return linesOf(file).filter((line) => !LEFT_OUT.test(line)).length;
}
