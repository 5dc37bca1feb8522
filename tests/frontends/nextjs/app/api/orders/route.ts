import { headers } from 'next/headers';

export async function GET() {
  return new Response(`2 orders of ${(await headers()).get('x-clerk-user-id')}`);
}
