/**
 * A client written for the Node.js server that this project replaces: no acknowledgements, no ids of its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { io } from "socket.io-client";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("old-client");

/** @param {string} url @param {string[] | undefined} transports */
function oldClient(url, transports, ticketId, me) {
  const socket = io(url, { forceNew: true, ...(transports ? { transports } : {}) });
  const seen = { message_received: [], typing_indicator: [], ticket_updated: [], user_joined: [], user_left: [] };
  for (const [event, list] of Object.entries(seen)) socket.on(event, (payload) => list.push(payload));
  socket.on("exception", (problem) => assert.fail(`exception: ${JSON.stringify(problem)}`));
  socket.on("connect", () => socket.emit("join_ticket", { ticketId, ...me }));
  return { socket, seen };
}

for (const [name, transports] of [
  ["websocket", ["websocket"]],
  ["long-polling", ["polling"]],
  ["long-polling, then websocket", undefined],
]) {
  test(`joins, sends, types, changes the status; the other gateway's client sees all of it (${name})`, async () => {
    const { _id: ticketId } = await it.newTicket();
    const sara = { userId: "u1", userType: "user", userName: "Sara" };
    const omar = { userId: "a1", userType: "agent", userName: "Omar" };
    const here = oldClient(it.url(0), transports, ticketId, sara);
    // Sara is in before Omar comes, or there would be nobody to tell.
    await until("Sara is in", async () => {
      const watcher = await it.join(ticketId, 1);
      watcher.close();
      return watcher.joined.participants.some((person) => person.userId === "u1");
    });
    const there = oldClient(it.url(1), transports, ticketId, omar);
    try {
      await until("Sara sees Omar come", () => here.seen.user_joined.find((event) => event.userId === "a1"));
      const came = here.seen.user_joined.find((event) => event.userId === "a1");
      assert.deepEqual(came, { ticketId, ...omar });

      here.socket.emit("typing", { ticketId, senderId: "u1", senderName: "Sara", isTyping: true });
      await until("Omar sees Sara type", () => there.seen.typing_indicator.length);
      const { isTyping, senderId, senderName } = there.seen.typing_indicator[0];
      assert.deepEqual({ isTyping, senderId, senderName }, { isTyping: true, senderId: "u1", senderName: "Sara" });

      const text = { senderId: "u1", senderType: "user", senderName: "Sara", content: "Where is my order?" };
      here.socket.emit("send_message", { ticketId, ...text });
      for (const { seen } of [here, there]) {
        await until("the message arrives", () => seen.message_received.length);
        const { message } = seen.message_received[0];
        assert.match(message._id, /^[0-9a-f]{24}$/);
        assert.match(message.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        const { senderId, senderType, senderName, content } = message;
        assert.equal(message.ticketId, ticketId);
        assert.deepEqual({ senderId, senderType, senderName, content }, text);
      }
      assert.deepEqual(here.seen.message_received[0].message, there.seen.message_received[0].message);

      const change = { ticketId, status: "closed", changedBy: "a1", changedByName: "Omar" };
      there.socket.emit("ticket_status_change", change);
      for (const { seen } of [here, there]) {
        await until("the change arrives", () => seen.ticket_updated.length);
        const { status, changedBy, changedByName, ticket } = seen.ticket_updated[0];
        assert.deepEqual({ ticketId, status, changedBy, changedByName }, change);
        assert.equal(ticket._id, ticketId);
        assert.equal(ticket.status, "closed");
      }

      there.socket.disconnect();
      await until("Sara sees Omar go", () => here.seen.user_left.find((event) => event.userId === "a1"));
      const gone = here.seen.user_left.find((event) => event.userId === "a1");
      assert.deepEqual(gone, { ticketId, ...omar, reason: "disconnected" });
      assert.equal(here.seen.message_received.length, 1);
      assert.equal(here.seen.typing_indicator.length, 0, "typing does not come back to the sender");
    } finally {
      here.socket.disconnect();
      there.socket.disconnect();
    }
  });
}
