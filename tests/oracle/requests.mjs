// Makes requests up: a seed and a number give the same one, but for the time it speaks of and the keys it is
// signed with. Most are near an edge of Clerk's decision: one thing is off, or two are that depend on each other.
//
// Every date keeps two seconds away from where the verdict on it turns, so that what time a side takes decides nothing.

import { Random } from './random.mjs';
import { CATEGORY } from './tokens.mjs';
import { INSTANCES } from './instances.mjs';

const USERS = ['user_2aliceAliceAliceAliceAl', 'user_2bobBobBobBobBobBobBobB'];
const ORGANIZATIONS = [
  { id: 'org_2acmeAcmeAcmeAcme', slg: 'acme', rol: 'admin', per: 'read,manage', fpm: '3' },
  { id: 'org_2globexGlobexGlob', slg: 'globex', rol: 'member', per: 'read', fpm: '1' },
];
const HTML = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
const OTHER_AUDIENCES = ['other', ['other'], undefined, '', [], null, 5, ['orders', 5], {}];
// Texts that are as good as tokens of ours: what their two parts say.
const ODD = {
  'e30.e30.': ['{}', '{}'], 'e30.e30.e30': ['{}', '{}'], 'bnVsbA.e30.AA': ['null', '{}'],
  'e30.bnVsbA.AA': ['{}', 'null'], 'W10.W10.AA': ['[]', '[]'],
};
const NEVER = undefined;

// A request:
// `instance`, `method`, `target`, `headers` as `[name, value]` in order; `origin`: what the browser calls the host;
// `answers`: what Clerk's Backend API says to the nonce and the refresh token in it; `notes`: how it came about.
export function makeRequest({ seed, number, now, mint }) {
  return new Maker(new Random(seed, number), number, now, mint).request();
}

class Maker {
  constructor(random, number, now, mint) {
    for (const [token, [header, claims]] of Object.entries(ODD)) mint.know(token, { header, claims, signature: 'bad' });
    Object.assign(this, { random, number, now, mint });
    this.instance = random.weighted(INSTANCES.map((it) => [it.weight, it]));
    this.notes = [];
    this.answers = {};
    this.cookies = [];
    this.query = [];
    this.authorization = [];
    // One session mostly, so that a refresh is of the one whose token has expired; nothing: each token has its own.
    this.sid = this.random.chance(85) ? `sess_${this.random.letters(27)}` : undefined;
  }

  request() {
    const { random, instance } = this;
    const scene = random.weighted([
      [14, 'bearer'], [40, 'cookies'], [10, 'signed in'], [6, 'change'], [10, 'handshake'], [10, 'refresh'],
      [8, 'lone'], [2, 'nothing'],
    ]);
    this.note(scene);
    if (scene === 'bearer') this.bearer();
    if (scene === 'cookies' || scene === 'bearer' && random.chance(30)) this.families();
    if (scene === 'signed in' || scene === 'change') this.goodSession();
    if (scene === 'change' && random.chance(40)) this.changeSession(({ claims }) => { claims.azp = undefined; });
    if (scene === 'lone') this.lone();
    if (scene === 'handshake') {
      if (random.chance(50)) this.families();
      this.handshake();
    }
    if (scene === 'refresh') this.expired();
    if (scene === 'refresh' || random.chance(4)) this.refresh();
    if (instance.isDevelopment) this.devBrowser();
    if (instance.satellite || random.chance(2)) this.synced();
    this.redirectCount();
    this.strangers();
    const head = this.head(scene);
    return {
      number: this.number, now: this.now, instance, answers: this.answers, notes: this.notes, ...head,
      headers: [...head.headers, ...this.authorization.map((it) => ['Authorization', it]), ...this.cookieLines()],
    };
  }

  note(text) {
    this.notes.push(text);
  }

  // ---- tokens

