/**
 * Whoever comes back with the last seq that it saw gets exactly what it missed, on any gateway, or a full reload.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";

const it = stack("resume");

const contents = (messages) => messages.map((message) => message.content);
const numbered = (from, count) => Array.from({ length: count }, (_, i) => `m${from + i}`);

/** Sends messages without waiting for each, as `who`. */
async function flood(who, ticketId, texts) {
  await Promise.all(texts.map((text) => who.send(ticketId, text)));
}

test("what was missed comes once, in order, from the other gateway", async () => {
  const { _id: ticketId } = await it.newTicket();
  const away = await it.join(ticketId, 0, someone());
  const writer = await it.join(ticketId, 1, someone("agent"));
  await writer.send(ticketId, "seen");
  const { seq } = await away.saw("message_received");
  const { epoch } = away.joined;
  away.close();
  await flood(writer, ticketId, numbered(0, 20));
  await writer.send(ticketId, "a note", { internal: true });
  await writer.send(ticketId, "last");

  const back = await it.connect(1);
  back.person = away.person;
  const joined = await back.join(ticketId, { since: seq, epoch });
  assert.equal(joined.recovered, true);
  assert.deepEqual(contents(joined.messages), [...numbered(0, 20), "last"]);
  await writer.send(ticketId, "after");
  const next = await back.saw("message_received");
  assert.equal(next.message.content, "after");
  assert.equal(next.prevSeq, joined.seq);

  const nothing = await back.join(ticketId, { since: next.seq });
  assert.deepEqual([nothing.recovered, nothing.messages], [true, []]);
  const colleague = await it.connect(0);
  colleague.person = someone("agent");
  const all = await colleague.join(ticketId, { since: seq, epoch });
  assert.deepEqual(contents(all.messages), [...numbered(0, 20), "a note", "last", "after"]);
});

test("300 are recovered, 301 are a full reload", async () => {
  const { _id: ticketId } = await it.newTicket();
  const writer = await it.join(ticketId, 0, someone());
  const { seq, epoch } = writer.joined;
  await flood(writer, ticketId, numbered(0, 300));
  const back = await it.connect(1);
  const joined = await back.join(ticketId, { since: seq, epoch });
  assert.equal(joined.recovered, true);
  assert.deepEqual(contents(joined.messages), numbered(0, 300));
  await writer.send(ticketId, "one more");
  const reloaded = await back.join(ticketId, { since: seq, epoch });
  assert.equal(reloaded.recovered, false);
  assert.deepEqual(contents(reloaded.messages), [...numbered(251, 49), "one more"]);
});

test("where the live log does not reach back, MongoDB does", async () => {
  const { _id: ticketId } = await it.newTicket();
  const writer = await it.join(ticketId, 0, someone("agent"));
  const { seq, epoch } = writer.joined;
  await flood(writer, ticketId, numbered(0, 150));
  // Changes take places in the log, but are no messages.
  for (let i = 0; i < 20; i++) {
    const change = { ticketId, status: "pending", changedBy: "a1", changedByName: "A" };
    await Promise.all(Array.from({ length: 10 }, () => writer.done("ticket_status_change", change)));
    await it.store.settled();
  }
  await flood(writer, ticketId, numbered(150, 10));
  const back = await it.connect(1);
  back.person = someone("agent");
  const joined = await back.join(ticketId, { since: seq, epoch });
  assert.equal(joined.recovered, true);
  assert.deepEqual(contents(joined.messages), numbered(0, 160));
});

test("another epoch, or a seq that was never given, is a full reload", async () => {
  const { _id: ticketId } = await it.newTicket();
  const writer = await it.join(ticketId, 0, someone());
  const { seq, epoch } = writer.joined;
  await flood(writer, ticketId, numbered(0, 60));
  const back = await it.connect(1);
  for (const claim of [{ since: seq, epoch: "another" }, { since: seq + 61, epoch }]) {
    const joined = await back.join(ticketId, claim);
    assert.equal(joined.recovered, false);
    assert.deepEqual(contents(joined.messages), numbered(10, 50));
    assert.equal(joined.epoch, epoch);
  }
});
