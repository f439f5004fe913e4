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

test("each of many messages sent at once has its own answer, whatever comes between them", async () => {
  const tickets = [await it.newTicket(), await it.newTicket()].map((ticket) => ticket._id);
  const sender = await it.join(tickets[0], 0, someone("agent"));
  const reader = await it.join(tickets[0], 1);
  await sender.join(tickets[1]);
  const answers = [];
  const expected = [];
  for (let i = 0; i < 90; i++) {
    const content = `message ${i}`;
    if (i % 7 === 3) {
      answers.push(sender.ask("send_message", sender.message(tickets[0], "")));
      expected.push("content");
    } else if (i % 11 === 5) {
      answers.push(sender.ask("send_message", sender.message("f".repeat(24), content)));
      expected.push("ticket_not_found");
    } else if (i % 13 === 6) {
      answers.push(sender.ask("typing", { ticketId: tickets[0], senderId: "a", senderName: "A", isTyping: true }));
      expected.push("ok");
    } else {
      const ticketId = tickets[i % 5 === 1 ? 1 : 0];
      // Every fourth says that it repeats the one before it.
      const clientMessageId = `${ticketId} ${i % 4 === 3 ? i - 1 : i}`;
      answers.push(sender.ask("send_message", sender.message(ticketId, content, { clientMessageId })));
      expected.push(`${ticketId} ${clientMessageId}`);
    }
  }
  const got = await Promise.all(answers);
  const first = new Map();
  const newest = new Map();
  for (const [i, ack] of got.entries()) {
    if (ack.ok && ack.message) {
      const { message, duplicate } = ack;
      assert.equal(`${message.ticketId} ${message.clientMessageId}`, expected[i]);
      assert.equal(duplicate, first.has(message.clientMessageId));
      if (duplicate) {
        assert.deepEqual(message, first.get(message.clientMessageId));
      } else {
        first.set(message.clientMessageId, message);
        assert.equal(message.content, `message ${i}`);
        assert.ok(message.seq > (newest.get(message.ticketId) ?? 0), "in the order sent");
        newest.set(message.ticketId, message.seq);
      }
    } else {
      assert.equal(ack.ok ? "ok" : (ack.error.field ?? ack.error.code), expected[i]);
    }
  }
  const whole = [...first.values()].filter((message) => message.ticketId === tickets[0]);
  await reader.sawMessages(whole.length);
  assert.deepEqual(reader.messages, whole);
  [sender, reader].forEach((each) => each.close());
});
