/**
 * Tickets and messages that the former Node.js server (Mongoose) wrote: readable as they are, numbered on first use.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectId } from "mongodb";
import { assertDense } from "../harness/checks.js";
import { stack } from "../harness/stack.js";

const it = stack("old-documents", { setup });
const START = Date.parse("2024-03-01T08:00:00Z");
const at = (minutes) => new Date(START + minutes * 60_000);

/** Old tickets by what is special about them; `expected` are the texts in the order that must come out. */
const old = {
  few: { _id: new ObjectId(), expected: ["first", "same time a", "same time b", "string id", "last"] },
  many: { _id: new ObjectId(), expected: Array.from({ length: 120 }, (_, i) => `old ${i}`) },
  empty: { _id: new ObjectId(), expected: [] },
  raced: { _id: new ObjectId(), expected: Array.from({ length: 30 }, (_, i) => `raced ${i}`) },
};

async function setup() {
  await it.store.tickets.insertMany([
    { _id: old.few._id, title: "By title", status: "open", createdAt: at(0), updatedAt: at(9), __v: 0 },
    { _id: old.many._id, subject: "By subject", description: "d", status: "pending", userId: "u1", userName: "Sara", createdAt: at(1), updatedAt: at(1), __v: 0 },
    { _id: old.empty._id, subject: "Nobody wrote", status: "closed", createdAt: at(2), __v: 0 },
    { _id: old.raced._id, subject: "Raced", status: "open", createdAt: at(3), updatedAt: at(3), __v: 0 },
  ]);
  const message = (ticketId, content, createdAt, _id = new ObjectId()) => ({
    _id,
    ticketId,
    senderId: "u1",
    senderType: "user",
    senderName: "Sara",
    content,
    createdAt,
    __v: 0,
  });
  // The later of two with equal times has the greater id, and is inserted first.
  const [a, b] = [new ObjectId("65e1a0000000000000000001"), new ObjectId("65e1a0000000000000000002")];
  await it.store.messages.insertMany([
    message(old.few._id, "last", at(9)),
    message(old.few._id, "same time b", at(2), b),
    message(String(old.few._id), "same time a", at(2), a),
    message(String(old.few._id), "string id", at(3)),
    message(old.few._id, "first", at(1)),
    ...old.many.expected.map((content, i) => message(old.many._id, content, at(i))),
    ...old.raced.expected.map((content, i) => message(i % 2 ? old.raced._id : String(old.raced._id), content, at(i))),
  ]);
}

const contents = (messages) => messages.map((message) => message.content);

test("the list shows them, newest first, with their subject or title", async () => {
  const { tickets } = (await it.rest().get("/tickets")).body;
  assert.deepEqual(tickets.map((ticket) => ticket.subject), ["Raced", "Nobody wrote", "By subject", "By title"]);
  assert.deepEqual(tickets.map((ticket) => ticket.status), ["open", "closed", "pending", "open"]);
  assert.equal(tickets[3].createdAt, "2024-03-01T08:00:00.000Z");
  const { open, pending, closed, total } = (await it.rest(1).get("/tickets/stats/counts")).body;
  assert.deepEqual({ open, pending, closed, total }, { open: 2, pending: 1, closed: 1, total: 4 });
});

test("REST shows the messages before anybody joined", async () => {
  const ticketId = String(old.many._id);
  const { body } = await it.rest(1).get(`/tickets/${ticketId}`);
  assert.equal(body.ticket.subject, "By subject");
  assert.equal(body.ticket.description, "d");
  assert.deepEqual(contents(await it.rest(0).allMessages(ticketId, 50)), old.many.expected);
  assert.deepEqual(contents((await it.rest(1).get(`/tickets/${ticketId}/messages`)).body.messages), old.many.expected.slice(-50));
});

for (const [name, { _id, expected }] of Object.entries(old)) {
  test(`first joins on both gateways at once agree, and new messages go on (${name})`, async () => {
    const ticketId = String(_id);
    const [one, two] = await Promise.all([it.join(ticketId, 0), it.join(ticketId, 1)]);
    assert.deepEqual(one.joined.messages, two.joined.messages);
    assert.equal(one.joined.seq, two.joined.seq);
    assert.equal(one.joined.epoch, two.joined.epoch);
    const shown = one.joined.messages;
    assert.deepEqual(contents(shown), expected.slice(-50), "by createdAt, then _id");
    shown.forEach((message, i) => assert.equal(message.seq, shown[0].seq + i, "dense"));
    if (shown.length) assert.equal(shown.at(-1).seq, one.joined.seq);
    assert.equal(one.joined.ticket.messageCount, expected.length);

    const { message } = await one.send(ticketId, "new");
    assert.equal(message.seq, one.joined.seq + 1);
    for (const reader of [one, two]) {
      await reader.saw("message_received");
      assertDense(reader.of("message_received"), reader.joined.seq);
    }
    const all = await it.rest(1).allMessages(ticketId, 50);
    assert.deepEqual(contents(all), [...expected, "new"]);

    await it.store.settled();
    const stored = await it.store.storedMessages(ticketId);
    assert.deepEqual(contents(stored), [...expected, "new"], "stored in the order of the numbers given");
    assert.deepEqual(stored.map((each) => each.seq), all.map((each) => each.seq), "the numbers that were shown");
    const ticket = await it.store.tickets.findOne({ _id });
    assert.equal(Number(ticket?.seq), message.seq);
    await it.store.forget(ticketId);
    assert.deepEqual(await it.rest(0).allMessages(ticketId, 50), all, "the same from MongoDB");
  });
}
