import { getToken, SignInButton, useAuth, UserButton } from '@clerk/react';
import { useEffect, useState } from 'react';

// Calls the API as whoever is signed in. A token that came too late (401) is replaced by a fresh one: once.
export async function call(path: string, init?: RequestInit, fresh = false): Promise<Response> {
  const headers = new Headers(init?.headers);
  const token = await getToken({ skipCache: fresh });
  if (token) headers.set('Authorization', `Bearer ${token}`);
  const answer = await fetch(`${import.meta.env.VITE_API_URL}/${path}`, { ...init, headers });
  return !fresh && answer.headers.get('WWW-Authenticate')?.includes('invalid_token') ? call(path, init, true) : answer;
}

const read = () => call('orders').then((answer) => (answer.ok ? answer.text() : `Refused: ${answer.status}`));

function Orders() {
  const [orders, setOrders] = useState('…');
  useEffect(() => void read().catch(() => 'The API cannot be reached.').then(setOrders), []);
  return <><UserButton /><pre>{orders}</pre></>;
}

export function States() {
  const { isLoaded, isSignedIn, sessionId, orgId } = useAuth();
  if (!isLoaded) return <p>Loading …</p>;
  // With another session or organization it begins anew: nobody is shown what was another's.
  return isSignedIn ? <Orders key={`${sessionId} ${orgId}`} /> : <SignInButton />;
}
