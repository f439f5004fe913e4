/**
 * Internal messages: notes between agents that the customer must never see, not even as a gap.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertRefused } from "../harness/checks.js";
import { someone, stack } from "../harness/stack.js";

const it = stack("internal");

test("they reach agents only; a user sees no gap", async () => {
  const { _id: ticketId } = await it.newTicket();
  const writer = await it.join(ticketId, 0, someone("agent"));
  const agent = await it.join(ticketId, 1, someone("agent"));
  const users = [await it.join(ticketId, 0), await it.join(ticketId, 1)];
  await users[0].send(ticketId, "hello");
  const { message } = await writer.send(ticketId, "a difficult one", { internal: true });
  assert.equal(message.internal, true);
  await writer.send(ticketId, "more of the same", { internal: true });
  await writer.send(ticketId, "how can I help?");
  await writer.send(ticketId, "not at all", { internal: true });
  await users[1].send(ticketId, "with my order");

  const all = ["hello", "a difficult one", "more of the same", "how can I help?", "not at all", "with my order"];
  for (const reader of [writer, agent]) {
    await reader.sawMessages(6);
    assert.deepEqual(reader.messages.map((each) => each.content), all);
    reader.of("message_received").forEach((event, i) => assert.equal(event.seq, reader.joined.seq + 1 + i, "dense"));
  }
  const open = ["hello", "how can I help?", "with my order"];
  for (const reader of users) {
    await reader.saw("message_received", (event) => event.message.content === "with my order");
    assert.deepEqual(reader.messages.map((each) => each.content), open);
    let last = reader.joined.seq;
    for (const event of reader.of("message_received")) {
      assert.equal(event.prevSeq, last, "prevSeq is the last that this user saw");
      last = event.seq;
    }
  }

  const lateUser = await it.join(ticketId, 1);
  assert.deepEqual(lateUser.joined.messages.map((each) => each.content), open);
  assert.ok(!JSON.stringify(lateUser.joined).includes("not at all"));
  const lateAgent = await it.join(ticketId, 0, someone("agent"));
  assert.deepEqual(lateAgent.joined.messages.map((each) => each.content), all);
  await it.store.settled();
  assert.deepEqual((await it.store.storedMessages(ticketId)).map((each) => each.content), all);
});

test("a user who joins after an internal message expects the right prevSeq", async () => {
  const { _id: ticketId } = await it.newTicket();
  const agent = await it.join(ticketId, 0, someone("agent"));
  await agent.send(ticketId, "a note", { internal: true });
  const user = await it.join(ticketId, 1);
  await agent.send(ticketId, "hello");
  const event = await user.saw("message_received");
  assert.equal(event.prevSeq, user.joined.seq);
  assert.equal(user.joined.ticket.lastMessage, null, "the preview shows no note");
  const agents = await it.join(ticketId, 1, someone("agent"));
  assert.deepEqual(agent.of("message_received").map((each) => each.seq), [2, 3], "an agent's seq is dense");
  assert.equal(agents.joined.seq, event.seq);
});

test("a user may not send one", async () => {
  const { _id: ticketId } = await it.newTicket();
  const user = await it.join(ticketId, 0);
  const agent = await it.join(ticketId, 1, someone("agent"));
  assertRefused(await user.ask("send_message", user.message(ticketId, "psst", { internal: true })), "forbidden");
  await user.send(ticketId, "aloud", { internal: false });
  await agent.saw("message_received");
  assert.deepEqual(agent.messages.map((each) => each.content), ["aloud"]);
});
