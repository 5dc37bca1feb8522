// The instances of Clerk that both sides are set up for: Clerk's options, and the settings that say the same here.

import { createHash } from 'node:crypto';
import { PEM } from './tokens.mjs';

const keyOf = (environment, host) => `pk_${environment}_${Buffer.from(`${host}$`).toString('base64')}`;

const LIVE = { host: 'clerk.example.com', portal: 'https://accounts.example.com' };
const TEST = { host: 'happy-otter-12.clerk.accounts.dev', portal: 'https://happy-otter-12.accounts.dev' };
const APP = 'https://app.example.com';
const ADMIN = 'https://admin.example.com';
const LOCAL = 'http://localhost:3000';
const SATELLITE = 'https://www.satellite.net';
const LOCAL_SATELLITE = 'http://satellite.test:3001';

// `origins`: what browsers call the application, the first one `public_url`; all are authorized parties.
// `issuers`: who issues its sessions. `weight`: how many of a hundred requests are for it.
const TABLE = [
  { name: 'production', weight: 24, ...LIVE, environment: 'live', origins: [APP, ADMIN], secret: true },
  { name: 'development', weight: 25, ...TEST, environment: 'test', origins: [LOCAL], secret: true },
  {
    name: 'satellite', weight: 7, ...LIVE, environment: 'live', origins: [SATELLITE, APP], secret: true,
    issuers: ['https://clerk.satellite.net', 'https://clerk.example.com'],
    satellite: { domain: 'satellite.net', autoSync: false }, signInUrl: `${APP}/sign-in`,
  },
  {
    name: 'satellite, by itself', weight: 7, ...LIVE, environment: 'live', origins: [SATELLITE, APP], secret: true,
    issuers: ['https://clerk.satellite.net', 'https://clerk.example.com'],
    satellite: { domain: 'satellite.net', autoSync: true }, signInUrl: `${APP}/sign-in`,
  },
  {
    name: 'development satellite', weight: 7, ...TEST, environment: 'test', origins: [LOCAL_SATELLITE], secret: true,
    satellite: { domain: 'satellite.test:3001', autoSync: false }, signInUrl: `${LOCAL}/sign-in?a=b`,
  },
  {
    name: 'development satellite, by itself', weight: 6, ...TEST, environment: 'test', origins: [LOCAL_SATELLITE],
    secret: true, satellite: { domain: 'satellite.test:3001', autoSync: true }, signInUrl: `${LOCAL}/sign-in`,
  },
  { name: 'without secret key', weight: 8, ...LIVE, environment: 'live', origins: [APP], azp: 'enforce' },
  {
    name: 'organizations', weight: 9, ...LIVE, environment: 'live', origins: [APP], secret: true, azp: 'off',
    organizations: { organization: ['/orgs/:slug', '/orgs/:slug/(.*)', '/o/:id'], personal: ['/me', '/me/(.*)'] },
  },
  {
    name: 'proxied', weight: 7, ...LIVE, environment: 'live', origins: [APP], secret: true,
    issuers: ['https://clerk.example.com', `${APP}/__clerk`], proxyUrl: `${APP}/__clerk`,
    audience: ['https://api.example.com', 'orders'], behindProxy: true,
  },
];

export const INSTANCES = TABLE.map((row) => {
  const publishableKey = keyOf(row.environment, row.host);
  const hash = createHash('sha1').update(publishableKey).digest('base64');
  return {
    issuers: [`https://${row.host}`],
    azp: 'auto',
    ...row,
    publishableKey,
    secretKey: row.secret ? `sk_${row.environment}_${'oracle'.repeat(7)}` : undefined,
    suffix: hash.slice(0, 8).replaceAll('+', '-').replaceAll('/', '_'),
    isDevelopment: row.environment === 'test',
  };
});

// The options of `authenticateRequest`. Without a secret key keys are had from a PEM; Clerk's library asks for some
// secret all the same, and for a client of the Backend API, which it is not given.
export function clerksOptions(instance) {
  const { publishableKey, secretKey, origins, azp, satellite, organizations } = instance;
  return {
    publishableKey,
    secretKey: secretKey ?? 'none',
    jwtKey: secretKey ? undefined : PEM,
    authorizedParties: azp === 'off' ? undefined : origins,
    audience: instance.audience,
    proxyUrl: instance.proxyUrl,
    signInUrl: instance.signInUrl,
    isSatellite: Boolean(satellite),
    domain: satellite?.domain,
    satelliteAutoSync: satellite?.autoSync,
    organizationSyncOptions: organizations && {
      organizationPatterns: organizations.organization,
      personalAccountPatterns: organizations.personal,
    },
  };
}

// A settings file: every path asks for the same access.
export function settingsFile(instance, { access, listen, admin, upstream, api }) {
  const { satellite, organizations } = instance;
  const lines = {
    '': {
      listen, workers: 1, public_url: instance.origins[0],
      trusted_proxies: instance.behindProxy ? ['127.0.0.1/32'] : undefined,
    },
    admin: { listen: admin },
    upstream: { url: upstream },
    log: { level: 'error' },
    clerk: {
      publishable_key: instance.publishableKey,
      jwks_url: instance.secret ? `${api}/.well-known/jwks.json` : undefined,
      api_url: api,
      authorized_parties: instance.origins,
      azp: instance.azp,
      audience: instance.audience,
      proxy_url: instance.proxyUrl,
      sign_in_url: instance.signInUrl,
    },
    'clerk.satellite': satellite && { domain: satellite.domain, auto_sync: satellite.autoSync },
    'clerk.organization_sync': organizations && {
      organization_patterns: organizations.organization,
      personal_account_patterns: organizations.personal,
    },
    '[route]': { path: '/**', access, unauthenticated: 'challenge' },
  };
  // Texts, numbers, booleans and lists of texts are written alike in TOML and JSON.
  return Object.entries(lines).filter(([, keys]) => keys).map(([table, keys]) => {
    const rows = Object.entries(keys).filter(([, value]) => value !== undefined);
    return [table && `[${table}]`, ...rows.map(([key, value]) => `${key} = ${JSON.stringify(value)}`)].join('\n');
  }).join('\n');
}

// What is a secret comes from the environment.
export function settingsEnvironment(instance) {
  return instance.secretKey ? { CLERK_SECRET_KEY: instance.secretKey } : { CLERK_JWT_KEY: PEM };
}
