/**
 * One account of a connection: what a client can make the gateway hold is bounded, from the handshake to the end,
 * whatever namespaces come and go.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { frame, Polling, RawSocket, Wire } from "../harness/raw.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("account");
const port = () => Number(it.gateways[0].env.PORT);
const KIB = 1024;
const MIB = 1024 * KIB;
/** A client that can't be answered is noticed by its heartbeat, within 40 seconds. */
const NOTICED = 90_000;
const linux = { skip: process.platform !== "linux" && "memory is read from /proc", timeout: 180_000 };

/** MiB that the gateway has in memory. */
function resident() {
  const status = readFileSync(`/proc/${it.gateways[0].child.pid}/status`, "utf8");
  return Number(status.match(/^VmRSS:\s+(\d+)/m)?.[1]) / 1024;
}

/** The most that the gateway grows by, in MiB, until it has ended the connection. @param {RawSocket} socket */
async function growth(socket) {
  const before = resident();
  let most = 0;
  await until("the end of the connection", () => ((most = Math.max(most, resident() - before)), socket.ended || socket.socket.destroyed), NOTICED);
  return most;
}

/** Sends this again and again, 128 MiB in all, and reads nothing. @param {RawSocket} socket @param {Buffer} piece */
function flood(socket, piece) {
  const block = Buffer.concat(Array.from({ length: Math.ceil((256 * KIB) / piece.length) }, () => piece));
  socket.socket.pause();
  for (let sent = 0; sent < 128 * MIB; sent += block.length) socket.write(block);
}

for (const namespace of [true, false]) {
  test(`pings of a client that reads nothing are read no more, ${namespace ? "in" : "before"} the namespace`, linux, async () => {
    const socket = await RawSocket.open(port(), { namespace });
    flood(socket, frame(9, "x".repeat(125)));
    const grown = await growth(socket);
    socket.close();
    assert.ok(grown < 48, `${grown} MiB`);
  });
}

test("answers that nobody reads are bounded, and not logged one by one", linux, async () => {
  const socket = await RawSocket.open(port(), { namespace: false });
  flood(socket, frame(1, `40/${"x".repeat(1_000)},`));
  const grown = await growth(socket);
  socket.close();
  assert.ok(grown < 48, `${grown} MiB`);
  const errors = readFileSync(it.gateways[0].log, "utf8").match(/"level":"ERROR"/g) ?? [];
  assert.ok(errors.length < 3, `${errors.length} lines`);
});

const unfinished = '451-["leave_ticket",{"_placeholder":true,"num":0}]';
/** @type {[string, (string | Buffer)[]][]} */
const events = [
  ["too many attachments", ['4511-["x"]']],
  ["a number of attachments that is none", ['4599999999999999999999-["x"]']],
  ["an attachment that is too large", [unfinished, frame(2, Buffer.alloc(64 * KIB))]],
  ["attachments that are too large together", ['4510-["x"]', ...Array.from({ length: 9 }, () => frame(2, Buffer.alloc(8 * KIB)))]],
  ["a text and an attachment that are too large together", [`451-["${"x".repeat(60 * KIB)}"]`, frame(2, Buffer.alloc(5 * KIB))]],
  ["a binary acknowledgement that is too large", ['461-7[{"_placeholder":true,"num":0}]', frame(2, Buffer.alloc(65 * KIB))]],
  ["attachments that do not come", [unfinished]],
  ["an attachment that does not come", ['452-["x"]', frame(2, "x")]],
];
for (const [name, packets] of events) {
  test(`${name} end the connection, over either transport, before and in the namespace`, { timeout: 180_000 }, async () => {
    for (const namespace of [true, false]) {
      const socket = await RawSocket.open(port(), { namespace });
      for (const packet of packets) typeof packet === "string" ? socket.text(packet) : socket.write(packet);
      const polling = await Polling.open(port(), { namespace });
      for (const packet of packets) {
        const body = typeof packet === "string" ? packet : `b${unmasked(packet).toString("base64")}`;
        if ((await polling.post(body)).status !== 200) break;
      }
      await until("the end of the websocket", () => socket.ended, NOTICED);
      const over = async () => (await polling.post("3")).status === 400;
      await until("the end of the session", over, NOTICED);
    }
  });
}

/** The payload of a masked frame. @param {Buffer} bytes */
function unmasked(bytes) {
  const skip = { 126: 4, 127: 10 }[bytes[1] & 127] ?? 2;
  const key = bytes.subarray(skip, skip + 4);
  return Buffer.from(bytes.subarray(skip + 4).map((byte, i) => byte ^ key[i & 3]));
}

