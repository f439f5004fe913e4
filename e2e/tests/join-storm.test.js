/**
 * Whoever joins while others write gets every entry once: in the answer, or as an event after it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("join-storm");

test("40 agents join on both gateways while 600 messages are written", async () => {
  const { _id: ticketId } = await it.newTicket();
  const writers = [await it.join(ticketId, 0), await it.join(ticketId, 1)];
  const writing = writers.map(async (writer) => {
    for (let i = 0; i < 100; i++) {
      await Promise.all([0, 1, 2].map((part) => writer.send(ticketId, `m${i}.${part}`)));
    }
  });
  const joining = Array.from({ length: 40 }, (_, i) => it.join(ticketId, i % 2, someone("agent")));
  const agents = await Promise.all(joining);
  await Promise.all(writing);
  const { seq: newest } = (await it.rest(0).get(`/tickets/${ticketId}`)).body.ticket;
  for (const agent of agents) {
    await until("the newest message seen", () => (agent.of("message_received").at(-1)?.seq ?? agent.joined.seq) === newest);
    const seen = agent.of("message_received").map((event) => event.seq);
    const expected = Array.from({ length: newest - agent.joined.seq }, (_, i) => agent.joined.seq + 1 + i);
    assert.deepEqual(seen, expected);
  }
});
