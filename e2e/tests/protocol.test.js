/**
 * The test plans of the protocols, case by case, against the gateway and with its own events where the plans have a server
 * that echoes; all cases of the official suites (socketio/engine.io-protocol and socketio/socket.io-protocol, `test-suite/`)
 * are here. Custom namespaces, which the gateway has none of, are refused. Each test names the section of the
 * specification that it is of:
 *
 * - E: Engine.IO protocol, revision 4, <https://socket.io/docs/v4/engine-io-protocol/>
 * - S: Socket.IO protocol, revision 5, <https://socket.io/docs/v4/socket-io-protocol/>
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exchange, frame, Polling, RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { pause, until } from "../harness/wait.js";

const it = stack("protocol");
const port = () => Number(it.gateways[0].env.PORT);
const WS = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/** Longer than a silent client is waited for. */
const SILENT = 90_000;

/** An event with an answer. @param {number} id */
const event = (id) => `42${id}["leave_ticket",{"ticketId":"0123456789abcdef01234567"}]`;
const answer = (/** @type {number} */ id) => `43${id}[{"ok":true`;

/** @param {string} method @param {string} query @param {string} [headers] */
async function request(method, query, headers = "") {
  const { status, body } = await exchange(port(), `${method} /socket.io/?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n${headers}\r\n`);
  return { status, body: body.startsWith("{") ? JSON.parse(body) : body };
}

const polling = () => Polling.open(port(), { namespace: false });
const websocket = () => RawSocket.open(port(), { namespace: false });
const ended = (/** @type {RawSocket} */ socket, ms = undefined) => until("the end of the connection", () => socket.ended, ms);
/** @param {Polling} session */
const unknown = async (session) => assert.deepEqual(JSON.parse((await session.get()).body), { code: 1, message: "Session ID unknown" });

test("E Handshake, HTTP long-polling: a session is opened", async () => {
  const { status, body } = await request("GET", "EIO=4&transport=polling", "Connection: close\r\n");
  assert.equal(status, 200);
  const open = JSON.parse(body.slice(1));
  assert.equal(body[0], "0");
  assert.deepEqual(Object.keys(open).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
  assert.deepEqual([typeof open.sid, open.upgrades, open.pingInterval, open.pingTimeout], ["string", ["websocket"], 20_000, 20_000]);
});

test("E Handshake, WebSocket: a session is opened", async () => {
  const socket = await websocket();
  const open = await until("the handshake", () => socket.find("0{"));
  assert.deepEqual(JSON.parse(open.slice(1)).upgrades, []);
  socket.close();
});

for (const [name, transport, headers] of [["HTTP long-polling", "polling", "Connection: close\r\n"], ["WebSocket", "websocket", WS]]) {
  test(`E Handshake, ${name}: wrong parameters and methods are refused`, async () => {
    for (const query of [`transport=${transport}`, `EIO=abc&transport=${transport}`]) {
      assert.deepEqual(await request("GET", query, headers), { status: 400, body: { code: 5, message: "Unsupported protocol version" } });
    }
    for (const query of ["EIO=4", "EIO=4&transport=abc"]) {
      assert.deepEqual(await request("GET", query, headers), { status: 400, body: { code: 0, message: "Transport unknown" } });
    }
    for (const method of ["POST", "PUT"]) {
      assert.deepEqual(await request(method, `EIO=4&transport=${transport}`, headers), { status: 400, body: { code: 2, message: "Bad handshake method" } });
    }
  });
}

test("E Message, HTTP long-polling: a payload of one packet, and of several", async () => {
  const session = await Polling.open(port());
  assert.equal((await session.post(event(1))).body, "ok");
  assert.ok(await session.find(answer(1)));
  assert.equal((await session.post([event(2), "3", event(3)].join("\x1e"))).body, "ok");
  assert.ok(await session.find(answer(3)));
});

test("E Message, HTTP long-polling: binary is base64 after a b, with plain text before and behind it", async () => {
  const session = await Polling.open(port());
  const binary = '451-1["leave_ticket",{"_placeholder":true,"num":0}]\x1ebAQIDBA==';
  assert.equal((await session.post([event(4), binary, event(5)].join("\x1e"))).body, "ok");
  let heard = "";
  await until("all answers", async () => {
    const { body } = await session.get();
    if (body.split("\x1e").includes("2")) await session.post("3");
    return (heard += `${body}\x1e`).includes(answer(5));
  });
  assert.ok(heard.includes(answer(4)), heard);
  assert.match(heard, /431\[[^\]]*invalid_payload/);
});

test("E Message, WebSocket: text and binary", async () => {
  const socket = await RawSocket.open(port());
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  socket.text('451-2["leave_ticket",{"_placeholder":true,"num":0}]');
  socket.write(frame(2, Buffer.from([1, 2, 3, 4])));
  assert.match(await until("an answer", () => socket.find("432[")), /invalid_payload/);
  socket.close();
});

test("E Message: an invalid packet ends the session", async () => {
  const session = await polling();
  assert.equal((await session.post("abc")).status, 400);
  await unknown(session);
  const socket = await websocket();
  socket.text("abc");
  await ended(socket);
});

test("E Message, HTTP long-polling: a second poll at once ends the session", async () => {
  const session = await polling();
  // The first ping is taken: the next ones wait.
  await session.get();
  const answers = await Promise.all([session.get(), session.get()]);
  // The one that waits is let go.
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 400], answers.map(({ all }) => all).join("\n"));
  const { body } = /** @type {{body: string}} */ (answers.find(({ status }) => status === 400));
  assert.deepEqual(JSON.parse(body), { code: 3, message: "Bad request" });
  await unknown(session);
});

