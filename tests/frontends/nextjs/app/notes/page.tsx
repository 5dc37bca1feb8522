import { revalidatePath } from 'next/cache';
import { headers } from 'next/headers';
import Link from 'next/link';

const shared = globalThis as { notes?: string[] };

async function write(form: FormData) {
  'use server';
  const user = (await headers()).get('x-clerk-user-id');
  shared.notes = [...(shared.notes ?? []), `${user} wrote ${form.get('text')}`];
  revalidatePath('/notes');
}

export default async function Page() {
  await headers(); // so that it is rendered for each request
  return (
    <>
      <form action={write}><input name="text" aria-label="Text" /><button>Write</button></form>
      <ul>{shared.notes?.map((note) => <li key={note}>{note}</li>)}</ul>
      <Link href="/" prefetch={false}>Home</Link> <Link href="/stream" prefetch={false}>Stream</Link>
    </>
  );
}
