/**
 * Clients that do not read, that ask too fast, or that are too many: they hurt nobody but themselves.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../harness/client.js";
import { Polling } from "../harness/raw.js";
import { Raw } from "../harness/stalling.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("limits", { env: { EVENT_RATE: "1000", ABUSE_LIMIT: "100", MAX_CONNECTIONS: "6" } });

/** @param {string} ticketId @param {import("../harness/stack.js").Person} person */
async function stalled(ticketId, person) {
  const raw = await new Raw(it.url(0)).connected();
  raw.frame(`420${JSON.stringify(["join_ticket", { ticketId, ...person }])}`);
  await raw.saw('"ok":true');
  raw.stall();
  return raw;
}

test("a client that does not read is closed and leaves; the others miss nothing", async () => {
  const { _id: ticketId } = await it.newTicket();
  const reader = await it.join(ticketId, 0, someone("agent"));
  const sender = await it.join(ticketId, 1);
  const person = someone("agent");
  const raw = await stalled(ticketId, person);
  await reader.saw("user_joined", (event) => event.userId === person.userId);
  const content = "x".repeat(4_000);
  let sent = 0;
  const left = () => reader.of("user_left").some((event) => event.userId === person.userId);
  // What the system buffers for a connection differs: until it is full, and not for ever.
  for (; sent < 8_000 && !left(); sent += 1) {
    const ack = await sender.ask("send_message", sender.message(ticketId, content));
    if (ack.ok) continue;
    assert.equal(ack.error.code, "rate_limited");
    await new Promise((done) => setTimeout(done, ack.error.retryAfterMs));
    sent -= 1;
  }
  await reader.saw("user_left", (event) => event.userId === person.userId);
  await reader.sawMessages(sent);
  assert.equal((await it.rest(0).get("/health")).status, 200);
  [reader, sender, raw].forEach((each) => each.close());
});

test("a flood is refused, and its connection closed; others are served", async () => {
  const { _id: ticketId } = await it.newTicket();
  const flooder = await it.join(ticketId, 0);
  const other = await it.join(ticketId, 0);
  const metrics = async () => (await fetch(`http://127.0.0.1:${it.gateways[0].env.OPS_PORT}/metrics`)).text();
  const before = await metrics();
  /** @type {any[]} */
  const acks = [];
  for (let i = 0; i < 6_000; i++) flooder.socket.emit("typing", {}, (/** @type {any} */ ack) => acks.push(ack));
  await until("the flood is closed", () => !flooder.socket.connected);
  // As one that floods, once however much still arrives; or before that as one that does not read its answers in time.
  const after = await metrics();
  const slow = (text) => Number(text.match(/slow_closed_total (\d+)\n/)?.[1]);
  assert.ok(/connections_cut_total\{reason="flood"\} 1\n/.test(after) || slow(after) === slow(before) + 1, after);
  const refused = acks.filter((ack) => ack.error?.code === "rate_limited");
  assert.ok(refused.every((ack) => ack.error.retryAfterMs > 0));
  await other.send(ticketId, "served");
  [flooder, other].forEach((each) => each.close());
});

test("connections beyond the limit get 503 with a time, and come in by themselves when there is room", async () => {
  const clients = [];
  for (let full = false; !full && clients.length < 10; ) {
    const client = new Client(it.url(0));
    it.clients.push(client);
    await client.connected().then(
      () => clients.push(client),
      () => (full = true),
    );
  }
  const refused = await it.rest(0).get("/socket.io/?EIO=4&transport=polling");
  assert.equal(refused.status, 503);
  assert.equal(refused.body.code, "overloaded");
  assert.ok(Number(refused.headers.get("retry-after")) >= 1);
  const late = new Client(it.url(0), { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  it.clients.push(late);
  await new Promise((done) => late.socket.once("connect_error", done));
  clients.forEach((client) => client.close());
  await until("the late one is in", () => late.socket.connected);
  late.close();
});

test("answers carry the headers that browsers heed, and pages of allowed origins can read them", async () => {
  const origin = "http://localhost:3000";
  const socketIo = "/socket.io/?EIO=4&transport=polling";
  const ask = (path, method = "GET", headers = { origin }) => it.rest().ask(method, path, { headers });
  const opened = await ask(socketIo);
  const sid = JSON.parse(opened.text.slice(1)).sid;
  // 41: the session has no namespace to leave, and goes on.
  const posted = await it.rest().ask("POST", `${socketIo}&sid=${sid}`, { raw: "41", headers: { origin } });
  const answers = {
    REST: [200, await ask("/tickets")],
    "a session's first answer": [200, opened],
    "what was posted": [200, posted],
    "an unknown session": [400, await ask(`${socketIo}&sid=AAAAAAAAAAAAAAAA`)],
    "no transport": [400, await ask("/socket.io/?EIO=4")],
    "a wrong method": [400, await ask(socketIo, "PATCH")],
    "a foreign origin": [403, await ask(socketIo, "GET", { origin: "http://evil.example.com" })],
  };
  for (const [name, [status, { headers, ...answer }]] of Object.entries(answers)) {
    assert.equal(answer.status, status, `${name}: ${answer.text}`);
    assert.equal(headers.get("x-content-type-options"), "nosniff", name);
    assert.equal(headers.get("cache-control"), "no-store", name);
    assert.match(headers.get("content-security-policy"), /default-src 'none'/, name);
    assert.equal(headers.get("referrer-policy"), "no-referrer", name);
    assert.equal(headers.get("cross-origin-resource-policy"), "same-site", name);
    assert.equal(headers.get("server"), null, name);
    const foreign = name === "a foreign origin";
    assert.equal(headers.get("access-control-allow-origin"), foreign ? null : origin, name);
    assert.equal(headers.get("access-control-allow-credentials"), "true", name);
  }
  await it.rest().ask("POST", `${socketIo}&sid=${sid}`, { raw: "1", headers: { origin } });
});

test("a header that never ends ends the connection", { timeout: 60_000 }, async () => {
  const raw = new Raw(it.url(0));
  raw.socket.write("GET /health HTTP/1.1\r\nHost: gateway\r\nX-Slow: ");
  const drip = setInterval(() => raw.closed || raw.socket.write("a"), 1_000);
  await until("closed", () => raw.closed, 40_000);
  clearInterval(drip);
  assert.match(raw.text, /^HTTP\/1\.1 408 [^]*x-request-id: [^]*"request_timeout"/);
});

test("what a client posts and does not send ends the connection, however it dawdles", { timeout: 60_000 }, async () => {
  const { sid } = await Polling.open(Number(it.gateways[0].env.PORT));
  const head = `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000\r\n\r\n`;
  const [silent, slow] = [new Raw(it.url(0)), new Raw(it.url(0))];
  for (const raw of [silent, slow]) raw.socket.write(`${head}4`);
  const drip = setInterval(() => slow.closed || slow.socket.write("2"), 1_000);
  await until("both closed", () => silent.closed && slow.closed, 40_000);
  clearInterval(drip);
  assert.match(silent.text, /^HTTP\/1\.1 408 /);
});

test("SIGTERM does not wait for a client that does not read", async () => {
  const { _id: ticketId } = await it.newTicket();
  const raw = await stalled(ticketId, someone());
  await it.gateways[0].stop(15_000);
  raw.close();
  await it.gateways[0].start();
});