test("E Heartbeat: pings come, and who does not answer one is gone", { timeout: 180_000 }, async () => {
  const [session, silent] = [await Polling.open(port()), await Polling.open(port())];
  const socket = await RawSocket.open(port());
  // It does not answer any more.
  socket.text = () => {};
  // The first came while it connected.
  assert.equal((await session.post("3")).status, 200);
  let pings = 0;
  const answered = until("pings, one after the other", async () => {
    const { body } = await session.get();
    if (!body.split("\x1e").includes("2")) return false;
    assert.equal((await session.post("3")).status, 200);
    return (pings += 1) === 2;
  }, SILENT);
  const over = until("the silent session is over", async () => (await silent.post("")).status === 400, SILENT);
  await Promise.all([answered, ended(socket, SILENT), over]);
});

test("E Close: a close packet ends the session, and the poll that waits gets a noop", async () => {
  // One that comes only after the packet is refused, as every later one: so it is tried until one was there in time.
  let answer = { status: 0, body: "" };
  for (let tries = 0; answer.body !== "6"; tries++) {
    assert.ok(tries < 20, "no poll was there in time");
    const session = await polling();
    assert.equal((await session.get()).body, "2");
    const waiting = session.get();
    await pause(20 * tries);
    assert.deepEqual(await session.post("1").then(({ status, body }) => [status, body]), [200, "ok"]);
    answer = await waiting;
    if (answer.status === 400) assert.deepEqual(JSON.parse(answer.body), { code: 1, message: "Session ID unknown" });
    else assert.deepEqual([answer.status, answer.body], [200, "6"]);
    await unknown(session);
  }
  const socket = await websocket();
  socket.text("1");
  await ended(socket);
});

test("E Upgrade: from long-polling to a websocket; then polls and further websockets of the session are refused", async () => {
  const session = await Polling.open(port());
  const query = `EIO=4&transport=websocket&sid=${session.sid}`;
  const socket = await RawSocket.open(port(), { query, namespace: false });
  socket.text("2probe");
  await until("the probe's answer", () => socket.find("3probe"));
  socket.text("5");
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  assert.equal((await session.get()).status, 400);
  assert.equal((await session.post(event(2))).status, 400);
  assert.equal((await RawSocket.open(port(), { query, namespace: false })).status, 400);
  socket.text(event(3));
  await until("an answer", () => socket.find(answer(3)));
  socket.close();
});

test("E Upgrade: after the probe a poll is answered by a noop, whether it waits already or comes then", async () => {
  const session = await Polling.open(port());
  const socket = await RawSocket.open(port(), { query: `EIO=4&transport=websocket&sid=${session.sid}`, namespace: false });
  const waiting = session.get();
  socket.text("2probe");
  await until("the probe's answer", () => socket.find("3probe"));
  const answers = [await waiting];
  // A ping may have been there before.
  for (let i = 0; i < 2; i++) answers.push(await session.get());
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.match(answers.map(({ body }) => body).join(), /^[26],6,6$/);
  socket.text("5");
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  socket.close();
});

