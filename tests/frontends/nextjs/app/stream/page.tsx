import { headers } from 'next/headers';
import { Suspense } from 'react';
import { gate } from '../gate';

export default function Page() {
  return <Suspense fallback={<p>The slow part is on its way.</p>}><Slow /></Suspense>;
}

async function Slow() {
  const user = (await headers()).get('x-clerk-user-id');
  await gate().opened;
  return <p>{`The slow part, for ${user}.`}</p>;
}
