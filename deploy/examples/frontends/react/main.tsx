import { ClerkProvider } from '@clerk/react';
import { createRoot } from 'react-dom/client';
import { States } from './Orders';

createRoot(document.getElementById('root')!).render(
  <ClerkProvider publishableKey={import.meta.env.VITE_CLERK_PUBLISHABLE_KEY}><States /></ClerkProvider>,
);
