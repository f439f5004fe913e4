/**
 * A gateway dies without a word.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";

const it = stack("gateway-killed");

test("its people leave with reason timeout, once; what they were told stays true", async (t) => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 1, someone("agent"));
  const lost = [await it.join(ticketId, 0), await it.join(ticketId, 0)];
  const mover = someone();
  await it.join(ticketId, 0, mover);
  const { message } = await lost[0].send(ticketId, "the last words");
  await it.gateways[0].kill();
  const began = Date.now();
  // One of them finds the other gateway.
  const moved = await it.join(ticketId, 1, mover);
  assert.deepEqual(moved.joined.messages, [message]);

  for (const { person } of lost) {
    // 45 s by the contract; the rest is for slow machines.
    const left = await watcher.saw("user_left", (each) => each.userId === person.userId, 75_000);
    assert.deepEqual(left, { ticketId, ...person, reason: "timeout" });
  }
  t.diagnostic(`told after ${((Date.now() - began) / 1000).toFixed(1)} s`);
  const late = await it.join(ticketId, 1);
  const there = late.joined.participants.map((person) => person.userId).sort();
  assert.deepEqual(there, [watcher, moved, late].map((each) => each.person.userId).sort());
  await late.send(ticketId, "a barrier");
  await watcher.saw("message_received", (event) => event.message.content === "a barrier");
  for (const { person } of lost) {
    assert.equal(watcher.of("user_left").filter((each) => each.userId === person.userId).length, 1, "told once");
  }
  assert.equal(watcher.of("user_left").filter((each) => each.userId === mover.userId).length, 0);
});
