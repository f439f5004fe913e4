/**
 * Who leaves a ticket hears nothing more of it, also while the ticket's task is busy and its queue is full.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRefused } from "../harness/checks.js";
import { Line } from "../harness/line.js";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

/** @type {Line} the first gateway's line to MongoDB */
let mongo;

const it = stack("leaving", {
  env: WITH_TOKENS,
  route: async ({ redis, mongo: uri }) => {
    const { line, url } = await Line.to(uri);
    mongo = line;
    // Else the driver asks the server for its address, and goes there past the line.
    return { REDIS_URL: redis, MONGO_URI: `${url}${url.includes("?") ? "&" : "?"}directConnection=true` };
  },
});

/** More frames than wait for one ticket's task. */
const FRAMES = 1_100;

const agent = (sub, more = {}) => ({ sub, name: sub, role: "agent", ...more });
const as = (claims) => ({ auth: { token: token(claims) } });

async function open() {
  const answer = await it.rest(1).post("/tickets", { subject: "s" }, bearer(token({ sub: "sara" })));
  assert.equal(answer.status, 201);
  return answer.body.ticket._id;
}

/** What a client has seen of a ticket's messages. */
const contents = (client) => client.of("message_received").map((event) => event.message.content);

/** Makes the ticket's task wait for MongoDB: with a part of it gone from Redis, the next one who joins needs that. */
async function busy(ticketId) {
  const { redis } = it.store;
  const [log] = await keys(`*:t:${ticketId}:log`);
  const channel = log.replace(/:t:.*/, `:live:${ticketId}`);
  mongo.freeze();
  await redis.ask("DEL", log);
  // Each waits for as long as the gateway does, one after the other.
  const late = await Promise.all([1, 2, 3, 4, 5].map((n) => it.connect(0, as(agent(`late-${n}`)))));
  const joining = Promise.all(late.map((client) => client.ask("join_ticket", { ticketId })));
  return { channel, joining };
}

async function keys(pattern) {
  const found = [];
  for await (const page of it.store.redis.client.scanIterator({ MATCH: pattern, COUNT: 1000 })) found.push(...[page].flat());
  return found;
}

/** Fills the queue of the ticket's task, and waits until somebody is refused for that. */
async function fill(ticketId, channel) {
  const frames = Array.from({ length: FRAMES }, () => it.store.redis.ask("SPUBLISH", channel, "Xnothing"));
  await Promise.all(frames);
  const refused = await it.connect(0, as(agent("refused")));
  await until("the queue is full", async () => {
    const answer = await refused.ask("join_ticket", { ticketId });
    return answer.ok === false && answer.error.code === "overloaded" && answer;
  }).then((answer) => assertRefused(answer, "overloaded"));
  refused.close();
}

test("who leaves at a full queue is out, a retry is answered, and a narrower token hears nothing", async () => {
  const [ticketId, other] = [await open(), await open()];
  const [leaves, narrowed, stays] = await Promise.all(
    ["leaves", "narrowed", "stays"].map(async (name) => {
      const client = await it.connect(0, as(agent(name)));
      await client.done("join_ticket", { ticketId });
      return client;
    }),
  );
  const writer = await it.connect(1, as(agent("writer")));
  await writer.done("send_message", { ticketId, content: "before" });
  await Promise.all([leaves, narrowed, stays].map((client) => client.saw("message_received")));

  const { channel, joining } = await busy(ticketId);
  try {
    await fill(ticketId, channel);
    const leaving = leaves.ask("leave_ticket", { ticketId });
    // The answer to the first one waits for the ticket's task; that to the second does not.
    await leaves.done("leave_ticket", { ticketId });
    await narrowed.done("refresh_token", { token: token(agent("narrowed", { tickets: [other] })) });
    const seen = [contents(leaves), contents(narrowed)];
    mongo.mend();
    await joining;
    await writer.done("send_message", { ticketId, content: "after" });
    await stays.saw("message_received", (event) => event.message.content === "after");
    assert.equal((await leaving).ok, true);
    // What was sent before is delivered by now.
    await Promise.all([leaves, narrowed].map((client) => client.done("join_ticket", { ticketId: other })));
    assert.deepEqual([contents(leaves), contents(narrowed)], seen);
    const { participants } = await stays.done("join_ticket", { ticketId });
    const names = participants.map((person) => person.userId);
    assert.ok(!names.includes("leaves") && !names.includes("narrowed") && names.includes("stays"), names.join());
  } finally {
    mongo.mend();
  }
});
