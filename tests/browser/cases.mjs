// Counts what held, and prints a line a case: as the runs in Python do.

export class Cases {
  passed = 0;
  failed = 0;

  check(name, held, seen) {
    if (held) this.passed += 1;
    else this.failed += 1;
    console.log(held ? `ok   ${name}` : `FAIL ${name}: ${JSON.stringify(seen)}`);
    return Boolean(held);
  }

  // Checks that two values are written alike in JSON.
  same(name, seen, wanted) {
    return this.check(name, JSON.stringify(seen) === JSON.stringify(wanted), { seen, wanted });
  }

  // Runs one scene. What it throws is a failed case, and the scenes beside it go on.
  async scene(name, play) {
    try {
      await play(this);
    } catch (error) {
      this.check(`${name}: it came to its end`, false, error.message);
      console.error(error);
    }
  }

  // Prints the closing line; returns the exit status. A run in which nothing ran has failed.
  close() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    return this.passed > 0 && this.failed === 0 ? 0 : 1;
  }
}
