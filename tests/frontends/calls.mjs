// What has come to a proxy, by its access log.

const MARK = '/read-so-far/';

export class Calls {
  #marks = 0;

  // The proxy has one worker: it writes its lines in the order in which it has answered.
  constructor(program, proxy) {
    Object.assign(this, { program, proxy });
  }

  // From now on; what it returns tells the requests so far, less preflights, a line each.
  async from() {
    await this.#mark();
    const from = this.program.access().length;
    return async () => {
      await this.#mark();
      const lines = this.program.access().slice(from);
      const calls = lines.filter((line) => line.method !== 'OPTIONS' && !line.path.startsWith(MARK));
      return calls.map(({ method, status, reason }) => `${method} ${status} ${reason}`);
    };
  }

  // Waits until all that was answered before stands in the log.
  async #mark() {
    const path = `${MARK}${(this.#marks += 1)}`;
    await fetch(`${this.proxy}${path}`);
    await this.program.answered((line) => line.path === path);
  }
}