  // Seconds from now: when a token was issued, from when and until when it is good.
  age() {
    const { random } = this;
    return random.weighted([
      [50, () => this.minute(-random.below(50))],
      [3, () => this.minute(-62)], // within the leeway
      [8, () => this.minute(-67)], // just past it
      [6, () => this.minute(-random.pick([120, 600, 7200, 90_000]))],
      [3, () => ({ ...this.minute(-1), nbf: 3 })],
      [5, () => ({ ...this.minute(-1), nbf: random.pick([9, 600]) })],
      [3, () => ({ iat: 3, nbf: -7, exp: 63 })],
      [5, () => ({ iat: random.pick([9, 300]), nbf: -7, exp: 400 })],
      [2, () => ({ iat: 3600, nbf: 3600, exp: 3660 })],
      [1, () => ({ iat: -30, nbf: -40, exp: -7.5 })], // its fraction is cut off
      [1, () => ({ iat: -30, nbf: -40, exp: 2 * 86_400 })], // lives too long
    ])();
  }

  minute(iat) {
    return { iat, nbf: iat - 10, exp: iat + 60 };
  }

  dates(age) {
    return Object.fromEntries(Object.entries(age).map(([name, offset]) => [name, this.now + offset]));
  }

  sessionClaims(age = this.age()) {
    const { random, instance } = this;
    const claims = {
      azp: random.pick(instance.origins), fva: [random.below(90), -1], iss: random.pick(instance.issuers),
      jti: random.letters(20), sid: this.sid ?? `sess_${random.letters(27)}`, sub: random.pick(USERS), ...this.dates(age),
    };
    if (instance.audience) {
      claims.aud = random.chance(90)
        ? random.pick([...instance.audience, instance.audience, ['x', instance.audience[0]]])
        : random.pick(OTHER_AUDIENCES);
    }
    const organization = random.pick([NEVER, ...ORGANIZATIONS]);
    if (random.chance(75)) {
      Object.assign(claims, { v: 2, sts: 'active', pla: 'u:free', fea: 'o:reports,u:beta' });
      if (organization) claims.o = organization;
    } else if (organization) {
      Object.assign(claims, {
        org_id: organization.id, org_slug: organization.slg, org_role: `org:${organization.rol}`,
        org_permissions: ['org:reports:read'],
      });
    }
    if (random.chance(4)) claims.act = { iss: 'https://dashboard.clerk.com', sid: 'sess_x', sub: 'user_agent' };
    if (random.chance(4)) Object.assign(claims, { v: 2, sts: 'pending' });
    return claims;
  }

  // A session's token, of which mostly nothing, else one thing or two are off.
  session() {
    const { random } = this;
    const spec = { header: {}, claims: this.sessionClaims(), signature: 'good' };
    const faults = random.weighted([[60, 0], [33, 1], [7, 2]]);
    for (let left = faults; left > 0; left -= 1) {
      if (typeof spec.claims === 'string') break;
      const text = this.fault(spec);
      if (text !== undefined) return text;
    }
    return this.mint.token(spec);
  }

  // Makes something of a token wrong, or odd; returns a text that stands for the whole token, where it is none.
  fault(spec) {
    const { random } = this;
    const [name, change] = random.weighted(FAULTS.map(([weight, ...row]) => [weight, row]));
    this.note(`token: ${name}`);
    const text = change({ random, spec, header: spec.header, claims: spec.claims });
    return typeof text === 'string' ? text : undefined;
  }

  // ---- cookies

  cookie(name, value) {
    this.cookies.push([name, value]);
  }

  suffixed(name) {
    return `${name}_${this.instance.suffix}`;
  }

  // When the client last signed in, held against when its token was issued.
  clientUat(token) {
    const { random } = this;
    const iat = this.mint.spec(token)?.claims?.iat ?? this.now - 100;
    const from = Number.isInteger(iat) ? iat : this.now - 100;
    return random.weighted([
      [14, () => NEVER],
      [10, () => '0'],
      [40, () => `${from - random.pick([1, 100, 5000])}`],
      [10, () => `${from}`],
      [12, () => `${from + random.pick([1, 30])}`],
      [2, () => 'junk'],
      [2, () => ''],
      [2, () => '-5'],
      [2, () => `0x${(from - 9).toString(16)}`],
      [2, () => random.pick(['0x', '00', '+7', '1e3', '12abc', '1.9', '%31', '"7"', '+', ' 15'])],
    ])();
  }

