// Random choices that a seed repeats: the same seed and number give the same choices.

import { createHash } from 'node:crypto';

export class Random {
  #state;

  constructor(seed, number) {
    const digest = createHash('sha256').update(`${seed}:${number}`).digest();
    this.#state = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at));
  }

  // sfc32: a whole number below 2^32.
  #next() {
    let [a, b, c, counter] = this.#state;
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    this.#state = [a, b, c, counter];
    return sum;
  }

  // A whole number below `bound`.
  below(bound) {
    return this.#next() % bound;
  }

  chance(percent) {
    return this.#next() % 10_000 < percent * 100;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  // One of `[[weight, what], …]`.
  weighted(choices) {
    let at = this.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    return choices.find(([weight]) => (at -= weight) < 0)[1];
  }

  shuffled(list) {
    const left = [...list];
    return list.map(() => left.splice(this.below(left.length), 1)[0]);
  }

  letters(length) {
    const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
    return Array.from({ length }, () => alphabet[this.below(alphabet.length)]).join('');
  }
}
