/**
 * Hostile clients: more than three hundred inputs that are wrong or odd, over raw websockets, long-polling and REST.
 *
 * Each must be answered by the error that the contract has for it, or end that connection. None may be answered with
 * a 5xx, hang, reach a client that listens, or cost memory that does not come back.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { allowed, early, packets as events, payloads } from "../harness/hostile/events.js";
import { bodies, frames, handshakes, odd, packets } from "../harness/hostile/frames.js";
import { requests } from "../harness/hostile/rest.js";
import { exchange, Polling, RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("hostile", { setup });
const BARRIER = '42987654["leave_ticket",{"ticketId":"0123456789abcdef01234567"}]';
const ANSWERED = "43987654[";
const ROUNDS = 3;
/** Codes of the problems that the HTTP server's parser answers. */
const OF_THE_PARSER = ["invalid_payload", "payload_too_large"];

/** @type {string} */
let watched;
/** @type {string} */
let other;
/** @type {import("../harness/client.js").Client} */
let witness;
let count = 0;

async function setup() {
  [{ _id: watched }, { _id: other }] = [await it.newTicket(), await it.newTicket()];
  witness = await it.join(watched, 0);
}

const port = () => Number(it.gateways[0].env.PORT);

/** What became of what was sent: the first sign of it. */
async function outcome(socket, name) {
  // What was sent is handled in order, so this is answered last.
  socket.text(BARRIER);
  await until(`an answer, or the end of the connection: ${name}`, () => socket.ended || socket.find(ANSWERED));
  return told(socket.find("437["), socket.find('42["exception"'), socket.ended);
}

/** @param {string | undefined} ack @param {string | undefined} exception @param {boolean} ended */
function told(ack, exception, ended) {
  if (ack) {
    const [answer] = JSON.parse(ack.slice(3));
    return { kind: answer.ok ? "ok" : answer.error.code, field: answer.error?.field };
  }
  if (exception) return { kind: `exception:${JSON.parse(exception.slice(2))[1].error.code}` };
  return { kind: ended ? "closed" : "ignored" };
}

/** @param {import("../harness/hostile/frames.js").Case} each */
async function overWebsocket(each) {
  const socket = await RawSocket.open(port(), { namespace: each.namespace });
  try {
    each.input.forEach((part) => socket.write(part));
    const became = await outcome(socket, each.name);
    const ending = became.kind === "ignored" && !each.expect.includes("ignored") && each.expect.includes("closed");
    if (!ending) return became;
    // What came in with it may be answered while its connection ends.
    await until(`the end of the connection: ${each.name}`, () => socket.ended);
    return { kind: "closed" };
  } finally {
    socket.close();
  }
}

/** @param {import("../harness/hostile/frames.js").Case} each */
async function overPolling(each) {
  const polling = await Polling.open(port());
  for (const part of [...each.input, BARRIER]) {
    const answer = await polling.post(part);
    assert.ok(answer.status < 500, `${each.name}: ${answer.status}`);
    if (answer.status !== 200) return { kind: "closed" };
  }
  const found = await polling.find('42["exception"', ANSWERED);
  return told(undefined, found?.startsWith("42") ? found : undefined, !found);
}

/** @param {import("../harness/hostile/frames.js").Case} each */
async function check(each) {
  count += 1;
  const { kind, field } = await (each.transport === "polling" ? overPolling(each) : overWebsocket(each));
  assert.ok(each.expect.includes(kind), `${each.name}: ${kind} instead of ${each.expect.join(" or ")}`);
  if (each.field) assert.equal(field, each.field, each.name);
  assert.equal((await it.rest().get("/health")).status, 200, `/health after ${each.name}`);
}

afterEach(async () => {
  assert.equal((await it.rest().get("/health")).status, 200);
  assert.ok(witness.socket.connected, "a client that listens");
  const mark = `mark ${count}`;
  await witness.send(watched, mark);
  await witness.saw("message_received", ({ message }) => message.content === mark);
  // Nothing else came, in spite of all.
  assert.deepEqual(witness.messages.filter(({ content }) => !content.startsWith("mark ")), []);
  assert.deepEqual(witness.of("ticket_updated"), []);
});

const groups = {
  "websocket frames": () => frames,
  "frames that are odd": () => odd,
  "Engine.IO packets": () => packets,
  "polled bodies": () => bodies,
  "Socket.IO packets": () => events,
  "packets before the namespace": () => early,
  payloads: () => payloads(watched),
  "odd texts that are good": () => allowed(other),
};