  family(name) {
    const { random } = this;
    const token = random.chance(78) ? this.session() : NEVER;
    const uat = this.clientUat(token);
    if (token !== NEVER) this.cookie(name('__session'), token);
    if (uat !== NEVER) this.cookie(name('__client_uat'), uat);
  }

  families() {
    const { random } = this;
    const plain = (name) => name;
    const own = (name) => this.suffixed(name);
    const scene = random.weighted([[35, 'plain'], [15, 'own'], [15, 'both'], [25, 'mixed'], [10, 'foreign']]);
    this.note(`cookies: ${scene}`);
    if (scene === 'plain') this.family(plain);
    if (scene === 'own') this.family(own);
    if (scene === 'both') {
      this.family(plain);
      for (const [name, value] of [...this.cookies]) this.cookie(own(name), value);
    }
    if (scene === 'mixed') {
      this.family(plain);
      this.family(own);
    }
    if (scene === 'foreign') {
      const claims = { ...this.sessionClaims(), iss: 'https://clerk.elsewhere.org' };
      this.cookie('__session', this.mint.token({ header: { kid: 'ins_elsewhere' }, claims, signature: 'foreign' }));
      if (random.chance(70)) this.cookie('__client_uat', `${this.now - 30}`);
      if (random.chance(70)) this.family(own);
    }
  }

  // One half of what a signed-in browser has.
  lone() {
    const { random } = this;
    const name = random.chance(50) ? (base) => base : (base) => this.suffixed(base);
    if (random.chance(50)) this.cookie(name('__client_uat'), `${this.now - 1000}`);
    else this.cookie('__session', this.mint.token({ claims: this.sessionClaims(this.minute(-5)) }));
  }

  // All is well with the session, so that what comes after it decides.
  goodSession(age = this.minute(-this.random.below(50))) {
    const { random } = this;
    const claims = this.sessionClaims(age);
    if (!this.instance.satellite) claims.iss = `https://${this.instance.host}`;
    const token = this.mint.token({ claims });
    const plain = ['__session', '__client_uat'];
    const names = random.pick([plain, plain.map((it) => this.suffixed(it))]);
    this.cookie(names[0], token);
    this.cookie(names[1], `${claims.iat - 20}`);
  }

  expired() {
    const { random } = this;
    this.goodSession(this.minute(-random.pick([67, 200, 4000])));
    if (!random.chance(25)) return;
    this.changeSession(({ claims }) => {
      random.pick([() => delete claims.sid, () => { claims.sid = ''; }, () => { claims.sid = 'sess_../../x'; }])();
    });
  }

  changeSession(change) {
    const cookie = this.cookies.find(([name]) => name.startsWith('__session'));
    cookie[1] = this.mint.changed(cookie[1], change);
  }

  refresh() {
    const { random } = this;
    const token = `refresh${this.number}`;
    this.cookie(random.chance(92) ? this.suffixed('__refresh') : '__refresh', random.chance(96) ? token : '');
    this.answers[token] = random.weighted([
      [45, () => ({ json: { object: 'cookies', cookies: this.directives() } })],
      [8, () => ({ json: { object: 'cookies', cookies: [] } })],
      [8, () => ({ json: { object: 'cookies', cookies: ['__client_uat=5; Path=/'] } })],
      [12, () => ({ status: 401, json: { errors: [{ code: 'refresh_token_invalid', message: 'no' }] } })],
      [6, () => ({ status: 500, json: { errors: [{ code: 'internal', message: 'no' }] } })],
      [5, () => ({ status: 502, text: 'bad gateway' })],
      [5, () => ({ status: 200, text: '{"not json', type: 'application/json' })],
      [4, () => ({ status: 400, json: { errors: [] } })],
    ])();
  }

