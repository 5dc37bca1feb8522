import { getClerkInstance, useAuth } from '@clerk/expo';
import { useHostedAuth } from '@clerk/expo/hosted-auth';
import { useEffect, useState } from 'react';
import { ActivityIndicator, Button, Text } from 'react-native';

// Calls the API as whoever is signed in. A token that came too late (401) is replaced by a fresh one: once.
export async function call(path: string, init?: RequestInit, fresh = false): Promise<Response> {
  const headers = new Headers(init?.headers);
  const token = await getClerkInstance().session?.getToken({ skipCache: fresh });
  if (token) headers.set('Authorization', `Bearer ${token}`);
  const answer = await fetch(`${process.env.EXPO_PUBLIC_API_URL}/${path}`, { ...init, headers });
  return !fresh && answer.headers.get('WWW-Authenticate')?.includes('invalid_token') ? call(path, init, true) : answer;
}

const read = () => call('orders').then((answer) => (answer.ok ? answer.text() : `Refused: ${answer.status}`));

function Orders() {
  const [orders, setOrders] = useState('…');
  useEffect(() => void read().catch(() => 'The API cannot be reached.').then(setOrders), []);
  return <Text>{orders}</Text>;
}

export function States() {
  const { isLoaded, isSignedIn, sessionId, orgId, startHostedAuth: signIn } = { ...useAuth(), ...useHostedAuth() };
  if (!isLoaded) return <ActivityIndicator />;
  // With another session or organization it begins anew: nobody is shown what was another's.
  return isSignedIn ? <Orders key={`${sessionId} ${orgId}`} /> : <Button title="Sign in" onPress={() => signIn()} />;
}