const text = frame(1, `42["typing","${"x".repeat(70_000)}"]`);
const more = frame(0, "x", { fin: false });
/** Pieces that come half a second apart, the last of them again and again. @type {[string, Uint8Array[]][]} */
const dripped = [
  ["a text without an end", [frame(1, "42", { fin: false }), more]],
  ["a binary message without an end, and pings between its frames", [frame(2, "x", { fin: false }), frame(9, "x"), more]],
  ["frames without bytes", [frame(1, "", { fin: false }), frame(0, "", { fin: false })]],
  ["a frame that comes byte by byte", [text.subarray(0, 40), Buffer.from("x")]],
  ["a header that comes byte by byte", [...text.subarray(0, 14)].map((byte) => Buffer.from([byte]))],
  ["a ping that comes byte by byte", [frame(9, "x".repeat(100)).subarray(0, 10), Buffer.from("x")]],
];
for (const [name, pieces] of dripped) {
  test(`${name}: the connection ends for it, before and in the namespace`, { timeout: 180_000 }, async () => {
    for (const namespace of [true, false]) {
      const socket = await RawSocket.open(port(), { namespace });
      await until("the first ping is answered", () => socket.heard.includes(Buffer.from([0x81, 1, 0x32])));
      let at = 0;
      const drip = setInterval(() => socket.write(pieces[Math.min(at++, pieces.length - 1)]), 500);
      await until("the end of the connection", () => socket.ended, NOTICED);
      clearInterval(drip);
      // Not for its heartbeat, nor because it has not come in.
      assert.equal(socket.closeCode, 1008, `${namespace}`);
    }
  });
}

test("a body of long-polling that comes byte by byte ends the session", { timeout: 180_000 }, async () => {
  const polling = await Polling.open(port());
  const wire = new Wire(port());
  wire.write(`POST ${polling.path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n42`);
  const drip = setInterval(() => wire.write("x"), 500);
  await until("an answer", () => wire.heard.length > 0 || wire.ended, NOTICED);
  clearInterval(drip);
  assert.match(wire.heard.toString(), /^HTTP\/1.1 408 [^]*{"code":3/, "the engine's answer, not that to any slow request");
  assert.equal((await polling.post("3")).status, 400);
  wire.close();
});

test("an event within its bounds is answered, and its attachments refused", async () => {
  const socket = await RawSocket.open(port());
  for (const id of [7, 8]) {
    socket.text(`4510-${id}["leave_ticket",{"ticketId":{"_placeholder":true,"num":0}}]`);
    for (let i = 0; i < 10; i++) socket.write(frame(2, Buffer.alloc(6 * KIB)));
    const answer = await until("the answer", () => socket.find(`43${id}[`));
    assert.match(answer, /invalid_payload/);
  }
  socket.close();
});

test("who leaves the namespace and comes again is not slow, and has another id", { timeout: 120_000 }, async () => {
  const { _id: ticketId } = await it.newTicket();
  const socket = await RawSocket.open(port());
  const secret = JSON.parse(/** @type {string} */ (socket.find("0{")).slice(1)).sid;
  const ids = [socket.find("40{")];
  for (let i = 0; i < 3; i++) {
    socket.text("41");
    socket.texts.length = 0;
    socket.text("40");
    ids.push(await until("the namespace", () => socket.find("40{")));
  }
  assert.equal(new Set(ids).size, ids.length, "a new id each time");
  assert.ok(ids.every((id) => !id?.includes(secret)), "none is the session's secret");

  socket.text(`420${JSON.stringify(["join_ticket", { ticketId, ...someone() }])}`);
  await until("joined", () => socket.find('430[{"ok":true'));
  const sender = await it.join(ticketId, 1);
  for (let i = 0; i < 400; i++) await sender.send(ticketId, "x".repeat(4_000));
  const received = () => socket.texts.filter((text) => text.startsWith('42["message_received"')).length;
  await until("everything is received", () => received() === 400 || socket.ended);
  assert.ok(!socket.ended, `cut off after ${received()} messages`);
  socket.close();
});

test("sessions that end before they come in leave nothing behind", async () => {
  for (let i = 0; i < 50; i++) {
    const socket = await RawSocket.open(port(), { namespace: false });
    socket.write(Buffer.concat([frame(1, "40"), frame(8)]));
    await until("the end of the connection", () => socket.ended);
  }
  const { text } = await it.rest().get("/health");
  assert.match(text, /ok/);
  const sockets = async () => (await (await fetch(`http://127.0.0.1:${it.gateways[0].env.OPS_PORT}/metrics`)).text()).match(/^ticket_gateway_sockets (-?\d+)/m)?.[1];
  await until("nobody is counted who is gone", async () => (await sockets()) === "0" || it.clients.some((client) => client.socket.connected), NOTICED);
});