  // Cookies as Clerk sets them; with faults.
  directives() {
    const { random } = this;
    const session = random.weighted([
      [12, () => this.mint.token({ claims: this.sessionClaims(this.minute(-3)) })],
      [4, () => this.session()],
      [2, () => NEVER],
      [1, () => ''],
    ])();
    const lines = [];
    const end = `; Path=/${random.pick(['', '; SameSite=Lax; Secure', '; Max-Age=315360000; SameSite=Lax'])}`;
    if (session !== NEVER) {
      if (random.chance(80)) lines.push(`__session=${session}${end}`);
      if (random.chance(80)) lines.push(`${this.suffixed('__session')}=${session}${end}`);
    }
    lines.push(`__client_uat=${this.now - 60}${end}`, `${this.suffixed('__client_uat')}=${this.now - 60}${end}`);
    if (random.chance(30)) lines.push(`${this.suffixed('__refresh')}=next${end}; HttpOnly`);
    if (random.chance(10)) lines.push(`__clerk_db_jwt=dvb_next${end}`);
    if (random.chance(8)) lines.push(`theme=dark${end}`);
    if (random.chance(4)) lines.push(`__sessionfoo=${session ?? 'x'}${end}`);
    return random.shuffled(lines);
  }

  handshake() {
    const { random, instance } = this;
    const inQuery = random.chance(instance.isDevelopment ? 75 : 12);
    const put = (name, value) => (inQuery ? this.query.push([name, value]) : this.cookie(name, value));
    if (random.chance(35)) {
      const nonce = `nonce${this.number}`;
      put('__clerk_handshake_nonce', nonce);
      this.answers[nonce] = random.weighted([
        [12, () => ({ json: { directives: this.directives() } })],
        [2, () => ({ json: { directives: [] } })],
        [1, () => ({ status: random.pick([404, 400, 410, 422]), json: { errors: [{ code: 'not_found' }] } })],
        [2, () => ({ status: random.pick([500, 503, 401, 403]), text: 'oh' })],
      ])();
      if (random.chance(85)) return;
    }
    const payload = { handshake: this.directives(), ...this.dates(this.minute(-random.pick([2, 100]))) };
    const token = random.weighted([
      [24, () => this.mint.token({ claims: payload })],
      [3, () => this.mint.token({ claims: payload, signature: 'bad' })],
      [2, () => this.mint.token({ claims: payload, header: { kid: 'ins_elsewhere' }, signature: 'foreign' })],
      [2, () => this.mint.token({ claims: payload, header: { cat: CATEGORY.template } })],
      [1, () => this.mint.token({ claims: { ...payload, handshake: 'x' } })],
      [1, () => 'junk'],
      [1, () => ''],
    ])();
    put('__clerk_handshake', token);
  }

  devBrowser() {
    const { random } = this;
    const where = random.weighted([[74, 'cookie'], [8, 'query'], [6, 'both'], [10, 'nowhere'], [2, 'empty']]);
    if (where === 'cookie' || where === 'both') {
      if (random.chance(80)) this.cookie('__clerk_db_jwt', 'dvb_plain');
      if (random.chance(80)) this.cookie(this.suffixed('__clerk_db_jwt'), 'dvb_suffixed');
    }
    if (where === 'query' || where === 'both') this.query.push(['__clerk_db_jwt', 'dvb_query']);
    if (where === 'empty') this.query.push(['__clerk_db_jwt', '']);
    if (random.chance(4)) {
      const elsewhere = random.pick(['http://satellite.test:3001/x?y=1', 'https://evil.example/']);
      this.query.push(['__clerk_redirect_url', elsewhere]);
    }
    if (random.chance(3)) this.query.push(['__dev_session', 'legacy']);
    if (random.chance(3)) this.query.push(['__clerk_help', '1']);
  }

  synced() {
    const { random } = this;
    const value = random.weighted([[55, NEVER], [25, 'false'], [15, 'true'], [5, 'maybe']]);
    if (value !== NEVER) this.query.push(['__clerk_synced', value]);
  }

