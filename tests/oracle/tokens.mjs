// Throw-away keys, and tokens that they sign.

import { createHmac, generateKeyPairSync, sign } from 'node:crypto';

export const KID = 'ins_oracleOracleOracleOracle123';

// The categories that Clerk marks its tokens with.
export const CATEGORY = {
  session: 'cl_B7d4PD111AAA',
  template: 'cl_B7d4PD222AAA',
  machine: 'cl_B7d4PD333AAA',
  unmarked: 'cl_I7d4PD111III',
};

const [own, foreign] = [1, 2].map(() => generateKeyPairSync('rsa', { modulusLength: 2048 }));

export const KEY_SET = {
  keys: [{ use: 'sig', kty: 'RSA', kid: KID, alg: 'RS256', ...publicMembers(own.publicKey) }],
};

export const PEM = own.publicKey.export({ type: 'spki', format: 'pem' });

function publicMembers(key) {
  const { n, e } = key.export({ format: 'jwk' });
  return { n, e };
}

const encoded = (value) => Buffer.from(value).toString('base64url');

// Signs tokens, and remembers what each of them says.
export class Mint {
  #specs = new Map();

  // `header` and `claims` as objects, or a text to be taken as it is; `signature` one of `good`, `bad`, `foreign`.
  token({ header = {}, claims, signature = 'good' }) {
    const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
    const head = typeof header === 'string'
      ? header
      : { alg: 'RS256', cat: CATEGORY.session, kid: KID, typ: 'JWT', ...header };
    const input = `${encoded(text(head))}.${encoded(text(claims))}`;
    const token = `${input}.${signed(input, head.alg, signature)}`;
    this.#specs.set(token, { header: head, claims, signature });
    return token;
  }

  // Remembers what a text says that is as good as a token of ours.
  know(token, spec) {
    this.#specs.set(token, spec);
    return token;
  }

  // What a token was made of; nothing for a text that is none of ours.
  spec(token) {
    return this.#specs.get(token);
  }

  // The same token but for what `change` does to what it is made of.
  changed(token, change) {
    const spec = structuredClone(this.#specs.get(token));
    change(spec);
    return this.token(spec);
  }

  // A text with names in the place of tokens, and what each of them says.
  told(text) {
    const tokens = [...this.#specs].filter(([token]) => text.includes(token));
    const named = (text) => tokens.reduce((done, [token], at) => done.replaceAll(token, `‹token ${at + 1}›`), text);
    const legend = tokens.map(([, spec], at) => `‹token ${at + 1}› ${named(JSON.stringify(spec))}`);
    return { text: named(text), legend };
  }
}

function signed(input, alg, signature) {
  if (alg === 'HS256') return createHmac('sha256', PEM).update(input).digest('base64url');
  const hash = { RS384: 'sha384', RS512: 'sha512' }[alg] ?? 'sha256';
  const key = signature === 'foreign' ? foreign : own;
  const good = sign(hash, Buffer.from(input), key.privateKey);
  if (signature === 'bad') good[17] ^= 1;
  return good.toString('base64url');
}
