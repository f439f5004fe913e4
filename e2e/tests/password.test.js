/**
 * A MongoDB that asks for a password: with the right one everything works; with a wrong one what needs MongoDB says
 * so, nothing is lost, and no log holds either.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertProblem, assertRefused } from "../harness/checks.js";
import { Mongo } from "../harness/mongo.js";
import { Stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

// With characters that a URI has to encode.
const RIGHT = "canary/right@7f3a";
const WRONG = "canary/wrong@9c1b";
const PERSON = "tickets";
/** @param {string} password */
const credentials = (password) => `${PERSON}:${encodeURIComponent(password)}`;

const MESSAGES = 30;
const mongo = await Mongo.withPassword(PERSON, RIGHT);
const skip = !mongo && "there is no mongod, and no stand-in that knows passwords";

/** A gateway and the worker go on with another password. */
async function restart(it, password) {
  const parts = [it.gateways[0], it.worker];
  await Promise.all(parts.map((each) => each.stop()));
  for (const each of parts) {
    each.env.MONGO_URI = each.env.MONGO_URI.replace(/\/\/[^@]*@/, `//${credentials(password)}@`);
  }
  await it.gateways[0].start();
  // It is not ready without MongoDB, and must run all the same.
  await it.worker.start({ ready: password === RIGHT });
}

/** @param {Stack} it @param {string} subject @param {number} [gateway] */
const open = (it, subject, gateway = 0) => it.newTicket({ subject }, gateway);

/** @param {Stack} it */
async function whileWrong(it, { cold, warm }) {
  const client = await it.join(warm, 0);
  for (let i = 0; i < MESSAGES; i++) await client.send(warm, `wrong ${i}`);
  await open(it, "opened meanwhile");

  const began = Date.now();
  const list = await it.rest(0).get("/tickets");
  assertProblem(list, 503, "unavailable");
  assert.equal(typeof list.body.retryAfterMs, "number");
  const ack = await client.ask("join_ticket", { ticketId: cold, ...client.person });
  assertRefused(ack, "unavailable");
  assert.equal(typeof ack.error.retryAfterMs, "number");
  assert.ok(Date.now() - began < 10_000, "refused, not left waiting");

  const health = await it.rest(0).get("/health");
  assert.equal(health.status, 503);
  assert.deepEqual([health.body.redis, health.body.mongo], ["up", "down"]);
  assert.equal((await it.rest(0).get("/readyz")).status, 200, "what is warm is served on");

  await until("the gateway says why", async () => {
    const answer = await fetch(`http://127.0.0.1:${it.gateways[0].env.OPS_PORT}/readyz`);
    const { reasons } = await answer.json();
    return answer.status === 200 && reasons.some((reason) => /^mongodb: .*authentication failed/.test(reason));
  });

  const ops = `http://127.0.0.1:${it.worker.env.OPS_PORT}`;
  const ready = await until("the worker says why", async () => {
    const answer = await fetch(`${ops}/readyz`).catch(() => undefined);
    const body = await answer?.json();
    return answer?.status === 503 && body.reason && body;
  });
  assert.deepEqual([ready.redis, ready.mongo], ["up", "down"]);
  assert.match(ready.reason, /authentication/);
  await until("the worker has tried to persist", async () => {
    const metrics = await (await fetch(`${ops}/metrics`)).text();
    return Number(metrics.match(/^ticket_worker_retries_total\{step="store"\} (\d+)/m)?.[1]) > 1;
  });
  await until("all is pending, every one", async () => (await it.store.unsettled()) === MESSAGES + 1);
  assert.equal(await it.store.parked(), 0);
}

test("MongoDB with a password", { skip, timeout: 240_000 }, async (t) => {
  process.env.MONGO_URI = mongo.uri(credentials(RIGHT));
  const it = new Stack("password");
  try {
    const LOG = "trace,mongodb=trace";
    await it.start({ env: { LOG }, workerEnv: { LOG } });
    const [{ _id: warm }, { _id: cold }] = [await open(it, "warm"), await open(it, "cold")];

    await t.test("the right one: what is said is stored and read", async () => {
      const client = await it.join(warm, 0);
      await client.send(warm, "right");
      await it.store.settled();
      assert.deepEqual((await it.store.storedMessages(warm)).map(({ content }) => content), ["right"]);
      assert.equal((await it.rest(0).get("/tickets")).body.tickets.length, 2);
      await it.store.forget(cold);
      assert.equal((await it.rest(0).get(`/tickets/${cold}`)).body.ticket.subject, "cold");
      client.close();
    });

    await it.store.forget(cold);
    await restart(it, WRONG);
    await t.test("a wrong one: unavailable, and nothing is lost", () => whileWrong(it, { cold, warm }));

    await restart(it, RIGHT);
    await t.test("the right one again: all is persisted", async () => {
      await it.store.settled();
      const stored = (await it.store.storedMessages(warm)).map(({ content }) => content);
      assert.deepEqual(stored, ["right", ...Array.from({ length: MESSAGES }, (_, i) => `wrong ${i}`)]);
      const { tickets } = (await it.rest(0).get("/tickets")).body;
      assert.deepEqual(tickets.map(({ subject }) => subject).sort(), ["cold", "opened meanwhile", "warm"]);
    });

    await t.test("the logs say why, but neither password", () => {
      for (const [i, { log }] of it.processes.entries()) {
        const text = readFileSync(log, "utf8");
        // The last one is the gateway that had the right one all the time.
        if (i < 2) assert.match(text, /authentication failed/, log);
        for (const secret of [RIGHT, WRONG].flatMap((each) => [each, encodeURIComponent(each)])) {
          assert.ok(!text.includes(secret), `${log} holds a password`);
        }
      }
    });
  } finally {
    await it.stop().finally(() => mongo.close());
  }
});
