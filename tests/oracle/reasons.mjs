// What Clerk's library has to have said in a run of 5,000 requests, or the run has asked too little.

export const MET = [
  'signed-in',
  ...[
    'active-organization-mismatch', 'client-uat-but-no-session-token', 'dev-browser-missing', 'dev-browser-sync',
    'primary-domain-cross-origin-sync', 'primary-responds-to-syncing', 'satellite-needs-syncing',
    'session-token-but-no-client-uat', 'session-token-iat-before-client-uat', 'session-token-iat-in-the-future',
    'session-token-nbf',
    ...[
      'expired-session-token-missing-sid-claim', 'invalid-session-token', 'missing-api-client',
      'non-eligible-no-refresh-cookie', 'refresh_token_invalid', 'unexpected-bapi-error',
    ].map((word) => `session-token-expired-refresh-${word}`),
  ].map((reason) => `handshake ${reason}`),
  ...[
    'client-uat-but-no-session-token', 'dev-browser-missing', 'dev-browser-sync', 'jwk-kid-mismatch',
    'session-token-and-uat-missing', 'session-token-but-no-client-uat',
    'session-token-expired-refresh-non-eligible-non-get', 'session-token-iat-before-client-uat',
    'session-token-iat-in-the-future', 'session-token-missing', 'session-token-nbf', 'token-invalid',
    'token-invalid-algorithm', 'token-invalid-authorized-parties', 'token-invalid-signature',
    'token-type-mismatch', 'token-verification-failed',
  ].map((reason) => `signed-out ${reason}`),
];
