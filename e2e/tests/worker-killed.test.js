/**
 * The worker dies in the middle of the work: nothing is lost, nothing is doubled, and nobody notices meanwhile.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stack } from "../harness/stack.js";

const it = stack("worker-killed");
const COUNT = 2_000;

test("killed (-9) while 2,000 messages are sent, and started again: 2,000 stored, none twice", async () => {
  const { _id: ticketId } = await it.newTicket({ subject: "Many words" });
  const sender = await it.join(ticketId, 0);
  const sent = Array.from({ length: COUNT }, (_, i) => `message ${i}`);
  for (let from = 0; from < COUNT; from += 50) {
    if (from === 500) {
      // Not awaited before the next messages go out: it dies with its hands full.
      void it.worker.kill();
    }
    await Promise.all(sent.slice(from, from + 50).map((content) => sender.send(ticketId, content)));
  }
  assert.equal(it.worker.alive, false);

  for (const gateway of [0, 1]) {
    const shown = await it.rest(gateway).allMessages(ticketId);
    assert.deepEqual(shown.map((message) => message.content), sent, `all are shown by gateway ${gateway + 1}`);
    const forward = await it.rest(gateway).all(`/tickets/${ticketId}/messages?limit=150&after=0`, "messages", "after");
    assert.deepEqual(forward.found.flat().map((message) => message.content), sent);
    const { body } = await it.rest(gateway).get(`/tickets/${ticketId}`);
    assert.equal(body.ticket.messageCount, COUNT);
    assert.equal(body.ticket.lastMessage.content, sent.at(-1));
    const { body: list } = await it.rest(gateway).get("/tickets");
    assert.equal(list.tickets.find((ticket) => ticket._id === ticketId)?.messageCount, COUNT, "the list knows, too");
  }

  await it.worker.start();
  await it.store.settled();
  const stored = await it.store.storedMessages(ticketId);
  assert.equal(stored.length, COUNT);
  assert.equal(new Set(stored.map((message) => message.seq)).size, COUNT);
  assert.deepEqual(stored.map((message) => message.content), sent);
  assert.deepEqual((await it.rest(1).allMessages(ticketId)).map((message) => message.content), sent);
});

test("with the worker stopped, lists and counts show every change at once, from either gateway", async () => {
  const before = (await it.rest().get("/tickets/stats/counts")).body;
  const old = await it.newTicket({ subject: "Persisted" });
  await it.store.settled();
  await it.worker.kill();

  const young = await it.newTicket({ subject: "Not persisted" }, 1);
  const agent = await it.join(old._id, 0);
  const by = { changedBy: "a", changedByName: "A" };
  await agent.done("ticket_status_change", { ticketId: old._id, status: "closed", ...by });
  await agent.done("ticket_status_change", { ticketId: young._id, status: "pending", ...by });
  await agent.done("assign_agent", { ticketId: young._id, agentId: "a", agentName: "A", assignedBy: "a", assignedByName: "A" });
  for (const gateway of [0, 1]) {
    const rest = it.rest(gateway);
    const { tickets } = (await rest.get("/tickets")).body;
    assert.deepEqual(tickets.slice(0, 2).map((ticket) => ticket._id), [young._id, old._id], "newest first");
    assert.deepEqual(tickets.slice(0, 2).map((ticket) => ticket.status), ["pending", "closed"]);
    assert.deepEqual(tickets[0].assignedAgent, { agentId: "a", agentName: "A" });
    const counts = (await rest.get("/tickets/stats/counts")).body;
    assert.equal(counts.total, before.total + 2);
    assert.equal(counts.closed, before.closed + 1);
    assert.equal(counts.pending, before.pending + 1);
    assert.equal(counts.open, before.open);
    assert.equal((await rest.get(`/tickets/${young._id}`)).body.ticket.status, "pending");
  }
  const during = (await it.rest().get("/tickets/stats/counts")).body;
  await it.worker.start();
  await it.store.settled();
  assert.deepEqual((await it.rest().get("/tickets/stats/counts")).body, during, "persisting changes no count");
});
