/**
 * Status and assignment, and who wins when two want different things.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertDense, assertRefused } from "../harness/checks.js";
import { someone, stack } from "../harness/stack.js";

const it = stack("changes");

const status = (ticketId, agent, status, more = {}) => ({
  ticketId,
  status,
  changedBy: agent.person.userId,
  changedByName: agent.person.userName,
  ...more,
});
const assign = (ticketId, by, agent, more = {}) => ({
  ticketId,
  agentId: agent?.userId ?? null,
  agentName: agent?.userName,
  assignedBy: by.person.userId,
  assignedByName: by.person.userName,
  ...more,
});

test("a status change is acknowledged with the ticket and told to everyone", async () => {
  const { _id: ticketId } = await it.newTicket();
  const [agent, user] = [await it.join(ticketId, 0, someone("agent")), await it.join(ticketId, 1)];
  const ack = await agent.done("ticket_status_change", status(ticketId, agent, "closed"));
  assert.equal(ack.ticket.status, "closed");
  assert.ok(ack.ticket.closedAt);
  for (const reader of [agent, user]) {
    const event = await reader.saw("ticket_updated");
    assert.deepEqual(event.ticket, ack.ticket);
    assert.equal(event.seq, ack.ticket.seq);
    assert.equal(event.changedBy, agent.person.userId);
    assertDense([event], reader.joined.seq);
  }
  const opened = await agent.done("ticket_status_change", status(ticketId, agent, "open"));
  assert.equal(opened.ticket.status, "open");
  assert.equal(opened.ticket.closedAt, null);
  assert.deepEqual((await it.rest(1).get(`/tickets/${ticketId}`)).body.ticket, opened.ticket);
});

test("an assignment is told by ticket_updated and agent_assigned", async () => {
  const { _id: ticketId } = await it.newTicket();
  const [agent, user] = [await it.join(ticketId, 0, someone("agent")), await it.join(ticketId, 1)];
  const other = someone("agent");
  const ack = await agent.done("assign_agent", assign(ticketId, agent, other));
  assert.deepEqual(ack.ticket.assignedAgent, { agentId: other.userId, agentName: other.userName });
  for (const reader of [agent, user]) {
    const event = await reader.saw("agent_assigned");
    assert.equal(event.ticketId, ticketId);
    assert.deepEqual([event.agentId, event.agentName], [other.userId, other.userName]);
    assert.deepEqual([event.assignedBy, event.assignedByName], [agent.person.userId, agent.person.userName]);
    assert.equal(event.seq, ack.ticket.seq);
    const updated = await reader.saw("ticket_updated");
    assert.deepEqual(updated.ticket, ack.ticket);
  }
  const taken = await agent.done("assign_agent", assign(ticketId, agent, null));
  assert.equal(taken.ticket.assignedAgent, null);
  const event = await user.saw("agent_assigned", (each) => each.agentId === null);
  assert.equal(event.seq, taken.ticket.seq);
  await it.store.settled();
  await it.store.forget(ticketId);
  assert.deepEqual((await it.rest(1).get(`/tickets/${ticketId}`)).body.ticket, taken.ticket, "the same from MongoDB");
});

test("with a stale expectedSeq nothing changes, and the answer carries the current ticket", async () => {
  const { _id: ticketId } = await it.newTicket();
  const agent = await it.join(ticketId, 0, someone("agent"));
  const { seq } = agent.joined.ticket;
  await agent.send(ticketId, "something happens");
  const current = (await it.rest().get(`/tickets/${ticketId}`)).body.ticket;
  for (const [event, payload] of [
    ["ticket_status_change", status(ticketId, agent, "closed", { expectedSeq: seq })],
    ["assign_agent", assign(ticketId, agent, someone("agent"), { expectedSeq: seq })],
  ]) {
    const ack = await agent.ask(event, payload);
    assertRefused(ack, "conflict");
    // The contract says that the conflict carries the ticket.
    assert.deepEqual(ack.error.ticket ?? ack.ticket, current);
  }
  assert.deepEqual((await it.rest(1).get(`/tickets/${ticketId}`)).body.ticket, current);
  const ack = await agent.done("ticket_status_change", status(ticketId, agent, "closed", { expectedSeq: current.seq }));
  assert.equal(ack.ticket.seq, current.seq + 1);
});

test("of agents who act at once on what they saw, one wins", async () => {
  for (let round = 0; round < 5; round++) {
    const { _id: ticketId } = await it.newTicket();
    const agents = [];
    for (let i = 0; i < 4; i++) agents.push(await it.join(ticketId, i % 2, someone("agent")));
    const expectedSeq = agents[0].joined.ticket.seq;
    const acks = await Promise.all(
      agents.map((agent) => agent.ask("assign_agent", assign(ticketId, agent, agent.person, { expectedSeq }))),
    );
    const won = acks.filter((ack) => ack.ok);
    assert.equal(won.length, 1);
    for (const ack of acks.filter((each) => !each.ok)) {
      assertRefused(ack, "conflict");
      assert.deepEqual((ack.error.ticket ?? ack.ticket).assignedAgent, won[0].ticket.assignedAgent);
    }
    for (const agent of agents) {
      await agent.saw("agent_assigned");
      assert.equal(agent.of("agent_assigned").length, 1);
      agent.close();
    }
  }
});

test("messages, changes and assignments share one counter", async () => {
  const { _id: ticketId } = await it.newTicket();
  const [agent, user] = [await it.join(ticketId, 0, someone("agent")), await it.join(ticketId, 1)];
  await user.send(ticketId, "one");
  await agent.done("assign_agent", assign(ticketId, agent, agent.person));
  await agent.send(ticketId, "two");
  const { ticket } = await agent.done("ticket_status_change", status(ticketId, agent, "pending"));
  assert.equal(ticket.seq, 5);
  assert.equal(ticket.messageCount, 2);
  for (const reader of [agent, user]) {
    await reader.saw("ticket_updated", (event) => event.status === "pending");
    const bySeq = new Map();
    for (const { event, payload } of reader.received) {
      if (["message_received", "ticket_updated", "agent_assigned"].includes(event)) bySeq.set(payload.seq, payload);
    }
    assertDense([...bySeq.values()], reader.joined.seq);
  }
});
