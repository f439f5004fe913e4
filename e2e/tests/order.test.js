/**
 * One order per ticket: what every reader sees is `seq` order, and so is what is stored.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertDense } from "../harness/checks.js";
import { someone, stack } from "../harness/stack.js";

const it = stack("order");

for (const transport of ["websocket", "polling"]) {
  test(`200 messages fired without waiting arrive everywhere, and are stored, in the order sent (${transport})`, async () => {
    const { _id: ticketId } = await it.newTicket();
    const sender = await it.join(ticketId, 0, someone(), { transports: [transport] });
    const readers = [sender, await it.join(ticketId, 0), await it.join(ticketId, 1)];
    const sent = Array.from({ length: 200 }, (_, i) => `message ${i}`);
    for (const content of sent) sender.socket.emit("send_message", sender.message(ticketId, content));
    for (const reader of readers) {
      await reader.sawMessages(200);
      assert.deepEqual(reader.messages.map((message) => message.content), sent);
      assertDense(reader.of("message_received"), reader.joined.seq);
    }
    assert.deepEqual(sender.of("exception"), []);
    await it.store.settled();
    const stored = await it.store.storedMessages(ticketId);
    assert.deepEqual(stored.map((message) => message.content), sent);
    assert.deepEqual(stored.map((message) => message.seq), readers[1].messages.map((message) => message.seq));
    assert.deepEqual((await it.rest(1).allMessages(ticketId)).map((message) => message.content), sent);
    readers.forEach((each) => each.close());
  });
}

test("8 senders on 2 gateways, 300 messages each: every reader and MongoDB have one order", async () => {
  const each = 300;
  const { _id: ticketId } = await it.newTicket();
  const senders = [];
  for (let i = 0; i < 8; i++) senders.push(await it.join(ticketId, i % 2));
  const readers = [...senders, await it.join(ticketId, 0), await it.join(ticketId, 1)];
  await Promise.all(
    senders.map(async (sender) => {
      // Fifty at a time: many under way at once, without flooding the gateway.
      for (let from = 0; from < each; from += 50) {
        const batch = Array.from({ length: 50 }, (_, i) => sender.send(ticketId, `${sender.person.userId}:${from + i}`));
        await Promise.all(batch);
      }
    }),
  );
  const total = each * senders.length;
  for (const reader of readers) await reader.sawMessages(total, 120_000);
  const reference = readers[0].messages.map((message) => message._id);
  for (const reader of readers) {
    assert.equal(reader.messages.length, total);
    assertDense(reader.of("message_received"), reader.joined.seq);
    assert.deepEqual(reader.messages.map((message) => message._id), reference);
  }
  for (const sender of senders) {
    const own = readers[9].messages.filter((message) => message.senderId === sender.person.userId);
    const sent = Array.from({ length: each }, (_, i) => `${sender.person.userId}:${i}`);
    assert.deepEqual(own.map((message) => message.content), sent, "a sender's own order is kept");
  }
  await it.store.settled();
  const stored = await it.store.storedMessages(ticketId);
  assert.deepEqual(stored.map((message) => String(message._id)), reference);
  const { body } = await it.rest(0).get(`/tickets/${ticketId}`);
  assert.equal(body.ticket.messageCount, total);
  assert.equal(body.ticket.seq, stored.at(-1).seq);
});
