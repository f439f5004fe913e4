/**
 * Text comes back as it was written, by every way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stack } from "../harness/stack.js";

const it = stack("text");

const texts = {
  Arabic: "مرحبًا، أين طلبي رقم ١٢٣؟",
  "emoji, joined and with skin tones": "👩🏽‍💻👨‍👩‍👧‍👦🏳️‍🌈 👍🏿",
  "direction marks": "\u200fمرحبا\u200f \u202bABC\u202c \u2067x\u2069 \u200eend\u200e",
  "what JSON and HTML escape": "\"\\/\b\f\r\t <b>&amp;</b> \u2028\u2029 {{x}} $gt",
  "several lines": "one\n\ntwo\r\nthree",
  "composed and decomposed accents": "é e\u0301 ﷺ",
  "exactly 8,192 characters of one byte": "x".repeat(8_192),
  "exactly 8,192 characters of two bytes": "ع".repeat(8_192),
  "exactly 8,192 characters of four bytes": "😀".repeat(8_192),
};

for (const [name, content] of Object.entries(texts)) {
  test(`unchanged by event, ack, join, REST and MongoDB: ${name}`, async () => {
    const { _id: ticketId } = await it.newTicket({ subject: "نص 👋" });
    const sender = await it.join(ticketId, 0);
    const reader = await it.join(ticketId, 1, undefined, { transports: ["polling"] });
    const ack = await sender.send(ticketId, content);
    assert.equal(ack.message.content, content, "ack");
    const { message } = await reader.saw("message_received");
    assert.equal(message.content, content, "event");
    const late = await it.join(ticketId, 1);
    assert.equal(late.joined.messages[0].content, content, "join");
    const early = await it.rest(1).get(`/tickets/${ticketId}/messages`);
    assert.equal(early.body.messages[0].content, content, "REST before it is persisted, or after");
    const { ticket } = (await it.rest().get(`/tickets/${ticketId}`)).body;
    assert.equal(ticket.subject, "نص 👋");
    assert.equal(ticket.lastMessage.content, [...content].slice(0, 200).join(""), "lastMessage");
    await it.store.settled();
    await it.store.forget(ticketId);
    const stored = await it.store.storedMessages(ticketId);
    assert.equal(stored[0].content, content, "MongoDB");
    const later = await it.rest(1).get(`/tickets/${ticketId}/messages`);
    assert.equal(later.body.messages[0].content, content, "REST from MongoDB");
    [sender, reader, late].forEach((each) => each.close());
  });
}

test("white space around a message is no part of it", async () => {
  const { _id: ticketId } = await it.newTicket();
  const sender = await it.join(ticketId, 0);
  assert.equal((await sender.send(ticketId, "  hello \n")).message.content, "hello");
});
