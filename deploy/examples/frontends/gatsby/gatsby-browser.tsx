import { ClerkProvider } from '@clerk/react';
import type { GatsbyBrowser } from 'gatsby';
import * as React from 'react'; // Gatsby compiles JSX to calls of it

// Around all pages, in the browser and where Gatsby renders them (gatsby-ssr.tsx).
export const wrapRootElement: GatsbyBrowser['wrapRootElement'] = ({ element }) => (
  <ClerkProvider publishableKey={process.env.GATSBY_CLERK_PUBLISHABLE_KEY}>{element}</ClerkProvider>
);
