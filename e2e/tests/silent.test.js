/**
 * Servers that take connections and say nothing: `/health` answers all the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Line } from "../harness/line.js";
import { freePort, Process } from "../harness/process.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

/** @type {Line[]} */
let lines;
const it = stack("silent", {
  route: async ({ redis, mongo }) => {
    const [{ line: one, url: REDIS_URL }, { line: other, url: MONGO_URI }] = [await Line.to(redis), await Line.to(mongo)];
    lines = [one, other];
    return { REDIS_URL, MONGO_URI: direct(MONGO_URI) };
  },
});

/**
 * Else the driver asks the server for its address, and goes there past the line.
 * @param {string} uri
 */
function direct(uri) {
  return `${uri}${uri.includes("?") ? "&" : "?"}directConnection=true`;
}

/** Asks again and again; how long the quickest answer took, in milliseconds. All must come. */
async function health(port) {
  const answers = [];
  for (let round = 0; round < 5; round++) {
    const began = performance.now();
    const answer = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(10_000) });
    answers.push({ ms: performance.now() - began, status: answer.status, ...(await answer.json()) });
  }
  return { quickest: Math.min(...answers.map((answer) => answer.ms)), last: answers.at(-1) };
}

test("Redis and MongoDB fall silent", { timeout: 120_000 }, async () => {
  const port = it.gateways[0].env.PORT;
  assert.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200);
  lines.forEach((line) => line.freeze());
  try {
    await until("it is noticed", async () => {
      const { redis, mongo } = await (await fetch(`http://127.0.0.1:${port}/health`)).json();
      return redis === "down" && mongo === "down";
    });
    const { quickest, last } = await health(port);
    assert.deepEqual([last.status, last.redis, last.mongo], ["degraded", "down", "down"]);
    assert.ok(quickest < 1_000, `${quickest} ms`);
  } finally {
    lines.forEach((line) => line.mend());
  }
  await until("all is well", async () => (await fetch(`http://127.0.0.1:${port}/health`)).status === 200, 60_000);
});

test("they were silent from the start on", { timeout: 120_000 }, async () => {
  const [{ line: one, url: REDIS_URL }, { line: other, url: MONGO_URI }] = [await Line.to(it.gateways[1].env.REDIS_URL), await Line.to(it.gateways[1].env.MONGO_URI)];
  [one, other].forEach((line) => line.freeze());
  const [PORT, OPS_PORT] = [String(await freePort()), String(await freePort())];
  const late = new Process("late", "ticket-gateway", { ...it.gateways[1].env, PORT, OPS_PORT, REDIS_URL, MONGO_URI: direct(MONGO_URI) }, "silent-late");
  await late.start({ ready: false });
  try {
    await until("it listens", () => fetch(`http://127.0.0.1:${PORT}/livez`).then((answer) => answer.ok, () => false));
    const { quickest, last } = await health(PORT);
    assert.deepEqual([last.status, last.redis, last.mongo], ["degraded", "down", "down"]);
    assert.ok(quickest < 1_000, `${quickest} ms`);
  } finally {
    await late.stop();
  }
});
