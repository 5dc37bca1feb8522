// Whose tokens the proxy believes: the issuer of `countersign demo`, which makes any that a test asks for.

import { Program } from '../browser/program.mjs';

export class Issuer {
  // Starts it; `settings` is what a proxy has to be told of it.
  static async start() {
    const issuer = new Issuer();
    issuer.program = await Program.demo();
    const { issuer: url, jwks_url: keys } = issuer.program.about;
    issuer.settings = `[clerk]\nissuer = ["${url}"]\njwks_url = "${keys}"\n`;
    return issuer;
  }

  // A token with these claims besides or instead of its own.
  async mint(claims) {
    const answer = await fetch(this.program.about.mint_url, { method: 'POST', body: JSON.stringify(claims) });
    if (answer.status !== 200) throw new Error(`no token to be had: ${answer.status} ${await answer.text()}`);
    return (await answer.text()).trim();
  }
}