for (const [name, cases] of Object.entries(groups)) {
  test(name, async () => {
    const wrong = [];
    for (const each of cases()) await check(each).catch((error) => wrong.push(error.message));
    assert.deepEqual(wrong, []);
  });
}

test("payloads, over polling", async () => {
  const polling = await Polling.open(port());
  // Every seventh: the codec is the same, the way to it is not.
  const some = payloads(watched).filter((_, i) => i % 7 === 0);
  for (const [i, each] of some.entries()) {
    count += 1;
    const text = unframed(each.input[0]).replace(/^427/, `42${i + 10}`);
    assert.equal((await polling.post(text)).status, 200, each.name);
    const answer = told((await polling.find(`43${i + 10}[`))?.replace(/^43\d+/, "437"), undefined, true);
    assert.ok(each.expect.includes(answer.kind), `${each.name}: ${answer.kind}`);
  }
});

/** The text in a masked frame. @param {Buffer} bytes */
function unframed(bytes) {
  const skip = { 126: 4, 127: 10 }[bytes[1] & 127] ?? 2;
  const key = bytes.subarray(skip, skip + 4);
  return bytes.subarray(skip + 4).map((byte, i) => byte ^ key[i & 3]).toString("utf8");
}

test("who leaves the namespace may come again", async () => {
  const socket = await RawSocket.open(port());
  socket.text("41");
  socket.texts.length = 0;
  // The server may not have done with the first one.
  await until("a second connection", () => {
    if (!socket.find("40{")) socket.text("40");
    return socket.ended || socket.find("40{");
  });
  if (!socket.ended) assert.notEqual((await outcome(socket, "again")).kind, "closed");
  socket.close();
});

test("handshakes", async () => {
  for (const { name, input } of handshakes) {
    count += 1;
    const answer = await exchange(port(), input);
    const refused = answer.status >= 400 && answer.status < 500;
    assert.ok(refused, `${name}: ${answer.all.slice(0, 200)}`);
    const version = name.includes("version") && name.includes("websocket");
    if (version) assert.match(answer.head, /^HTTP\/1\.1 426 [^]*sec-websocket-version: 13/i);
  }
});

test("somebody else's session", async () => {
  const [mine, theirs] = [await Polling.open(port()), await Polling.open(port())];
  // Two polls of one session at once: both can't be its client.
  const [one, two] = await Promise.all([theirs.get(), theirs.get()]);
  assert.ok([one.status, two.status].some((status) => status === 400) || one.body !== two.body, `${one.all} ${two.all}`);
  assert.equal((await mine.post('427["leave_ticket",{}]')).status, 200);
  assert.match((await mine.find("437[")) ?? "", /invalid_payload/);
});

test("requests", async () => {
  for (const { name, input, expect } of requests(watched)) {
    count += 1;
    const { status, head, body, closed, all } = await exchange(port(), input);
    const shown = `${name}: ${all.slice(0, 400)}`;
    assert.ok(status < 500, shown);
    if (expect.includes(status)) continue;
    const problem = /^content-type: application\/problem\+json/im.test(head) ? JSON.parse(body) : undefined;
    const byParser = expect.includes("http") && (status ? OF_THE_PARSER.includes(problem?.code) : closed);
    assert.ok(byParser || expect.includes(problem?.code), shown);
    // A second answer would be to a request that was smuggled inside the first.
    assert.equal(all.match(/HTTP\/1\.1 /g)?.length ?? 0, status ? 1 : 0, shown);
  }
});

/** MiB that the gateway has in memory. */
function resident() {
  const status = readFileSync(`/proc/${it.gateways[0].child.pid}/status`, "utf8");
  return Number(status.match(/^VmRSS:\s+(\d+)/m)?.[1]) / 1024;
}

test("memory comes back", { skip: process.platform !== "linux" && "it is read from /proc" }, async () => {
  assert.ok(count > 300, `${count} inputs`);
  const levels = [resident()];
  for (let round = 1; round < ROUNDS; round++) {
    for (const cases of Object.values(groups)) {
      const all = cases();
      for (let i = 0; i < all.length; i += 8) {
        await Promise.all(all.slice(i, i + 8).map((each) => (each.transport === "polling" ? overPolling(each) : overWebsocket(each))));
      }
    }
    for (const { input } of requests(watched)) await exchange(port(), input);
    levels.push(resident());
  }
  const [first, second, third] = levels;
  assert.ok(third - first < 64, `MiB after each round: ${levels.map(Math.round).join(", ")}`);
  assert.ok(third - second < 24, `MiB after each round: ${levels.map(Math.round).join(", ")}`);
});
