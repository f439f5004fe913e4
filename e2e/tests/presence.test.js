/**
 * Who is there: people, not connections.
 *
 * That an event does not come is shown by a later one that does: somebody else, the control, does the same thing
 * for real at the same time or later.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";

const it = stack("presence");

const ids = (people) => people.map((person) => person.userId).sort();
const about = (client, event, person) => client.of(event).filter((each) => each.userId === person.userId);

test("the join says who is there, over both gateways, with names and sides", async () => {
  const { _id: ticketId } = await it.newTicket();
  const agent = await it.join(ticketId, 0, someone("agent"));
  assert.deepEqual(agent.joined.participants, [agent.person]);
  const user = await it.join(ticketId, 1, someone("user"));
  assert.deepEqual(ids(user.joined.participants), ids([agent.person, user.person]));
  assert.deepEqual(user.joined.participants.find((each) => each.userId === agent.person.userId), agent.person);
  const event = await agent.saw("user_joined");
  assert.deepEqual(event, { ticketId, ...user.person });
  assert.deepEqual(user.of("user_joined"), [], "one is not told of oneself");
});

test("two tabs over two gateways are one person: one join, one leave", async () => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 0, someone("agent"));
  const person = someone();
  const one = await it.join(ticketId, 0, person);
  const two = await it.join(ticketId, 1, person);
  assert.deepEqual(ids(two.joined.participants), ids([watcher.person, person]));
  const control = await it.join(ticketId, 1);
  await watcher.saw("user_joined", (each) => each.userId === control.person.userId);
  assert.equal(about(watcher, "user_joined", person).length, 1, "joined once");

  one.close();
  control.close();
  await watcher.saw("user_left", (each) => each.userId === control.person.userId);
  const late = await it.join(ticketId, 0);
  assert.deepEqual(about(watcher, "user_left", person), [], "the other tab is still there");
  assert.ok(ids(late.joined.participants).includes(person.userId));

  two.close();
  const left = await watcher.saw("user_left", (each) => each.userId === person.userId);
  assert.deepEqual(left, { ticketId, ...person, reason: "disconnected" });
  await late.done("leave_ticket", { ticketId });
  await watcher.saw("user_left", (each) => each.userId === late.person.userId);
  assert.equal(about(watcher, "user_left", person).length, 1, "left once");
});

test("leaving is told at once, with its reason, and one hears nothing more", async () => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 1, someone("agent"));
  const user = await it.join(ticketId, 0);
  await user.done("leave_ticket", { ticketId });
  const left = await watcher.saw("user_left");
  assert.deepEqual(left, { ticketId, ...user.person, reason: "left" });
  await watcher.send(ticketId, "anybody?");
  // The second join is answered after whatever would have been delivered before it.
  const again = await user.join(ticketId);
  assert.equal(again.messages.length, 1);
  assert.deepEqual(user.messages, []);
  await watcher.saw("user_joined", () => about(watcher, "user_joined", user.person).length === 2);
});

test("leaving in one tab of two is not told", async () => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 1, someone("agent"));
  const person = someone();
  const one = await it.join(ticketId, 0, person);
  await it.join(ticketId, 1, person);
  await one.done("leave_ticket", { ticketId });
  await one.done("leave_ticket", { ticketId });
  const control = await it.join(ticketId, 0);
  await control.done("leave_ticket", { ticketId });
  await watcher.saw("user_left", (each) => each.userId === control.person.userId);
  assert.deepEqual(about(watcher, "user_left", person), []);
});

test("a page reload makes no event", async () => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 1, someone("agent"));
  const person = someone();
  const before = await it.join(ticketId, 0, person);
  await watcher.saw("user_joined", (each) => each.userId === person.userId);
  const control = await it.join(ticketId, 0);
  before.close();
  const after = await it.join(ticketId, 1, person);
  control.close();
  // The control closed later, so whatever was to be told of the reload has been told by now.
  const left = await watcher.saw("user_left", (each) => each.userId === control.person.userId);
  assert.equal(left.reason, "disconnected");
  assert.deepEqual(about(watcher, "user_left", person), []);
  assert.equal(about(watcher, "user_joined", person).length, 1);
  await after.done("leave_ticket", { ticketId });
  await watcher.saw("user_left", (each) => each.userId === person.userId);
  assert.equal(about(watcher, "user_left", person).length, 1);
});

test("joining twice with one socket is joining once", async () => {
  const { _id: ticketId } = await it.newTicket();
  const watcher = await it.join(ticketId, 1, someone("agent"));
  const user = await it.join(ticketId, 0);
  await user.join(ticketId);
  await watcher.send(ticketId, "hello");
  await user.saw("message_received");
  await watcher.send(ticketId, "again");
  await user.saw("message_received", (event) => event.message.content === "again");
  assert.equal(user.messages.length, 2, "each message once");
  assert.equal(about(watcher, "user_joined", user.person).length, 1);
});
