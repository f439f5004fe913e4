/**
 * A retry is never a second message, however late it comes and wherever it arrives.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";

const it = stack("idempotency");

test("the same clientMessageId five times at once over both gateways: one message, five equal acks", async () => {
  const { _id: ticketId } = await it.newTicket();
  const person = someone();
  const tabs = [await it.join(ticketId, 0, person), await it.join(ticketId, 1, person)];
  const reader = await it.join(ticketId, 1);
  const again = (tab) => tab.send(ticketId, "once, please", { clientMessageId: "retry-1" });

  const acks = await Promise.all([0, 1, 0, 1, 0].map((tab) => again(tabs[tab])));
  for (const ack of acks) assert.deepEqual(ack.message, acks[0].message);
  assert.equal(acks[0].message.clientMessageId, "retry-1");
  assert.equal(acks.filter((ack) => ack.duplicate === false).length, 1);
  assert.equal(acks.filter((ack) => ack.duplicate === true).length, 4);

  /** @param {string} when */
  const assertDuplicate = async (when) => {
    for (const tab of tabs) {
      const ack = await again(tab);
      assert.equal(ack.duplicate, true, when);
      assert.deepEqual(ack.message, acks[0].message, when);
    }
  };
  await assertDuplicate("at once");
  await it.store.settled();
  await assertDuplicate("after it was persisted");
  await it.worker.stop();
  await assertDuplicate("while the worker is down");
  await it.worker.start();
  await assertDuplicate("after the worker was restarted");

  // Whatever was delivered twice would be here before this one.
  await tabs[0].send(ticketId, "the next");
  await reader.saw("message_received", (event) => event.message.content === "the next");
  assert.deepEqual(reader.messages.map((message) => message.content), ["once, please", "the next"]);
  await it.store.settled();
  const stored = await it.store.storedMessages(ticketId);
  assert.deepEqual(stored.map((message) => message.content), ["once, please", "the next"]);
  assert.equal((await it.rest().get(`/tickets/${ticketId}`)).body.ticket.messageCount, 2);
});

test("a repeat that outlives Redis' memory of the ticket finds the first message in MongoDB", async () => {
  const { _id: ticketId } = await it.newTicket();
  const sender = await it.join(ticketId, 0);
  const first = await sender.send(ticketId, "long ago", { clientMessageId: "late" });
  sender.close();
  await it.store.settled();
  await it.store.forget(ticketId);
  const later = await it.join(ticketId, 1, sender.person);
  const ack = await later.send(ticketId, "long ago", { clientMessageId: "late" });
  assert.equal(ack.duplicate, true);
  assert.deepEqual(ack.message, first.message);
  const next = await later.send(ticketId, "and on");
  assert.equal(next.message.seq, first.message.seq + 1, "seq goes on where it was");
  await it.store.settled();
  assert.equal((await it.store.storedMessages(ticketId)).length, 2);
});

test("the id counts for one sender in one ticket", async () => {
  const [one, two] = [await it.newTicket(), await it.newTicket()];
  const [a, b] = [await it.join(one._id, 0), await it.join(one._id, 1)];
  await a.join(two._id);
  const acks = [
    await a.send(one._id, "a", { clientMessageId: "same" }),
    await b.send(one._id, "b", { clientMessageId: "same" }),
    await a.send(two._id, "c", { clientMessageId: "same" }),
  ];
  assert.deepEqual(acks.map((ack) => ack.duplicate), [false, false, false]);
  assert.equal(new Set(acks.map((ack) => ack.message._id)).size, 3);
});
