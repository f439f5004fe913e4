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

test("numbers, half an emoji, a slash at the end, and priorities of the old server", async () => {
  const opened = await it.rest().post("/tickets/", { subject: "s", userId: 17, userName: 18, priority: "medium" });
  assert.equal(opened.status, 201, opened.text);
  const { _id: ticketId, userId, userName, priority } = opened.body.ticket;
  assert.deepEqual([userId, userName, priority], ["17", "18", "normal"]);
  const client = await it.connect(0);
  await client.done("join_ticket", { ticketId, userId: 17, userType: "user", userName: 18 });
  for (const [content, expected] of [[42, "42"], [7.5, "7.5"], ["half \ud83d", "half \ufffd"], ["\ude00 \ud83d\ude00", "\ufffd 😀"]]) {
    const { message } = await client.done("send_message", { ticketId, senderId: 17, senderType: "user", senderName: 18, content });
    assert.deepEqual([message.content, message.senderId, message.senderName], [expected, "17", "18"]);
  }
  for (const path of ["/health/", "/tickets/", `/tickets/${ticketId}/`, `/tickets/${ticketId}/messages/`, "/tickets/stats/counts/", "/tickets/?limit=1"]) {
    assert.equal((await it.rest().get(path)).status, 200, path);
  }
  const raw = '{"subject":"cut \\ud83d"}';
  assert.equal((await it.rest().ask("POST", "/tickets", { raw })).body.ticket.subject, "cut \ufffd");
});

test("unknown parameters of a list are ignored, and named", async () => {
  const { _id: ticketId } = await it.newTicket();
  const listed = await it.rest().get("/tickets?stauts=open&limit=1&foo=&foo=2");
  assert.equal(listed.status, 200);
  assert.deepEqual(listed.body.ignored, ["foo", "stauts"]);
  assert.deepEqual((await it.rest().get(`/tickets/${ticketId}/messages?page=2&before=9`)).body.ignored, ["page"]);
  assert.ok(!("ignored" in (await it.rest().get("/tickets?limit=1")).body));
});

test("control and bidirectional characters in names and ids are refused with the field", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.connect(0);
  const good = { ticketId, senderId: "u", senderType: "user", senderName: "U", content: "c" };
  for (const field of ["senderId", "senderName"]) {
    for (const hidden of ["a\u202eb", "a\u0007b", "\u200fa", "a\u2066", "a\nb"]) {
      const { error } = await client.ask("send_message", { ...good, [field]: hidden });
      assert.deepEqual([error.code, error.field], ["invalid_payload", field], JSON.stringify(hidden));
    }
  }
});
