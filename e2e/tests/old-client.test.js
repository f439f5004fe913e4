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

test("numbers are taken as the former server cast them, wherever an id, a name or a content is due", async () => {
  const { _id: ticketId } = await it.newTicket({ userId: 5, userName: 6 });
  const client = await it.connect(0);
  const reader = await it.join(ticketId, 1);
  await client.done("join_ticket", { ticketId, userId: 0, userType: "user", userName: -1 });
  assert.deepEqual(await reader.saw("user_joined"), { ticketId, userId: "0", userType: "user", userName: "-1" });
  for (const content of [0, -0, 1e21, 1e-7, 1e20, Number.MAX_SAFE_INTEGER, 0.1]) {
    const { message } = await client.done("send_message", { ticketId, senderId: 0, senderType: "user", senderName: -1, content });
    assert.equal(message.content, String(content));
  }
  await client.done("typing", { ticketId, senderId: 0, senderName: -1, isTyping: true });
  assert.deepEqual((({ senderId, senderName }) => [senderId, senderName])(await reader.saw("typing_indicator")), ["0", "-1"]);
  await client.done("ticket_status_change", { ticketId, status: "pending", changedBy: 7, changedByName: 8 });
  const changed = await reader.saw("ticket_updated");
  assert.deepEqual([changed.changedBy, changed.changedByName], ["7", "8"]);
  const { ticket } = await client.done("assign_agent", { ticketId, agentId: 9, agentName: 10, assignedBy: 7, assignedByName: 8 });
  assert.deepEqual(ticket.assignedAgent, { agentId: "9", agentName: "10" });
  for (const content of [true, false, null, undefined, [1], { a: 1 }, NaN, Infinity]) {
    const { error } = await client.ask("send_message", { ticketId, senderId: 0, senderType: "user", senderName: -1, content });
    assert.deepEqual([error.code, error.field], ["invalid_payload", "content"], String(content));
  }
});

test("text that shows nothing is empty, by event and over REST", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.join(ticketId, 0);
  const nothing = ["", " ", "\t\n\r", "\u00a0\u3000", "\u200b", "\u200c\u200d\u2060", "\ufeff", "\u3164", "\u115f\u1160", "\uffa0", "\u2800", "\u180e", "\u00ad", "\u200e\u200f", "\u202e", "\ufe0f", "\u{e0020}", " \u200b\u3164\ufeff "];
  for (const content of nothing) {
    const shown = JSON.stringify(content.replace(/[^]/gu, (c) => `U+${c.codePointAt(0)?.toString(16)}`));
    const { ok, error } = await client.ask("send_message", client.message(ticketId, content));
    assert.deepEqual([ok, error?.code, error?.field], [false, "invalid_payload", "content"], shown);
    assert.equal((await it.rest().post("/tickets", { subject: content })).status, 422, shown);
    assert.equal((await client.ask("join_ticket", { ticketId, ...client.person, userName: content })).error?.field, "userName", shown);
  }
  // With something to see it is kept as it is.
  assert.equal((await client.send(ticketId, "\u200f\u0645\u200f")).message.content, "\u200f\u0645\u200f");
});

test("an event without a callback is answered by `exception`, whatever is wrong with it", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.join(ticketId, 0);
  /** @type {[string, any[], string][]} */
  const wrong = [
    ["join_ticket", [{ ticketId: "1" }], "invalid_payload"],
    ["join_ticket", [{ ...client.person, ticketId: "0123456789abcdef01234567" }], "ticket_not_found"],
    ["leave_ticket", [], "invalid_payload"],
    ["send_message", ["text"], "invalid_payload"],
    ["send_message", [null], "invalid_payload"],
    ["send_message", [[client.message(ticketId, "in a list")]], "invalid_payload"],
    ["send_message", [Buffer.from("binary")], "invalid_payload"],
    ["typing", [7], "invalid_payload"],
    ["ticket_status_change", [{ ticketId, status: "done", changedBy: "u", changedByName: "U" }], "invalid_payload"],
    ["assign_agent", [{ ticketId }], "invalid_payload"],
    ["sendMessage", [client.message(ticketId, "another name")], "unknown_event"],
  ];
  for (const [i, [event, args, code]] of wrong.entries()) {
    client.socket.emit(event, ...args);
    await until(`an exception for ${event}, ${i}`, () => client.of("exception").length === i + 1);
    const told = client.of("exception").at(-1);
    assert.deepEqual([told.event, told.error.code], [event, code]);
  }
});

test("of two tabs on two gateways one stops typing, leaves or is closed: the person goes on typing", async () => {
  const { _id: ticketId } = await it.newTicket();
  const ends = {
    "stops": (/** @type {any} */ tab) => tab.typing(ticketId, false),
    "leaves": (/** @type {any} */ tab) => tab.done("leave_ticket", { ticketId }),
    "is closed": (/** @type {any} */ tab) => tab.close(),
  };
  const reader = await it.join(ticketId, 1);
  for (const [how, end] of Object.entries(ends)) {
    const one = await it.join(ticketId, 0);
    const other = await it.join(ticketId, 1, one.person);
    const typist = one.person.userId;
    const states = () => reader.of("typing_indicator").filter(({ senderId }) => senderId === typist).map(({ isTyping }) => isTyping);
    await one.typing(ticketId, true);
    await reader.saw("typing_indicator", ({ senderId }) => senderId === typist);
    await other.typing(ticketId, true);
    // Another person's passes the same way, behind it.
    const barrier = await it.join(ticketId, 1);
    await barrier.typing(ticketId, true);
    await reader.saw("typing_indicator", ({ senderId }) => senderId === barrier.person.userId);
    await end(one);
    const later = await it.join(ticketId, 0);
    await later.typing(ticketId, true);
    await reader.saw("typing_indicator", ({ senderId }) => senderId === later.person.userId);
    assert.ok(states().every((state) => state), `one tab ${how}: ${states()}`);
    await other.typing(ticketId, false);
    await until("it ends", () => states().at(-1) === false);
    [one, other, barrier, later].forEach((each) => each.close());
  }
});
