// Asks Clerk's own library.

import { createClerkClient } from '@clerk/backend';
import { createAuthenticateRequest } from '@clerk/backend/internal';
import { clerksOptions, INSTANCES } from './instances.mjs';

// Returns a function that tells the verdict of Clerk's library on a request, with `options` instead of the instance's:
// `status`, `reason`, `location`, `cookies` to set, `carrier` of the token; and who is signed in.
export function clerk(apiUrl) {
  silence();
  const libraries = new Map(INSTANCES.map((instance) => {
    const options = clerksOptions(instance);
    const { publishableKey, secretKey, jwtKey } = options;
    if (!instance.secretKey) {
      return [instance, createAuthenticateRequest({ options: { ...options, apiUrl }, apiClient: undefined })];
    }
    return [instance, createClerkClient({ publishableKey, secretKey, jwtKey, apiUrl, telemetry: { disabled: true } })];
  }));
  return async (request, options = {}) => {
    const library = libraries.get(request.instance);
    const all = { ...clerksOptions(request.instance), ...options };
    try {
      return told(await library.authenticateRequest(asRequest(request), all));
    } catch (error) {
      return { status: 'throws', reason: `${error}`, location: null, cookies: [], caller: null };
    }
  };
}

function asRequest({ method, target, headers, origin }) {
  // What is in front of us speaks to us without TLS; `X-Forwarded-Proto` says what the browser spoke.
  const isForwarded = headers.some(([name]) => name === 'X-Forwarded-Host');
  const host = headers.find(([name]) => name === 'Host')[1];
  const scheme = isForwarded ? 'http' : origin.split('://')[0];
  const all = new Headers();
  for (const [name, value] of headers) all.append(name, value);
  return new Request(`${scheme}://${host}${target}`, { method, headers: all });
}

function told(state) {
  const { status, headers } = state;
  return {
    status,
    reason: state.reason ?? null,
    location: headers.get('location'),
    cookies: headers.getSetCookie(),
    caller: status === 'signed-in' ? callerOf(state.toAuth()) : null,
  };
}

// Whom the application sees; a session with tasks left is nobody's.
function callerOf(auth) {
  if (auth.sessionStatus === 'pending') return { pending: true };
  return {
    user: auth.userId ?? '',
    session: auth.sessionId ?? '',
    organization: auth.orgId ?? '',
    slug: auth.orgSlug ?? '',
    role: auth.orgRole ?? '',
    permissions: (auth.orgPermissions ?? []).join(', '),
    actor: auth.actor?.sub ?? '',
  };
}

// The library writes to the console about every loop and every broken handshake.
function silence() {
  for (const level of ['log', 'warn', 'error', 'info']) console[level] = () => {};
}
