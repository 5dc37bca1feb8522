import { ClerkProvider, useAuth } from '@clerk/expo';
import { useHostedAuth } from '@clerk/expo/hosted-auth';
import { tokenCache } from '@clerk/expo/token-cache';
import { useEffect, useState } from 'react';
import { ActivityIndicator, Button, Text } from 'react-native';

const API = process.env.EXPO_PUBLIC_API_URL;
type GetToken = ReturnType<typeof useAuth>['getToken'];

// Calls the API as whoever is signed in. A token that came too late is replaced by a fresh one: once.
export async function call(getToken: GetToken, path: string, init?: RequestInit, fresh?: { skipCache: true }): Promise<Response> {
  const [token, headers] = [await getToken(fresh), new Headers(init?.headers)];
  if (token) headers.set('Authorization', `Bearer ${token}`);
  const answer = await fetch(`${API}/${path}`, { ...init, headers });
  const refused = answer.status === 401 && answer.headers.get('WWW-Authenticate')?.includes('invalid_token');
  return refused && !fresh ? call(getToken, path, init, { skipCache: true }) : answer;
}

export function Orders() {
  const { getToken } = useAuth();
  const [orders, setOrders] = useState('…');
  useEffect(() => {
    const show = async (answer: Response) => setOrders(answer.ok ? await answer.text() : `Refused: ${answer.status}`);
    call(getToken, 'orders').then(show).catch(() => setOrders('The API cannot be reached.'));
  }, []); // not [getToken], which is another one at each rendering here
  return <Text>{orders}</Text>;
}

export function States() {
  const { isLoaded, isSignedIn, sessionId, orgId } = useAuth();
  const { startHostedAuth } = useHostedAuth();
  if (!isLoaded) return <ActivityIndicator />;
  // With another session or organization it begins anew: nobody is shown what was another's.
  if (isSignedIn) return <Orders key={`${sessionId} ${orgId}`} />;
  return <Button title="Sign in" onPress={() => void startHostedAuth()} />;
}

export default function App() {
  const key = process.env.EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY!;
  return <ClerkProvider publishableKey={key} tokenCache={tokenCache}><States /></ClerkProvider>;
}
