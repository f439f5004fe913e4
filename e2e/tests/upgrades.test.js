/**
 * Upgrades from polling to a websocket that end, at each step and in each way, and messages that come meanwhile.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../harness/client.js";
import { exchange, frame, Polling, RawSocket } from "../harness/raw.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("upgrades");
const port = () => Number(it.gateways[0].env.PORT);

/** An event with an answer. @param {number} id */
const event = (id) => `42${id}["leave_ticket",{"ticketId":"0123456789abcdef01234567"}]`;
const answer = (/** @type {number} */ id) => `43${id}[{"ok":true`;

/** @param {Polling} session */
const upgrade = (session) => RawSocket.open(port(), { query: `EIO=4&transport=websocket&sid=${session.sid}`, namespace: false });

/** One upgrade after the other: the end of the last may not have been noticed yet. @param {Polling} session */
const again = (session) => until("another try", async () => {
  const socket = await upgrade(session);
  return socket.status === 101 && socket;
});

/**
 * The session is answered over polling.
 * @param {Polling} session @param {number} id @param {ReturnType<Polling["get"]>} [held] a poll that waits already
 */
async function goesOn(session, id, held) {
  const posted = await session.post(event(id));
  assert.equal(posted.status, 200, posted.all);
  const first = await held;
  assert.equal(first?.status ?? 200, 200, first?.all);
  if (!first?.body.includes(answer(id))) assert.ok(await session.find(answer(id)));
}

/** @type {Record<string, (socket: RawSocket) => void>} */
const ENDS = {
  "a reset": (socket) => socket.socket.resetAndDestroy(),
  "the end of the stream": (socket) => socket.socket.end(),
  "a close frame": (socket) => socket.write(frame(8, Buffer.from([3, 232]))),
  "a wrong frame": (socket) => socket.write(frame(1, "2probe", { mask: false })),
  "half a frame": (socket) => (socket.write(frame(1, "2probe").subarray(0, 4)), socket.socket.end()),
};

for (const [name, end] of Object.entries(ENDS)) {
  test(`a websocket that ends by ${name} leaves the session to polling, at each step of the upgrade`, async () => {
    const session = await Polling.open(port());
    let id = 0;
    for (const steps of [0, 1, 2]) {
      const socket = await again(session);
      const held = steps === 2 ? session.get() : undefined;
      if (steps > 0) socket.text("2probe");
      if (steps > 1) await until("the probe's answer", () => socket.find("3probe"));
      end(socket);
      await goesOn(session, (id += 1), held);
      await goesOn(session, (id += 1));
    }
    const socket = await again(session);
    socket.text("2probe");
    await until("the probe's answer", () => socket.find("3probe"));
    socket.text("5");
    socket.text(event(99));
    await until("an answer", () => socket.find(answer(99)));
    end(socket);
    // It was the session's only transport.
    await until("the session is over", async () => (await session.get()).body.includes("Session ID unknown"));
  });
}

test("what is no step of an upgrade ends the websocket, and not the session", async () => {
  const wrong = ["5", "2", "3probe", "2probe2", "6", "1", "40", event(1), "", "x", "2probe\x1e5"];
  const session = await Polling.open(port());
  for (const [id, text] of wrong.entries()) {
    const socket = await again(session);
    socket.text(text);
    await until(`the end after ${text}`, () => socket.ended);
    await goesOn(session, id);
  }
  for (const [id, text] of ["2probe", "2", "3", event(1), ""].entries()) {
    const socket = await again(session);
    socket.text("2probe");
    await until("the probe's answer", () => socket.find("3probe"));
    socket.text(text);
    await until(`the end after a probe and ${text}`, () => socket.ended);
    await goesOn(session, 100 + id);
  }
  const socket = await upgrade(session);
  socket.write(frame(2, Buffer.from("2probe")));
  await until("the end after a binary probe", () => socket.ended);
  await goesOn(session, 200);
});

test("second and third upgrades are refused, and the first is completed", async () => {
  const session = await Polling.open(port());
  const first = await upgrade(session);
  assert.equal((await upgrade(session)).status, 400);
  first.text("2probe");
  await until("the probe's answer", () => first.find("3probe"));
  const others = await Promise.all([upgrade(session), upgrade(session), upgrade(session)]);
  assert.deepEqual(others.map(({ status }) => status), [400, 400, 400]);
  await goesOn(session, 1);
  first.text("5");
  first.text(event(2));
  await until("an answer", () => first.find(answer(2)));
  first.close();
});

test("a session that is closed while it upgrades takes its websocket along", async () => {
  const session = await Polling.open(port());
  const socket = await upgrade(session);
  socket.text("2probe");
  await until("the probe's answer", () => socket.find("3probe"));
  assert.equal((await session.post("1")).status, 200);
  await until("the end of the websocket", () => socket.ended);
  assert.match((await session.get()).body, /Session ID unknown/);
});

