/**
 * The queue: who follows it hears of every ticket's changes, and of each once, also of those that it is in.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";

const it = stack("queue");

const change = (agent, ticketId, status) =>
  agent.done("ticket_status_change", {
    ticketId,
    status,
    changedBy: agent.person.userId,
    changedByName: agent.person.userName,
  });

test("a change is told once to who follows the queue, is in the ticket, or both", async () => {
  const [ticketId, other, barrier] = [await it.newTicket(), await it.newTicket(), await it.newTicket()].map((each) => each._id);
  const actor = await it.join(ticketId, 0, someone("agent"));
  const joinedFirst = await it.join(ticketId, 1, someone("agent"));
  const joinedLast = await it.join(other, 0, someone("agent"));
  const queueOnly = await it.join(other, 1, someone("agent"));
  const followers = [joinedFirst, joinedLast, queueOnly];
  for (const follower of followers) assert.ok((await follower.done("subscribe_queue", {})).counts);
  const { userId, userType, userName } = joinedLast.person;
  await joinedLast.done("join_ticket", { ticketId, userId, userType, userName });

  const told = (client, seq) => client.of("ticket_updated").filter((event) => event.ticketId === ticketId && event.seq === seq);
  let round = 0;
  const changed = async () => {
    const statuses = ["pending", "closed", "open"];
    const { ticket } = await change(actor, ticketId, statuses[round % 3]);
    // Told the same way, and later.
    const later = await change(actor, barrier, statuses[round++ % 3]);
    const came = (event) => event.ticketId === barrier && event.seq === later.ticket.seq;
    for (const follower of followers) await follower.saw("ticket_updated", came);
    for (const client of [actor, ...followers]) {
      await client.saw("ticket_updated", (event) => event.ticketId === ticketId && event.seq === ticket.seq);
      assert.equal(told(client, ticket.seq).length, 1);
    }
  };
  await changed();

  await joinedLast.done("leave_ticket", { ticketId });
  await changed();

  await joinedFirst.done("unsubscribe_queue", {});
  followers.shift();
  await changed();
  await joinedFirst.saw("ticket_updated", (event) => event.ticketId === ticketId && event.ticket.status === "open" && event.seq > 3);
  assert.equal(joinedFirst.of("ticket_updated").filter((event) => event.ticketId === barrier).length, 2);
});
