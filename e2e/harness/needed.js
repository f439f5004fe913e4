/**
 * What a test needs and the project's scripts install: without it the test is skipped, but never in continuous integration.
 */

/**
 * The `skip` of a test that needs something.
 * @param {unknown} found whether it is there @param {string} what
 * @returns {string | false}
 */
export function unless(found, what) {
  if (found) return false;
  if (process.env.CI === "true") throw new Error(`${what} is not installed, and nothing is skipped in CI; see deploy/local`);
  return `${what} is not installed`;
}
