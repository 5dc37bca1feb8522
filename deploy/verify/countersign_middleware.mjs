// Stands before an application and believes only what Countersign signed. Beside countersign.mjs; made to be copied.
//
//   app.use(guard(secret(process.env.COUNTERSIGN_SIGNING_SECRET)))   // before any router, which cut `url`
//   request.countersign['x-clerk-user-id']
//
// The options of `verify` go behind the keys.

import { Refused, verify } from './countersign.mjs';

export function guard(keys, options) {
  return (request, response, next) => {
    try {
      request.countersign = verify(request, keys, options);
    } catch (why) {
      if (!(why instanceof Refused)) throw why;
      response.writeHead(401, { 'content-type': 'text/plain' }).end(`${why.message}\n`);
      return;
    }
    next();
  };
}