  redirectCount() {
    const { random } = this;
    const value = random.weighted([
      [76, NEVER], [6, '1'], [5, '2'], [8, '3'], [1, '4'], [1, '0'], [1, 'x'], [1, ''],
      [1, random.pick(['03', '3.0', '-1', '1.5', '0x3', '1e0', '3 ', '30'])],
    ]);
    if (value !== NEVER) this.cookie('__clerk_redirect_count', value);
  }

  // What else stands in a browser's cookies.
  strangers() {
    const { random } = this;
    if (random.chance(40)) this.cookie('theme', 'dark');
    if (random.chance(10)) this.cookie('__session_AbCdEf12', 'another-instance');
    if (random.chance(10)) this.cookie('__client_uat_AbCdEf12', '5');
    if (random.chance(3)) this.cookie('__SESSION', 'x');
  }

  cookieLines() {
    const { random } = this;
    let pairs = random.shuffled(this.cookies);
    if (random.chance(4) && pairs.length > 0) {
      const [name, value] = random.pick(pairs);
      const second = random.pick([value, value, '', 'other', this.mint.token({ claims: this.sessionClaims() })]);
      pairs = random.shuffled([...pairs, [name, second]]);
      this.note(`cookie twice: ${name}`);
    }
    const texts = pairs.map(([name, value]) => `${name}=${random.chance(2.5) ? this.distorted(value) : value}`);
    if (random.chance(2)) texts.push(random.pick(['', 'lonely', '=x', ';', '__session']));
    if (texts.length === 0) return [];
    const lines = texts.length > 1 && random.chance(5) ? [texts.slice(0, 1), texts.slice(1)] : [texts];
    const separator = random.chance(94) ? '; ' : random.pick([';', ' ; ', ';  ']);
    return lines.map((line) => ['Cookie', line.join(separator)]);
  }

  distorted(value) {
    this.note('a cookie in another writing');
    return this.random.pick([
      `"${value}"`, ` ${value} `, value.replaceAll('.', '%2E'), value.replaceAll('e', '%65'), `${value}%`,
      `${value}%zz`,
      `${value}%3B`, `%20${value}`, `${value}%C3`, `${value}=`,
    ]);
  }

  // ---- the rest

  bearer() {
    const { random } = this;
    const token = random.chance(95) ? this.session() : random.pick(['ak_12345', 'mt_abc', 'oat_abc', 'x']);
    const value = random.weighted([
      [80, `Bearer ${token}`], [3, `bearer ${token}`], [3, token], [2, `Bearer ${token} junk`], [2, 'Basic dTpw'],
      [2, `DPoP ${token}`], [1, 'Bearer'], [1, `Bearer  ${token}`], [1, `Bearer\t${token}`], [1, `BEARER ${token}`],
      [1, `Bearer${token}`], [1, `Bearer ${token},`],
    ]);
    this.authorization.push(value.trim());
    if (random.chance(1.5)) this.authorization.push(random.pick(['Basic dTpw', value]));
  }

  head(scene) {
    const { random, instance } = this;
    const method = scene === 'change' ? random.pick(['POST', 'PUT', 'DELETE']) : random.weighted([
      [84, 'GET'], [8, 'POST'], [2, 'HEAD'], [2, 'PUT'], [2, 'DELETE'], [1, 'PATCH'], [1, 'OPTIONS'],
    ]);
    const likely = { bearer: 20, handshake: 75 }[scene] ?? 60;
    const dest = random.chance(likely)
      ? 'document'
      : random.pick([NEVER, NEVER, NEVER, 'empty', 'empty', 'iframe', 'image', 'Document', 'embed', '']);
    const accept = dest === 'document' && random.chance(80)
      ? HTML
      : random.pick([
        NEVER, HTML, HTML, 'text/html', '*/*', 'application/json', 'application/json, text/html', 'Text/HTML', '',
      ]);
    const origin = random.chance(94)
      ? random.pick(instance.origins)
      : random.pick(['https://unknown.example.net', instance.origins[0].replace(/[^/]*$/, (it) => it.toUpperCase())]);
    const headers = [...this.hostLines(origin)];
    const put = (name, value) => value !== NEVER && headers.push([name, value]);
    put('Accept', accept);
    put('Sec-Fetch-Dest', dest);
    put('Referer', this.referer(origin, scene));
    if (!['GET', 'HEAD'].includes(method) || random.chance(6)) {
      put('Origin', random.pick([NEVER, NEVER, origin, origin, instance.origins[0], 'https://evil.example', 'null']));
      put('Sec-Fetch-Site', random.pick([NEVER, NEVER, 'same-origin', 'same-site', 'cross-site', 'none']));
    }
    put('User-Agent', random.pick([NEVER, 'Mozilla/5.0 (oracle)']));
    return { method, target: this.target(), origin, headers };
  }

