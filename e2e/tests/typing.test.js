/**
 * Typing: true for a moment, told to the others, and never left standing.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";
import { pause } from "../harness/wait.js";

const it = stack("typing");

/** A ticket with somebody who types on gateway 1, and readers on both. */
async function scene() {
  const { _id: ticketId } = await it.newTicket();
  const typist = await it.join(ticketId, 0);
  const readers = [await it.join(ticketId, 0), await it.join(ticketId, 1)];
  return { ticketId, typist, readers };
}

const states = (client) => client.of("typing_indicator").map((event) => event.isTyping);

test("goes to the others, not back to the sender, and says when it ends", async () => {
  const { ticketId, typist, readers } = await scene();
  await typist.typing(ticketId, true);
  for (const reader of readers) {
    const { senderId, senderName, isTyping, expiresInMs, ...rest } = await reader.saw("typing_indicator");
    assert.equal(rest.ticketId, ticketId);
    assert.deepEqual([senderId, senderName, isTyping, expiresInMs], [typist.person.userId, typist.person.userName, true, 6_000]);
  }
  await typist.typing(ticketId, false);
  for (const reader of readers) await reader.saw("typing_indicator", (event) => event.isTyping === false);
  await readers[0].send(ticketId, "a barrier");
  await typist.saw("message_received");
  assert.deepEqual(typist.of("typing_indicator"), []);
});

test("ends by itself after six seconds, counted from the last renewal", async () => {
  const { ticketId, typist, readers } = await scene();
  await typist.typing(ticketId, true);
  const began = Date.now();
  await pause(3_000);
  await typist.typing(ticketId, true);
  const renewed = Date.now();
  for (const reader of readers) {
    await reader.saw("typing_indicator", (event) => event.isTyping === false, 30_000);
  }
  const [whole, since] = [Date.now() - began, Date.now() - renewed];
  // Only too early is wrong: how much later it comes is the machine's affair.
  assert.ok(since >= 5_000, `ended ${since} ms after the renewal, ${whole} ms after the beginning`);
  for (const reader of readers) assert.equal(states(reader).filter((state) => !state).length, 1, "ends once");
});

test("ends on a message of that sender", async () => {
  const { ticketId, typist, readers } = await scene();
  await typist.typing(ticketId, true);
  for (const reader of readers) await reader.saw("typing_indicator");
  const began = Date.now();
  await typist.send(ticketId, "done");
  for (const reader of readers) {
    await reader.saw("message_received");
    await reader.saw("typing_indicator", (event) => event.isTyping === false);
  }
  assert.ok(Date.now() - began < 5_000, "not only when it would have ended anyhow");
  // Nothing is left that could end a second time.
  await typist.typing(ticketId, false);
  await typist.send(ticketId, "a barrier");
  for (const reader of readers) {
    await reader.saw("message_received", (event) => event.message.content === "a barrier");
    assert.equal(states(reader).at(-1), false);
  }
});

test("another's message does not end it", async () => {
  const { ticketId, typist, readers } = await scene();
  await typist.typing(ticketId, true);
  for (const reader of readers) await reader.saw("typing_indicator");
  await readers[0].send(ticketId, "no hurry");
  await readers[1].saw("message_received");
  await readers[1].send(ticketId, "a barrier");
  await readers[0].saw("message_received", (event) => event.message.content === "a barrier");
  for (const reader of readers) assert.deepEqual(states(reader), [true]);
});

test("ends when the sender's connection does", async () => {
  const { ticketId, typist, readers } = await scene();
  await typist.typing(ticketId, true);
  for (const reader of readers) await reader.saw("typing_indicator");
  const began = Date.now();
  typist.close();
  for (const reader of readers) await reader.saw("typing_indicator", (event) => event.isTyping === false);
  assert.ok(Date.now() - began < 5_000, "not only when it would have ended anyhow");
});

test("is broadcast at most once a second", async () => {
  const { ticketId, typist, readers } = await scene();
  const began = Date.now();
  for (let i = 0; i < 30; i++) await typist.typing(ticketId, true);
  await typist.send(ticketId, "a barrier");
  const seconds = (Date.now() - began) / 1000;
  for (const reader of readers) {
    await reader.saw("message_received");
    const told = states(reader).filter((state) => state).length;
    assert.ok(told >= 1 && told <= 1 + Math.floor(seconds), `told ${told} times in ${seconds} s`);
  }
});

test("of two people, each has their own", async () => {
  const { ticketId, typist, readers } = await scene();
  const other = await it.join(ticketId, 1, someone("agent"));
  await Promise.all([typist.typing(ticketId, true), other.typing(ticketId, true)]);
  for (const person of [typist.person, other.person]) {
    await readers[0].saw("typing_indicator", (event) => event.senderId === person.userId && event.isTyping);
  }
  await typist.typing(ticketId, false);
  await readers[0].saw("typing_indicator", (event) => event.senderId === typist.person.userId && !event.isTyping);
  const others = readers[0].of("typing_indicator").filter((event) => event.senderId === other.person.userId);
  assert.deepEqual(others.map((event) => event.isTyping), [true]);
});

test("of two tabs of a person, the last one ends it", async () => {
  const { ticketId, typist, readers } = await scene();
  const tab = await it.join(ticketId, 0, typist.person);
  await typist.typing(ticketId, true);
  for (const reader of readers) await reader.saw("typing_indicator");
  await tab.typing(ticketId, true);
  await typist.typing(ticketId, false);
  await readers[0].send(ticketId, "a barrier");
  await readers[1].saw("message_received");
  for (const reader of readers) assert.ok(states(reader).every((state) => state), "the other tab types");
  await tab.typing(ticketId, false);
  for (const reader of readers) await reader.saw("typing_indicator", (event) => event.isTyping === false);
  assert.deepEqual([...typist.of("typing_indicator"), ...tab.of("typing_indicator")], []);
});

test("a customer and an agent of one id see each other type", async () => {
  const { _id: ticketId } = await it.newTicket();
  const user = await it.join(ticketId, 0, { userId: "7", userType: "user", userName: "Sara" });
  const agent = await it.join(ticketId, 1, { userId: "7", userType: "agent", userName: "Omar" });
  await Promise.all([user.typing(ticketId, true), agent.typing(ticketId, true)]);
  await user.saw("typing_indicator", (event) => event.senderName === "Omar" && event.isTyping);
  await agent.saw("typing_indicator", (event) => event.senderName === "Sara" && event.isTyping);
  await user.send(ticketId, "done");
  await agent.saw("typing_indicator", (event) => event.senderName === "Sara" && !event.isTyping);
  assert.deepEqual(user.of("typing_indicator").map((event) => event.isTyping), [true], "the agent goes on");
});
