import { ClerkProvider } from '@clerk/expo';
import { tokenCache } from '@clerk/expo/token-cache';
import { States } from './Orders';

export default function App() {
  const key = process.env.EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY!;
  return <ClerkProvider publishableKey={key} tokenCache={tokenCache}><States /></ClerkProvider>;
}
