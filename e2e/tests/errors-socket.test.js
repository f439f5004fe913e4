/**
 * Every mistake over the socket gets an answer that says what it was, and the socket goes on.
 */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { assertError, assertRefused } from "../harness/checks.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("errors-socket", { setup });
const NOBODY = "0123456789abcdef01234567";

/** @type {string} */
let ticketId;
/** @type {import("../harness/client.js").Client} */
let client;
/** @type {Record<string, Record<string, unknown>>} a good payload of each event */
let good;

async function setup() {
  ({ _id: ticketId } = await it.newTicket());
  client = await it.join(ticketId, 0);
  good = {
    join_ticket: { ticketId, userId: "u", userType: "user", userName: "U" },
    leave_ticket: { ticketId },
    send_message: { ticketId, senderId: "u", senderType: "user", senderName: "U", content: "hello" },
    typing: { ticketId, senderId: "u", senderName: "U", isTyping: false },
    ticket_status_change: { ticketId, status: "open", changedBy: "u", changedByName: "U" },
    assign_agent: { ticketId, agentId: "a", agentName: "A", assignedBy: "u", assignedByName: "U" },
  };
}

// Nothing of this may harm the process, or the socket.
afterEach(async () => {
  assert.equal((await it.rest().get("/health")).status, 200);
  assert.ok(client.socket.connected);
  await client.send(ticketId, "still here");
});

const EVENTS = ["join_ticket", "leave_ticket", "send_message", "typing", "ticket_status_change", "assign_agent"];
const without = (payload, field) => Object.fromEntries(Object.entries(payload).filter(([name]) => name !== field));

for (const event of EVENTS) {
  test(`${event}: a missing field is named`, async () => {
    for (const field of Object.keys(good[event])) {
      const ack = await client.ask(event, without(good[event], field));
      assertRefused(ack, "invalid_payload", field, `${event} without ${field}`);
    }
  });

  test(`${event}: a field of another type is named`, async () => {
    for (const [field, value] of Object.entries(good[event])) {
      const others = [{ $gt: "" }, [value]];
      // Of people and of what they say the text of a number is taken.
      if (!/(By|Id|Name|content)$/.test(field) || field === "ticketId") others.push(17);
      if (typeof value === "boolean") others.push("yes");
      else others.push(true, "");
      for (const wrong of others) {
        const ack = await client.ask(event, { ...good[event], [field]: wrong });
        assertRefused(ack, "invalid_payload", field, `${event}, ${field}: ${JSON.stringify(wrong)}`);
      }
    }
  });

  test(`${event}: a payload that is no object is answered`, async () => {
    const payloads = [["text"], [[1, 2]], [null], [17], [true], [Buffer.from([1, 2, 3])], [], [{ ...good[event], blob: Buffer.from([1]) }]];
    for (const payload of payloads.slice(0, -1)) {
      const ack = await client.ask(event, ...payload);
      assertRefused(ack, "invalid_payload", undefined, `${event} with ${JSON.stringify(payload)}`);
    }
    // Binary in a field that nobody asked for may be ignored or refused, not swallowed.
    const ack = await client.ask(event, ...(payloads.at(-1) ?? []));
    assert.equal(typeof ack.ok, "boolean");
    if (event === "leave_ticket") await client.join(ticketId);
  });

  test(`${event}: a ticketId of another format, and one of no ticket`, async () => {
    for (const wrong of ["17", "g".repeat(24), `${NOBODY}0`, "../tickets", " ".repeat(24), "\u0000".repeat(24)]) {
      const ack = await client.ask(event, { ...good[event], ticketId: wrong });
      assertRefused(ack, "invalid_payload", "ticketId", `${event}, ticketId: ${JSON.stringify(wrong)}`);
    }
    if (event === "leave_ticket") return; // Leaving where one is not changes nothing.
    if (event === "typing") return; // The same.
    assertRefused(await client.ask(event, { ...good[event], ticketId: NOBODY }), "ticket_not_found", undefined, event);
  });

  test(`${event}: without an acknowledgement the failure comes as exception`, async () => {
    client.received.length = 0;
    client.socket.emit(event, { ...good[event], ticketId: { $gt: "" } });
    const problem = await client.saw("exception");
    assert.equal(problem.event, event);
    assertError(problem.error, "invalid_payload", "ticketId");
    client.received.length = 0;
    client.socket.emit(event, Buffer.from([1, 2, 3]));
    const binary = await client.saw("exception");
    assert.equal(binary.event, event);
    assertError(binary.error, "invalid_payload");
    client.received.length = 0;
    client.socket.emit(event);
    assertError((await client.saw("exception")).error, "invalid_payload");
  });
}

