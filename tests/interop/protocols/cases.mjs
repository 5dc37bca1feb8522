// What the programs in Node share: what they are given, and how they tell their checks.

export const given = JSON.parse(process.argv[2])

/** Tells one check. */
export function check(name, held, seen) {
  console.log(JSON.stringify({ name, held: Boolean(held), seen: seen ?? null }))
}

/** Runs `cases` one after the other, by name; each gives whether it held, or both that and what was seen. */
export async function run(cases) {
  for (const [name, deed] of Object.entries(cases)) {
    try {
      const outcome = await within(20_000, deed())
      const { held, seen } = typeof outcome === "object" ? outcome : { held: outcome }
      check(name, held, seen)
    } catch (error) {
      check(name, false, `${error.stack}`)
    }
  }
  process.exit(0)
}

/** Waits for a promise, but not longer than this. */
export function within(milliseconds, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${milliseconds} ms`)), milliseconds)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Waits until `look` gives something. */
export async function until(look, milliseconds = 5000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const found = look()
    if (found || Date.now() > end) return found
    await pause(10)
  }
}

export const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))