test("what is no handshake is refused at once, and harms no session", async () => {
  const session = await Polling.open(port());
  const good = {
    Host: "127.0.0.1",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  /** @type {[string, number, Record<string, string | undefined>, {query?: string, method?: string, version?: string}?][]} */
  const cases = [
    ["no Upgrade", 400, { Upgrade: undefined }],
    ["nginx without its two lines", 400, { Upgrade: undefined, Connection: "close" }],
    ["HTTP/2", 400, { Upgrade: "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA" }],
    ["no Connection", 400, { Connection: undefined }],
    ["Connection: keep-alive", 400, { Connection: "keep-alive" }],
    ["no key", 400, { "Sec-WebSocket-Key": undefined }],
    ["an empty key", 400, { "Sec-WebSocket-Key": "" }],
    ["a key of 15 bytes", 400, { "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA" }],
    ["a key of 17 bytes", 400, { "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAA=" }],
    ["a key that is no base64", 400, { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j*Q==" }],
    ["version 99", 426, { "Sec-WebSocket-Version": "99" }],
    ["version 8", 426, { "Sec-WebSocket-Version": "8" }],
    ["no version", 426, { "Sec-WebSocket-Version": undefined }],
    ["HTTP/1.0", 400, {}, { version: "1.0" }],
    ["a body", 400, { "Content-Length": "5" }],
    ["a body in chunks", 400, { "Transfer-Encoding": "chunked" }],
    ["an unknown session", 400, {}, { query: "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA" }],
    ["what is no session's id", 400, {}, { query: "EIO=4&transport=websocket&sid=../../x" }],
    ["an empty session's id", 400, {}, { query: "EIO=4&transport=websocket&sid=" }],
    ["POST", 400, {}, { method: "POST" }],
    ["the polling session, without Upgrade", 400, { Upgrade: undefined }, { query: `EIO=4&transport=websocket&sid=${session.sid}` }],
    ["the polling session, version 7", 426, { "Sec-WebSocket-Version": "7" }, { query: `EIO=4&transport=websocket&sid=${session.sid}` }],
  ];
  for (const [name, status, changed, { query = "EIO=4&transport=websocket", method = "GET", version = "1.1" } = {}] of cases) {
    const lines = Object.entries({ ...good, ...changed }).filter(([, value]) => value !== undefined).map((line) => `${line.join(": ")}\r\n`);
    const refused = await exchange(port(), `${method} /socket.io/?${query} HTTP/${version}\r\n${lines.join("")}\r\n`);
    assert.equal(refused.status, status, `${name}: ${refused.all}`);
    assert.equal(/^sec-websocket-version: 13\r?$/im.test(refused.head), status === 426, name);
    const { code, message } = JSON.parse(refused.body);
    assert.deepEqual([typeof code, typeof message], ["number", "string"], name);
    if (name.includes("session's id") || name.includes("an unknown session")) assert.equal(code, 1, name);
  }
  await goesOn(session, 1);
});

test("messages that come while clients upgrade are received once, in their order", { timeout: 120_000 }, async () => {
  const { _id: ticketId } = await it.newTicket();
  const sender = await it.join(ticketId, 1);
  const count = 150;
  let sent = 0;
  const sending = (async () => {
    while (sent < count) {
      await sender.send(ticketId, `${sent}`);
      sent += 1;
    }
  })();
  const readers = await Promise.all(Array.from({ length: 8 }, async () => {
    const client = new Client(it.url(0), { transports: ["polling", "websocket"] });
    it.clients.push(client);
    client.person = someone();
    await client.connected();
    client.joined = await client.join(ticketId);
    return client;
  }));
  await sending;
  for (const reader of readers) {
    await until("it is upgraded", () => reader.socket.io.engine.transport.name === "websocket", 60_000);
    await reader.saw("message_received", ({ message }) => message.content === `${count - 1}`, 60_000);
    const before = reader.joined.seq;
    const expected = Array.from({ length: reader.messages.at(-1).seq - before }, (_, i) => before + 1 + i);
    assert.deepEqual(reader.messages.map(({ seq }) => seq), expected);
    reader.close();
  }
});

test("a socket's id opens nothing, and changes when the namespace is left and entered again", async () => {
  const socket = await RawSocket.open(port());
  const engine = JSON.parse((socket.find("0{") ?? "").slice(1)).sid;
  socket.text("41");
  socket.text("40");
  const ids = await until("the namespace again", () => {
    const found = socket.texts.filter((text) => text.startsWith("40{")).map((text) => JSON.parse(text.slice(2)).sid);
    return found.length === 2 && found;
  });
  assert.equal(new Set([engine, ...ids]).size, 3);
  for (const sid of ids) {
    const { body } = await exchange(port(), `GET /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`);
    assert.match(body, /Session ID unknown/);
  }
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  socket.close();
});
