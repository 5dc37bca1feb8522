import { headers } from 'next/headers';
import { States } from './orders';

// Rendered for each request: the proxy says who calls, and nobody else can reach this server.
export default async function Page() {
  const user = (await headers()).get('x-clerk-user-id');
  return <><h1>Hello {user || 'nobody'}</h1><States /></>;
}
