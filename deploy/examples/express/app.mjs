// Express behind Countersign: `request.caller` is who calls. README.md says how to run it.

import express from 'express';
import { secret } from './countersign.mjs';
import { guard } from './countersign_middleware.mjs';

const app = express();
app.use(guard(secret(process.env.COUNTERSIGN_SIGNING_SECRET)));
app.use((request, response, next) => {
  const told = request.countersign;
  request.caller = {
    user: told['x-clerk-user-id'], // empty for nobody, as is the rest
    org: told['x-clerk-org-id'],
    role: told['x-clerk-org-role'],
    permissions: told['x-clerk-org-permissions'].split(', ').filter(Boolean),
  };
  next();
});

app.get('/', ({ caller }, response) => {
  response.type('text').send(`You are ${caller.user}, ${caller.role || 'without a role'}.\n`);
});

app.get('/hello', ({ caller }, response) => {
  response.type('text').send(`Hello, ${caller.user || 'nobody'}.\n`);
});

// Only for whom the route in countersign.toml lets through.
app.get('/admin', ({ caller }, response) => {
  response.type('text').send(`Welcome to the office, ${caller.user}.\n`);
});

app.get('/api/notes/:title', ({ caller, params, query }, response) => {
  const mayShare = caller.permissions.includes('org:teams:read');
  response.json({ title: params.title, tag: query.tag ?? null, reader: caller.user, may_share: mayShare });
});

app.listen(Number(process.env.PORT), '127.0.0.1');