  hostLines(origin) {
    const { random, instance } = this;
    const host = origin.split('://')[1];
    if (!instance.behindProxy || random.chance(40)) return [['Host', host]];
    return [
      ['Host', 'backend.internal:8080'],
      ['X-Forwarded-Host', host],
      ['X-Forwarded-Proto', origin.split('://')[0]],
    ];
  }

  referer(origin, scene) {
    const { random, instance } = this;
    if (random.chance(scene === 'signed in' ? 30 : 65)) return NEVER;
    return random.weighted([
      [5, `${origin}/from?x=1`],
      [2, `https://${instance.host}/`],
      [1, `http://${instance.host}/v1/client/handshake`],
      [1, `https://${instance.host}:8443/`],
      [3, `${instance.portal}/sign-in`],
      [1, `${instance.portal}:8443/`],
      [1, instance.portal.replace('https', 'http')],
      [2, 'https://other-otter-1.accounts.dev/sign-in'],
      [1, 'https://other-otter-1.clerk.accounts.dev/'],
      [1, 'https://accounts.foo.lcl.dev/'],
      [1, 'https://accounts.evil.com/'],
      [4, 'https://www.google.com/'],
      [2, 'https://www.satellite.net/page'],
      [1, origin.replace('https://', 'http://').concat('/')],
      [1, `${origin}:8443/`],
      [1, 'about:blank'],
      [1, '/relative'],
      [1, 'nonsense'],
      [1, 'https://'],
      [1, 'android-app://com.example/'],
      [1, ''],
      [1, instance.proxyUrl ?? 'https://user@www.google.com/'],
    ]);
  }

  target() {
    const { random, instance } = this;
    const paths = instance.organizations
      ? ['/orgs/acme', '/orgs/acme/settings', '/orgs/globex/a/b', '/orgs/nobody', '/o/org_2acmeAcmeAcmeAcme',
        '/o/org_2other', '/me', '/me/profile', '/orgs/acme/', '/me/', '/orgs', '/orgs/', '/ORGS/acme', '/dashboard']
      : ['/', '/dashboard', '/a/b/', '/orgs/acme', '/a%20b', '/caf%C3%A9', '/a.b~c-d_e'];
    const others = random.pick([
      [], [], [], [['x', '1']], [['a', '1'], ['b', '2']], [['q', 'a%20b']], [['q', 'a+b']], ['flag'],
      [['t', '~*!\'()']],
      [['next', 'https%3A%2F%2Fapp.example.com%2F']], [['u', 'caf%C3%A9']], [['a', '1'], ['a', '2']], [['e', '']],
    ]).map((pair) => (typeof pair === 'string' ? pair : pair.join('=')));
    const clerks = this.query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const query = random.shuffled([...clerks, ...others]).join('&');
    return random.pick(paths) + (query ? `?${query}` : random.chance(2) ? '?' : '');
  }
}

