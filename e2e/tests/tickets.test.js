/**
 * Tickets over REST.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertProblem } from "../harness/checks.js";
import { stack } from "../harness/stack.js";

const it = stack("tickets");

test("a new ticket has its defaults, a place, and can be read at once from the other gateway", async () => {
  const answer = await it.rest(0).post("/tickets", { subject: "  Where is it? ", userId: "u1", userName: "سارة" });
  assert.equal(answer.status, 201);
  const { ticket } = answer.body;
  const { _id, createdAt, updatedAt, ...rest } = ticket;
  assert.match(_id, /^[0-9a-f]{24}$/);
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(updatedAt, createdAt);
  assert.deepEqual(rest, {
    subject: "Where is it?",
    description: "",
    status: "open",
    priority: "normal",
    tags: [],
    userId: "u1",
    userName: "سارة",
    assignedAgent: null,
    seq: 1,
    messageCount: 0,
    lastMessage: null,
    closedAt: null,
  });
  const place = new URL(answer.headers.get("location") ?? "", it.url(1)).pathname;
  assert.equal(place, `/tickets/${_id}`);
  assert.deepEqual((await it.rest(1).get(place)).body, { ticket });
  assert.deepEqual((await it.rest(1).get(`${place}/messages`)).body, { messages: [], nextCursor: null });
});

test("every field is kept, and title is taken for subject", async () => {
  const fields = { description: "words", priority: "urgent", tags: ["refund", "عاجل"], userId: "u1", userName: "Sara" };
  const { body, status } = await it.rest().post("/tickets", { title: "By title", ...fields });
  assert.equal(status, 201);
  assert.equal(body.ticket.subject, "By title");
  for (const [name, value] of Object.entries(fields)) assert.deepEqual(body.ticket[name], value);
  await it.store.settled();
  await it.store.forget(body.ticket._id);
  assert.deepEqual((await it.rest(1).get(`/tickets/${body.ticket._id}`)).body, body, "the same from MongoDB");
});

test("a retry with the same Idempotency-Key returns the first ticket; with another body it is a conflict", async () => {
  const key = { "idempotency-key": "order-17" };
  const body = { subject: "Once", userId: "u1", userName: "Sara" };
  const first = await it.rest(0).post("/tickets", body, key);
  assert.equal(first.status, 201);
  const retry = async (gateway) => {
    const again = await it.rest(gateway).post("/tickets", body, key);
    assert.ok([200, 201].includes(again.status), `${again.status} ${again.text}`);
    assert.deepEqual(again.body.ticket, first.body.ticket);
  };
  await Promise.all([retry(0), retry(1), retry(0), retry(1)]);
  await it.store.settled();
  await retry(1);
  await it.store.forget(first.body.ticket._id);
  await retry(0);

  const other = await it.rest(1).post("/tickets", { ...body, subject: "Twice" }, key);
  assertProblem(other, 409, "conflict");
  assert.equal(other.body.ticket._id, first.body.ticket._id);
  const { found } = await it.rest().all("/tickets", "tickets", "cursor");
  assert.equal(found.flat().filter((ticket) => ticket.subject === "Once").length, 1);
});

test("five posts with one key at once, over both gateways, are one ticket", async () => {
  const key = { "idempotency-key": "at-once" };
  const answers = await Promise.all(
    [0, 1, 0, 1, 0].map((gateway) => it.rest(gateway).post("/tickets", { subject: "At once" }, key)),
  );
  const ids = new Set(answers.map((answer) => answer.body?.ticket?._id));
  assert.equal(ids.size, 1, JSON.stringify(answers.map((answer) => [answer.status, answer.text])));
});

test("the list is newest first, and its cursor goes through all of it once", async () => {
  const made = [];
  for (let i = 0; i < 28; i++) made.push((await it.newTicket({ subject: `page ${i}` }, i % 2))._id);
  const listed = async (gateway) => {
    const { found } = await it.rest(gateway).all("/tickets?limit=10", "tickets", "cursor");
    for (const page of found.slice(0, -1)) assert.equal(page.length, 10, "full pages before the last");
    const ids = found.flat().map((ticket) => ticket._id);
    assert.equal(new Set(ids).size, ids.length, "none twice");
    assert.deepEqual(ids.slice(0, made.length), made.toReversed(), "newest first, none missing");
    return ids;
  };
  const fresh = await listed(0);
  await it.store.settled();
  assert.deepEqual(await listed(1), fresh, "the same once it is persisted");

  // A page that was read while tickets are opened leaves none out.
  const first = (await it.rest().get("/tickets?limit=10")).body;
  await it.newTicket({ subject: "meanwhile" });
  const second = (await it.rest(1).get(`/tickets?limit=10&cursor=${encodeURIComponent(first.nextCursor)}`)).body;
  assert.deepEqual(second.tickets.map((ticket) => ticket._id), fresh.slice(10, 20));
});

test("messages page by seq, both ways, and end with null", async () => {
  const { _id: ticketId } = await it.newTicket();
  const sender = await it.join(ticketId, 0);
  const sent = Array.from({ length: 23 }, (_, i) => `m${i}`);
  for (const content of sent) await sender.send(ticketId, content);
  const check = async (rest) => {
    const latest = (await rest.get(`/tickets/${ticketId}/messages?limit=10`)).body;
    assert.deepEqual(latest.messages.map((message) => message.content), sent.slice(13), "the latest page, oldest first");
    assert.deepEqual((await rest.allMessages(ticketId, 10)).map((message) => message.content), sent);
    const forward = await rest.all(`/tickets/${ticketId}/messages?limit=10&after=0`, "messages", "after");
    assert.deepEqual(forward.found.flat().map((message) => message.content), sent);
    const { seq } = latest.messages[0];
    const before = (await rest.get(`/tickets/${ticketId}/messages?limit=3&before=${seq}`)).body;
    assert.deepEqual(before.messages.map((message) => message.content), sent.slice(10, 13));
    const after = (await rest.get(`/tickets/${ticketId}/messages?limit=3&after=${seq}`)).body;
    assert.deepEqual(after.messages.map((message) => message.content), sent.slice(14, 17));
    const end = (await rest.get(`/tickets/${ticketId}/messages?after=${latest.messages.at(-1).seq}`)).body;
    assert.deepEqual(end, { messages: [], nextCursor: null });
  };
  await check(it.rest(1));
  await it.store.settled();
  await it.store.forget(ticketId);
  await check(it.rest(0));
});

test("counts are numbers and follow every change", async () => {
  const counts = async () => (await it.rest(1).get("/tickets/stats/counts")).body;
  const before = await counts();
  assert.deepEqual(Object.keys(before).sort(), ["closed", "open", "pending", "total", "unassigned"]);
  for (const number of Object.values(before)) assert.equal(typeof number, "number");
  assert.equal(before.total, before.open + before.pending + before.closed);

  const { _id: ticketId } = await it.newTicket();
  assert.deepEqual(await counts(), { ...before, open: before.open + 1, total: before.total + 1, unassigned: before.unassigned + 1 });
  const agent = await it.join(ticketId, 0);
  await agent.done("assign_agent", { ticketId, agentId: "a", agentName: "A", assignedBy: "a", assignedByName: "A" });
  assert.deepEqual(await counts(), { ...before, open: before.open + 1, total: before.total + 1 });
  await agent.done("ticket_status_change", { ticketId, status: "pending", changedBy: "a", changedByName: "A" });
  assert.deepEqual(await counts(), { ...before, pending: before.pending + 1, total: before.total + 1 });
  await it.store.settled();
  assert.deepEqual(await counts(), { ...before, pending: before.pending + 1, total: before.total + 1 });
});
