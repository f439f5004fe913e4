/**
 * Clients that stop taking what they are sent, by the ways that `limits` does not go: one that polls and polls no
 * more, and one that polled, upgraded, and reads no more. What waits for them is bounded, they leave, and nobody else
 * notices.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertDense } from "../harness/checks.js";
import { Polling, RawSocket } from "../harness/raw.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("stalled");

/** More than the packets that may wait for one client. */
const QUEUE = 300;
/** A ping that is not answered ends a session within 40 seconds; then the person has a moment to come back. */
const PATIENCE = 90_000;

const port = () => Number(it.gateways[0].env.PORT);
const CONTENT = "x".repeat(4_000);

/** Members that take everything, one over each transport, and somebody at the other gateway who writes. */
async function others() {
  const { _id: ticketId } = await it.newTicket();
  const reader = await it.join(ticketId, 0, someone("agent"));
  const polling = await it.join(ticketId, 0, someone("agent"), { transports: ["polling"] });
  const sender = await it.join(ticketId, 1);
  return { ticketId, readers: [reader, polling], reader, sender };
}

/** A person who has joined over polling. @param {string} ticketId */
async function polls(ticketId) {
  const person = someone("agent");
  const polling = await Polling.open(port());
  await polling.post(`420${JSON.stringify(["join_ticket", { ticketId, ...person }])}`);
  assert.match((await polling.find("430[")) ?? "", /"ok":true/);
  return { person, polling };
}

/**
 * @param {import("../harness/client.js").Client} reader
 * @param {import("../harness/stack.js").Person} person
 */
const left = (reader, person) => reader.of("user_left").filter((event) => event.userId === person.userId);

/** @param {import("../harness/client.js").Client[]} readers @param {number} sent */
async function missedNothing(readers, sent) {
  for (const reader of readers) {
    await reader.sawMessages(sent);
    const numbered = reader.received.filter(({ event }) => event === "message_received").map(({ payload }) => payload);
    assertDense(numbered, reader.joined.seq);
    assert.equal(numbered.length, sent);
    assert.ok(reader.socket.connected);
  }
}

test("who stops polling is ended, whether it asks again or not", { timeout: 180_000 }, async () => {
  const { ticketId, readers, reader, sender } = await others();
  const [late, silent] = [await polls(ticketId), await polls(ticketId)];
  for (let i = 0; i < QUEUE; i++) await sender.send(ticketId, CONTENT);
  await missedNothing(readers, QUEUE);

  // The queue has a hole by now: to hand it out would be to lose something in silence.
  const told = await late.polling.get();
  assert.equal(told.status, 400, told.all.slice(0, 300));
  assert.deepEqual(JSON.parse(told.body), { code: 1, message: "Session ID unknown" });
  await until("the late one has left", () => left(reader, late.person).length, PATIENCE);

  await until("the silent one has left", () => left(reader, silent.person).length, PATIENCE);
  assert.match((await silent.polling.get()).body, /Session ID unknown/);

  await sender.send(ticketId, "after");
  await missedNothing(readers, QUEUE + 1);
  for (const { person } of [late, silent]) assert.equal(left(reader, person).length, 1);
  const { participants } = await reader.join(ticketId);
  const here = participants.map((/** @type {any} */ each) => each.userId).sort();
  assert.deepEqual(here, [...readers, sender].map(({ person }) => person.userId).sort());
});

test("who upgrades from polling and then reads nothing is cut off", { timeout: 180_000 }, async () => {
  const { ticketId, readers, reader, sender } = await others();
  const { person, polling } = await polls(ticketId);
  const query = `EIO=4&transport=websocket&sid=${polling.sid}`;
  const socket = await RawSocket.open(port(), { query, namespace: false });
  socket.text("2probe");
  await until("the probe's answer", () => socket.find("3probe"));
  socket.text("5");
  await sender.send(ticketId, "over the websocket");
  await until("it is upgraded", () => socket.texts.some((text) => text.includes("over the websocket")));
  socket.socket.pause();

  // What the system buffers for a connection differs: until it is full, and not for ever.
  let sent = 1;
  for (; sent < 8_000 && !left(reader, person).length; sent += 1) await sender.send(ticketId, CONTENT);
  await until("it has left", () => left(reader, person).length, PATIENCE);
  socket.socket.resume();
  await until("its connection is gone", () => socket.ended);
  await missedNothing(readers, sent);
  assert.equal(left(reader, person).length, 1);
});