// What may be wrong with a token: a weight, a name, the change. A returned text is the token then.
const FAULTS = [
  [8, 'bad signature', ({ spec }) => { spec.signature = 'bad'; }],
  [3, 'foreign signature', ({ spec }) => { spec.signature = 'foreign'; }],
  [5, 'unknown kid', ({ header }) => { header.kid = 'ins_unknown'; }],
  [1, 'no kid', ({ header }) => { header.kid = undefined; }],
  [5, 'another issuer', ({ random, claims }) => {
    claims.iss = random.pick(['https://clerk.elsewhere.org', 'https://evil.example', `${claims.iss}/`]);
  }],
  [2, 'an issuer by http', ({ claims }) => { claims.iss = `${claims.iss}`.replace('https:', 'http:'); }],
  [2, 'no issuer', ({ random, claims }) => { claims.iss = random.pick([undefined, '', null]); }],
  [1, 'an issuer that is no text', ({ random, claims }) => { claims.iss = random.pick([5, [], {}, false]); }],
  [5, 'of a template', ({ header }) => { header.cat = CATEGORY.template; }],
  [3, 'of a machine', ({ header }) => { header.cat = CATEGORY.machine; }],
  [3, 'of no category', ({ random, header }) => { header.cat = random.pick([undefined, CATEGORY.unmarked]); }],
  [2, 'of an odd category', ({ random, header }) => { header.cat = random.pick([null, '', 'zzz', 5]); }],
  [3, 'a machine for subject', ({ claims }) => { claims.sub = 'mch_2machine'; }],
  [2, 'an access token', ({ random, header }) => { header.typ = random.pick(['at+jwt', 'application/at+jwt']); }],
  [2, 'an odd typ', ({ random, header }) => { header.typ = random.pick(['jwt', '', null, 'JWS']); }],
  [1, 'no typ', ({ header }) => { header.typ = undefined; }],
  [4, 'another algorithm', ({ random, header }) => {
    header.alg = random.pick(['RS384', 'RS512', 'PS256', 'ES256', 'HS256', 'none', 'rs256', null, undefined]);
  }],
  [2, 'another algorithm, unknown kid', ({ random, header }) => {
    Object.assign(header, { alg: random.pick(['ES256', 'none']), kid: random.pick(['ins_unknown', undefined]) });
  }],
  [1, 'crit', ({ header }) => Object.assign(header, { crit: ['b64'], b64: false })],
  [1, 'more in the header', ({ header }) => Object.assign(header, { oiat: 5, jku: 'https://evil.example', x: [] })],
  [3, 'no subject', ({ random, claims }) => { claims.sub = random.pick([undefined, '', 5, null]); }],
  [3, 'no session', ({ random, claims }) => { claims.sid = random.pick([undefined, undefined, '', 5]); }],
  [6, 'another party', ({ random, claims }) => {
    claims.azp = random.pick(['https://evil.example', `${claims.azp}/`, `${claims.azp}`.toUpperCase()]);
  }],
  [5, 'no party', ({ claims }) => { claims.azp = undefined; }],
  [1, 'an odd party', ({ random, claims }) => { claims.azp = random.pick(['', null, 5, []]); }],
  [5, 'another audience', ({ random, claims }) => {
    claims.aud = random.pick([...OTHER_AUDIENCES, ['other', 'orders']]);
  }],
  [2, 'no expiry', ({ random, claims }) => {
    claims.exp = random.pick([undefined, 'soon', null, `${claims.exp}`, 0, -1]);
  }],
  [2, 'an odd nbf', ({ random, claims }) => { claims.nbf = random.pick([undefined, 'soon', null, 0, 5.5]); }],
  [2, 'an odd iat', ({ random, claims }) => {
    claims.iat = random.pick([undefined, 'soon', null, 0, claims.iat + 0.5]);
  }],
  [1, 'an expiry beyond dates', ({ random, claims }) => { claims.exp = random.pick([1e13, 1e20]); }],
  [2, 'an odd version', ({ random, claims }) => { claims.v = random.pick([1, 3, '2', null]); }],
  [3, 'pending', ({ claims }) => Object.assign(claims, { v: 2, sts: 'pending' })],
  [6, 'no token', ({ random }) => random.pick([
    'junk', 'a.b', 'a.b.c', '..', 'undefined', ...Object.keys(ODD),
  ])],
  [1, 'a member twice', ({ spec, claims }) => {
    spec.claims = JSON.stringify(claims).replace('{', '{"sub":"user_first",');
  }],
  [1, 'blanks in its JSON', ({ spec, claims }) => { spec.claims = ` ${JSON.stringify(claims, null, 1)}\n`; }],
];
