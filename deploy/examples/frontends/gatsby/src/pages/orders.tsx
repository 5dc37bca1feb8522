import { SignInButton, useAuth, UserButton } from '@clerk/react';
import * as React from 'react';
import { useEffect, useState } from 'react';

const API = process.env.GATSBY_API_URL;
type GetToken = ReturnType<typeof useAuth>['getToken'];

// Calls the API as whoever is signed in. A token that came too late is replaced by a fresh one: once.
async function call(getToken: GetToken, path: string, init?: RequestInit, fresh?: { skipCache: true }): Promise<Response> {
  const [token, headers] = [await getToken(fresh), new Headers(init?.headers)];
  if (token) headers.set('Authorization', `Bearer ${token}`);
  const answer = await fetch(`${API}/${path}`, { ...init, headers });
  const refused = answer.status === 401 && answer.headers.get('WWW-Authenticate')?.includes('invalid_token');
  return refused && !fresh ? call(getToken, path, init, { skipCache: true }) : answer;
}

function Orders() {
  const { getToken } = useAuth();
  const [orders, setOrders] = useState('…');
  useEffect(() => {
    const show = async (answer: Response) => setOrders(answer.ok ? await answer.text() : `Refused: ${answer.status}`);
    call(getToken, 'orders').then(show).catch(() => setOrders('The API cannot be reached.'));
  }, [getToken]);
  return <><UserButton /><pre>{orders}</pre></>;
}

export default function Page() {
  const { isLoaded, isSignedIn, sessionId, orgId } = useAuth();
  if (!isLoaded) return <p>Loading …</p>;
  // With another session or organization it begins anew: nobody is shown what was another's.
  return isSignedIn ? <Orders key={`${sessionId} ${orgId}`} /> : <SignInButton />;
}