test("limits: what is over is refused with the field, what is at the limit is taken", async () => {
  const over = {
    send_message: { content: "x".repeat(8_193), senderName: "n".repeat(129), senderId: "i".repeat(129), clientMessageId: "c".repeat(65) },
    join_ticket: { userName: "n".repeat(129), userId: "i".repeat(129) },
    assign_agent: { agentId: "i".repeat(129), agentName: "n".repeat(129), assignedByName: "n".repeat(129) },
    ticket_status_change: { changedBy: "i".repeat(129), changedByName: "n".repeat(129) },
  };
  for (const [event, fields] of Object.entries(over)) {
    for (const [field, value] of Object.entries(fields)) {
      const ack = await client.ask(event, { ...good[event], [field]: value });
      assertRefused(ack, "invalid_payload", field, `${event}, ${field} of ${value.length}`);
      await client.done(event, { ...good[event], [field]: value.slice(1) });
    }
  }
  for (const blank of ["", "   ", "\n\t", "\ufeff", "\u200b\u200d", "\u3164", "\u2800"]) {
    assertRefused(await client.ask("send_message", { ...good.send_message, content: blank }), "invalid_payload", "content");
  }
});

test("values that are not in the contract", async () => {
  for (const [event, field, value] of [
    ["join_ticket", "userType", "admin"],
    ["join_ticket", "since", -1],
    ["join_ticket", "since", "1"],
    ["send_message", "senderType", "bot"],
    ["send_message", "internal", "yes"],
    ["send_message", "clientMessageId", 17],
    ["send_message", "clientMessageId", { $ne: null }],
    ["ticket_status_change", "status", "deleted"],
    ["ticket_status_change", "expectedSeq", "1"],
    ["ticket_status_change", "expectedSeq", 1.5],
    ["assign_agent", "expectedSeq", {}],
  ]) {
    const ack = await client.ask(event, { ...good[event], [field]: value });
    assertRefused(ack, "invalid_payload", field, `${event}, ${field}: ${JSON.stringify(value)}`);
  }
});

test("an error does not repeat what was sent", async () => {
  const ack = await client.ask("join_ticket", { ...good.join_ticket, userType: "<script>alert(1)</script>" });
  assert.ok(!JSON.stringify(ack).includes("script"), JSON.stringify(ack));
});

test("an event that is not in the contract", async () => {
  for (const event of ["no_such_event", "message", "SEND_MESSAGE", "__proto__", ""]) {
    assertRefused(await client.ask(event, { ticketId }), "unknown_event", undefined, event);
    client.received.length = 0;
    client.socket.emit(event, { ticketId });
    const problem = await client.saw("exception");
    assert.equal(problem.event, event);
    assertError(problem.error, "unknown_event");
  }
  // Two mistakes at once: either may be told.
  const both = await client.ask("no_such_event", Buffer.from([1]));
  assertRefused(both, both.error?.code === "invalid_payload" ? "invalid_payload" : "unknown_event");
  assertRefused(await client.ask("no_such_event"), "unknown_event");
});

test("a conflict carries the current ticket", async () => {
  const payload = { ...good.ticket_status_change, expectedSeq: 1 };
  const ack = await client.ask("ticket_status_change", payload);
  assertRefused(ack, "conflict");
  const { ticket } = (await it.rest(1).get(`/tickets/${ticketId}`)).body;
  assert.deepEqual(ack.error.ticket ?? ack.ticket, ticket);
  client.received.length = 0;
  client.socket.emit("ticket_status_change", payload);
  assertError((await client.saw("exception")).error, "conflict");
});

for (const transport of ["websocket", "polling"]) {
  test(`a frame over 64 KiB is answered, or ends that connection: never dropped in silence (${transport})`, async () => {
    const big = await it.join(ticketId, 0, undefined, { transports: [transport] });
    let ended = false;
    big.socket.on("disconnect", () => (ended = true));
    /** @type {any} */
    let ack;
    big.socket.emit("send_message", big.message(ticketId, "x".repeat(80_000)), (/** @type {any} */ answer) => (ack = answer));
    await until("an answer or the end", () => ack || ended);
    if (ack) assertRefused(ack, "payload_too_large");
    big.close();
  });
}

test("a flood of mistakes is answered one by one, in order", async () => {
  const acks = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      i % 2 ? client.ask("send_message", { ...good.send_message, content: [i] }) : client.ask("send_message", { ...good.send_message, content: `fine ${i}` }),
    ),
  );
  acks.forEach((ack, i) => (i % 2 ? assertRefused(ack, "invalid_payload", "content") : assert.equal(ack.ok, true)));
  const seqs = acks.filter((ack) => ack.ok).map((ack) => ack.message.seq);
  assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b));
});
