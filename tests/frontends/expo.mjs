// The Expo example as Metro bundles it for a telephone. There is none here to run it on.

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Cases } from '../browser/cases.mjs';
import { run } from './children.mjs';

const [FOLDER, OUT] = ['expo', 'work/bundle'];
const EXPO = 'node_modules/expo/bin/cli';
const SETTINGS = { EXPO_PUBLIC_API_URL: 'https://api.example.com', EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY: 'pk_test_ZXhhbXBsZS5jb20k' };
const QUIET = { CI: '1', EXPO_OFFLINE: '1', EXPO_NO_TELEMETRY: '1', NODE_ENV: 'production' };

const cases = new Cases();
await cases.scene('expo', async () => {
  const words = ['export', '--platform', 'android', '--no-bytecode', '--no-minify', '--output-dir', OUT];
  const env = { ...process.env, ...QUIET, ...SETTINGS };
  await run([EXPO, ...words], { cwd: FOLDER, env });
  const { bundle } = JSON.parse(readFileSync(join(FOLDER, OUT, 'metadata.json'))).fileMetadata.android;
  const text = readFileSync(join(FOLDER, OUT, bundle), 'utf8');
  cases.check('expo: Metro bundles the example with its settings', text.includes(SETTINGS.EXPO_PUBLIC_API_URL), text.length);
  cases.check('expo: it has what asks for a fresh token', text.includes('skipCache: fresh'), text.length);
  rmSync(join(FOLDER, OUT), { recursive: true });
});
process.exit(cases.close());