test("S Connection to a namespace: the main one, with and without a payload", async () => {
  for (const connect of ["40", '40{"token":"123"}', "40/,"]) {
    const socket = await websocket();
    socket.text(connect);
    const { sid } = JSON.parse((await until("the namespace", () => socket.find("40{"))).slice(2));
    assert.equal(typeof sid, "string");
    socket.close();
  }
});

test("S Connection to a namespace: an unknown one is refused, with and without a payload, and the session goes on", async () => {
  for (const connect of ["40/random", "40/custom,", '40/custom,{"token":"abc"}']) {
    const socket = await websocket();
    socket.text(connect);
    const name = connect.match(/\/\w+/)?.[0];
    assert.equal(await until("the refusal", () => socket.find("44")), `44${name},{"message":"Invalid namespace"}`);
    socket.text("40");
    await until("the namespace", () => socket.find("40{"));
    socket.close();
  }
});

test("S Connection to a namespace: an event before it, or what is no packet, ends the session", async () => {
  for (const packet of ['42["leave_ticket",{}]', "4abc"]) {
    const socket = await websocket();
    socket.text(packet);
    await ended(socket);
  }
});

test("S Connection to a namespace: a session in which none comes is ended", { timeout: 60_000 }, async () => {
  await ended(await websocket(), SILENT);
});

test("S Disconnection from a namespace: the session goes on, and another connection has another id", async () => {
  const socket = await RawSocket.open(port());
  const first = socket.find("40{");
  socket.text("41");
  socket.text("40");
  const second = await until("the namespace again", () => socket.texts.filter((text) => text.startsWith("40{"))[1]);
  assert.notEqual(first, second);
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  socket.close();
});

test("S Disconnection from a namespace: from one that is not connected, nothing happens to the main one", async () => {
  const socket = await RawSocket.open(port());
  socket.text("41/custom,");
  socket.text(event(1));
  await until("an answer", () => socket.find(answer(1)));
  socket.close();
});

test("S Event: without an acknowledgement, with several arguments, and with attachments", async () => {
  const socket = await RawSocket.open(port());
  const told = (/** @type {number} */ count) => until(`${count} exceptions`, () => socket.texts.filter((text) => text.startsWith('42["exception"')).length === count);
  socket.text('42["leave_ticket",1,"2",{"3":[true]}]');
  await told(1);
  socket.text('452-["leave_ticket",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  for (const bytes of [[1, 2, 3], [4, 5, 6]]) socket.write(frame(2, Buffer.from(bytes)));
  await told(2);
  socket.text('452-7["leave_ticket",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  for (const bytes of [[1, 2, 3], [4, 5, 6]]) socket.write(frame(2, Buffer.from(bytes)));
  assert.match(await until("an answer", () => socket.find("437[")), /invalid_payload/);
  socket.close();
});

test("S Acknowledgement: each has the id of its event, 0 too", async () => {
  const socket = await RawSocket.open(port());
  for (const id of [0, 456, 2 ** 31]) socket.text(event(id));
  for (const id of [0, 456, 2 ** 31]) await until(`the answer to ${id}`, () => socket.find(answer(id)));
  socket.close();
});

test("S Packet encoding: an unknown type, a payload that is no list and an id that is no number close the connection", async () => {
  for (const packet of ["4abc", "42{}", '42abc["leave_ticket",{}]']) {
    const socket = await RawSocket.open(port());
    socket.text(packet);
    await ended(socket);
  }
});

test("S Packet encoding: what can't be read ends the session", async () => {
  for (const packet of ["4abc", "4", "47", "42{}", "42abc", '42abc["leave_ticket",{}]', "45", "451", '45-["x"]', "43[]"]) {
    const socket = await RawSocket.open(port());
    socket.text(packet);
    // What comes next is not answered as if nothing had happened.
    socket.text(event(1));
    await until(`an end or a refusal after ${packet}`, () => socket.ended || socket.find('42["exception"'));
    socket.close();
  }
});
