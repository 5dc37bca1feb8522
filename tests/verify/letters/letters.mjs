import { Refused, secret, verify } from '../../../deploy/verify/countersign.mjs';

const [, , key, request] = process.argv;
const { method, target, headers } = JSON.parse(request);
try {
  verify({ method, url: target, rawHeaders: headers.flat() }, secret(key));
  console.log('believed');
} catch (why) {
  console.log(why instanceof Refused ? 'refused' : why);
}
