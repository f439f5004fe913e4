/**
 * Waiting for things to become true, never for time to pass.
 */

/** How long anything may take before a test gives up, unless it says otherwise. Generous: machines differ. */
export const DEADLINE = 20_000;

/** @param {number} ms */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Asks again until the answer is truthy, and returns it.
 * @template T
 * @param {string} what named where it never is
 * @param {() => T | Promise<T>} ask
 * @param {number} [ms]
 * @returns {Promise<Exclude<Awaited<T>, null | undefined | false | 0 | "">>}
 */
export async function until(what, ask, ms = DEADLINE) {
  const deadline = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    // @ts-ignore: narrowed by the check
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(25);
  }
}

/**
 * What a promise resolves to, or undefined where it takes longer.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @returns {Promise<T | undefined>}
 */
export async function within(promise, ms) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, ms, undefined)));
  // A timer that is left running would keep the process alive.
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
