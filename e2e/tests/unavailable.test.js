/**
 * A gateway that is cut off from Redis or MongoDB says so at once, and recovers by itself.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertDense, assertProblem, assertRefused } from "../harness/checks.js";
import { Client } from "../harness/client.js";
import { Line } from "../harness/line.js";
import { freePort, Process } from "../harness/process.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

/** @type {{redis: Line, mongo: Line}} the first gateway's lines */
const lines = {};

const it = stack("unavailable", {
  route: async ({ redis, mongo }) => {
    const [toRedis, toMongo] = [await Line.to(redis), await Line.to(mongo)];
    Object.assign(lines, { redis: toRedis.line, mongo: toMongo.line });
    // Else the driver asks the server for its address, and goes there past the line.
    const direct = `${toMongo.url}${toMongo.url.includes("?") ? "&" : "?"}directConnection=true`;
    return { REDIS_URL: toRedis.url, MONGO_URI: direct };
  },
});

test("without MongoDB: lists are unavailable, tickets that Redis holds go on", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.join(ticketId, 0);
  await client.send(ticketId, "before");
  lines.mongo.cut();
  try {
    const health = await until("/health tells", async () => {
      const answer = await it.rest(0).get("/health");
      return answer.status === 503 && answer;
    });
    assert.equal(health.body.mongo, "down");
    assert.equal(health.body.redis, "up");
    const list = await it.rest(0).get("/tickets");
    assertProblem(list, 503, "unavailable");
    assert.equal(typeof list.body.retryAfterMs, "number");

    await client.send(ticketId, "meanwhile");
    const { messages } = (await it.rest(0).get(`/tickets/${ticketId}/messages`)).body;
    assert.deepEqual(messages.map((message) => message.content), ["before", "meanwhile"]);
    assert.equal((await it.rest(0).get(`/tickets/${ticketId}`)).body.ticket.messageCount, 2);
    const late = await it.join(ticketId, 0);
    assert.deepEqual(late.joined.messages.map((message) => message.content), ["before", "meanwhile"]);
    assert.equal((await it.rest(0).post("/tickets", { subject: "opened meanwhile" })).status, 201);
  } finally {
    lines.mongo.mend();
  }
  await until("lists are back", async () => (await it.rest(0).get("/tickets")).status === 200, 30_000);
  assert.equal((await it.rest(0).get("/health")).status, 200);
  const { tickets } = (await it.rest(0).get("/tickets")).body;
  assert.deepEqual(tickets.map((ticket) => ticket.subject), ["opened meanwhile", "A test"]);
});

test("without Redis: changes are refused at once, and a reader misses nothing afterwards", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.join(ticketId, 0);
  const other = await it.join(ticketId, 1);
  await client.send(ticketId, "before");
  await client.saw("message_received");
  lines.redis.cut();
  try {
    const began = Date.now();
    const ack = await client.ask("send_message", client.message(ticketId, "lost", { clientMessageId: "again" }));
    assertRefused(ack, "unavailable");
    assert.equal(typeof ack.error.retryAfterMs, "number");
    const post = await it.rest(0).post("/tickets", { subject: "lost" });
    assertProblem(post, 503, "unavailable");
    assert.equal(typeof post.body.retryAfterMs, "number");
    assert.ok(Date.now() - began < 10_000, "refused, not left waiting");
    const health = await it.rest(0).get("/health");
    assert.equal(health.status, 503);
    assert.equal(health.body.redis, "down");
    // The other gateway goes on.
    for (let i = 0; i < 20; i++) await other.send(ticketId, `meanwhile ${i}`);
  } finally {
    lines.redis.mend();
  }
  const again = await until(
    "changes are taken again",
    async () => {
      const ack = await client.ask("send_message", client.message(ticketId, "lost", { clientMessageId: "again" }));
      return ack.ok && ack;
    },
    30_000,
  );
  for (const reader of [client, other]) {
    await reader.saw("message_received", (event) => event.message._id === again.message._id, 30_000);
    assertDense(reader.of("message_received"), reader.joined.seq);
    const contents = reader.messages.map((message) => message.content);
    assert.deepEqual(contents, ["before", ...Array.from({ length: 20 }, (_, i) => `meanwhile ${i}`), "lost"]);
  }
  await until("ready again", async () => (await it.rest(0).get("/readyz")).status === 200, 30_000);
  // Its figures are a second old at most.
  await until("healthy again", async () => (await it.rest(0).get("/health")).status === 200, 30_000);
});

test("a join that finds no Redis is answered once it is back, and what its socket sent next comes after it", async () => {
  const { _id: ticketId } = await it.newTicket();
  const [asking, old, witness] = [await it.connect(0), await it.connect(0), await it.connect(0)];
  // As a client of the former server: without a callback, and so it would never join again.
  old.person = someone();
  asking.person = someone("agent");
  lines.redis.cut();
  /** @type {Promise<any>[]} */
  let answers;
  try {
    const refused = await witness.ask("send_message", { ...asking.message(ticketId, "lost"), senderId: "w" });
    assertRefused(refused, "unavailable");
    old.socket.emit("join_ticket", { ticketId, ...old.person });
    answers = [asking.ask("join_ticket", { ticketId, ...asking.person }), asking.ask("send_message", asking.message(ticketId, "next"))];
  } finally {
    lines.redis.mend();
  }
  const [joined, sent] = await Promise.all(answers);
  assert.equal(joined.ok, true, JSON.stringify(joined));
  assert.equal(sent.ok, true, JSON.stringify(sent));
  assert.deepEqual(joined.messages, [], "the message was sent after the join");
  await old.saw("message_received", (event) => event.message.content === "next", 30_000);
});

test("a join is refused if Redis stays away", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.connect(0);
  client.person = someone();
  lines.redis.cut();
  try {
    const [join, next] = await Promise.all([
      client.ask("join_ticket", { ticketId, ...client.person }),
      client.ask("send_message", client.message(ticketId, "lost")),
    ]);
    assertRefused(join, "unavailable");
    assertRefused(next, "unavailable");
  } finally {
    lines.redis.mend();
  }
  await until("ready again", async () => (await it.rest(0).get("/readyz")).status === 200, 30_000);
});

test("a gateway that has not heard Redis yet takes no connections; the first join of those who tried succeeds", async () => {
  const { _id: ticketId } = await it.newTicket();
  const { line, url: REDIS_URL } = await Line.to(it.gateways[1].env.REDIS_URL);
  line.cut();
  const [PORT, OPS_PORT] = [String(await freePort()), String(await freePort())];
  const late = new Process("late", "ticket-gateway", { ...it.gateways[1].env, PORT, OPS_PORT, REDIS_URL }, "unavailable-late");
  await late.start({ ready: false });
  /** @type {Client[]} */
  const clients = [];
  try {
    const url = `http://127.0.0.1:${PORT}`;
    await until("it answers", () => fetch(`${url}/livez`).then((answer) => answer.ok, () => false), 60_000);
    const refused = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
    assert.equal(refused.status, 503);
    assert.equal((await refused.json()).code, "unavailable");
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
    for (const transport of ["polling", "websocket"]) {
      const quick = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200, transports: [transport] };
      const client = new Client(url, quick);
      clients.push(client);
      await new Promise((done) => client.socket.once("connect_error", done));
    }
    line.mend();
    for (const client of clients) {
      await until("connected", () => client.socket.connected, 60_000);
      client.person = someone();
      assert.equal((await client.ask("join_ticket", { ticketId, ...client.person })).ok, true);
    }
  } finally {
    clients.forEach((client) => client.close());
    await late.stop();
  }
});
