/**
 * Transports, as clients and the proxies between meet them: upgrades that fail, handshakes that are none, and why a
 * connection was closed.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";
import { exchange, frame, Polling, RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("transport");
const port = () => Number(it.gateways[0].env.PORT);
const KIB = 1024;

/**
 * A proxy that lets the handshake of a websocket through, and then breaks it.
 * @param {"cut" | "swallow up" | "swallow down"} how what becomes of its frames
 */
async function breaksUpgrades(how) {
  let polls = 0;
  const server = createServer((client) => {
    const gateway = connect(port(), "127.0.0.1");
    let upgraded = false;
    client.on("data", (some) => {
      const text = some.toString("latin1");
      polls += text.match(/^GET \/socket\.io\/[^ ]*transport=polling/gm)?.length ?? 0;
      if (upgraded && how === "cut") return client.destroy();
      if (!(upgraded && how === "swallow up")) gateway.write(some);
      upgraded ||= /^GET [^ ]*transport=websocket/.test(text);
    });
    gateway.on("data", (some) => {
      const head = some.toString("latin1").startsWith("HTTP/1.1 101");
      if (!upgraded || head || how === "swallow up") client.write(some);
    });
    const end = () => (client.destroy(), gateway.destroy());
    for (const side of [client, gateway]) side.on("error", end).on("close", end);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port: own } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${own}`, polls: () => polls, close: () => server.close() };
}

for (const how of /** @type {const} */ (["cut", "swallow up", "swallow down"])) {
  test(`behind a proxy that breaks upgrades (${how}) a client goes on by polling`, { timeout: 120_000 }, async () => {
    const proxy = await breaksUpgrades(how);
    const { Client } = await import("../harness/client.js");
    const client = new Client(proxy.url, { transports: ["polling", "websocket"] });
    it.clients.push(client);
    await client.connected();
    const { _id: ticketId } = await it.newTicket();
    await client.join(ticketId);
    for (let i = 0; i < 20; i++) {
      await client.send(ticketId, `${i}`);
      // The upgrade is tried, and fails, meanwhile.
      await new Promise((done) => setTimeout(done, 100));
    }
    assert.equal(client.socket.io.engine.transport.name, "polling");
    assert.ok(client.socket.connected);
    assert.ok(proxy.polls() < 200, `${proxy.polls()} polls`);
    client.close();
    proxy.close();
  });
}

test("a session whose upgrade failed upgrades the next time, and a second upgrade is refused meanwhile", async () => {
  const polling = await Polling.open(port());
  const query = `EIO=4&transport=websocket&sid=${polling.sid}`;
  const failed = await RawSocket.open(port(), { query, namespace: false });
  failed.text("2probe");
  await until("the probe's answer", () => failed.find("3probe"));
  const second = await RawSocket.open(port(), { query, namespace: false });
  assert.equal(second.status, 400);
  failed.close();
  assert.equal((await polling.post('427["leave_ticket",{}]')).status, 200);
  assert.match((await polling.find("437[")) ?? "", /invalid_payload/);
  const upgrade = await until("another try", async () => {
    const socket = await RawSocket.open(port(), { query, namespace: false });
    return socket.status === 101 && socket;
  });
  upgrade.text("2probe");
  await until("the probe's answer", () => upgrade.find("3probe"));
  upgrade.text("5");
  upgrade.text('428["leave_ticket",{}]');
  assert.match(await until("an answer", () => upgrade.find("438[")), /invalid_payload/);
  const late = await RawSocket.open(port(), { query, namespace: false });
  assert.equal(late.status, 400);
  upgrade.close();
});

test("the reason is in the close frame", async () => {
  const reasons = /** @type {[number, Buffer][]} */ ([
    [1002, frame(1, "42[]", { mask: false })],
    [1002, frame(3, "x")],
    [1002, frame(1, "42[]", { rsv: 4 })],
    [1002, frame(0, "x")],
    [1002, frame(9, "x".repeat(126))],
    [1007, frame(1, Buffer.from([0x34, 0x32, 0xff, 0xfe]))],
    [1009, frame(1, `42["${"x".repeat(200 * KIB)}"]`)],
    [1009, frame(2, Buffer.alloc(200 * KIB))],
    [1009, frame(1, "x", { declared: 1 << 30 })],
    // A control frame in pieces; one of no known kind; a message inside another.
    [1002, frame(9, "x", { fin: false })],
    [1002, frame(11, "x")],
    [1002, Buffer.concat([frame(1, "4", { fin: false }), frame(1, "2")])],
    // Close frames with half a code, with codes that must not be sent, and with a reason that is no text.
    [1002, frame(8, Buffer.from([3]))],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999].map((code) => [1002, frame(8, Buffer.from([code >> 8, code & 255]))]),
    [1007, frame(8, Buffer.from([3, 232, 0xff]))],
    // A character whose other half does not come, and one that is cut by a frame's end and goes on wrongly.
    [1007, frame(1, Buffer.from([0x34, 0x32, 0xe2, 0x82]))],
    [1007, Buffer.concat([frame(1, Buffer.from([0x34, 0xe2, 0x82]), { fin: false }), frame(0, "x")])],
    // Too large in pieces, each of which is not.
    [1009, Buffer.concat([frame(1, `42["${"x".repeat(60 * KIB)}`, { fin: false }), ...[1, 2, 3].map(() => frame(0, "x".repeat(60 * KIB), { fin: false }))])],
  ]);
  for (const [code, bytes] of reasons) {
    const socket = await RawSocket.open(port());
    socket.write(bytes);
    await until(`a close frame with ${code}`, () => socket.closeCode || socket.ended);
    assert.equal(socket.closeCode, code, bytes.subarray(0, 32).toString("hex"));
    socket.close();
  }
});

test("a good close is answered with its code", async () => {
  for (const code of [1000, 1001, 1003, 1011, 3000, 4999]) {
    const socket = await RawSocket.open(port());
    socket.write(frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from("وداعًا")])));
    await until(`a close frame with ${code}`, () => socket.closeCode || socket.ended);
    assert.equal(socket.closeCode, code);
    await until("the end of the connection", () => socket.ended);
  }
});

test("the first subprotocol that a client names is chosen", async () => {
  const socket = await RawSocket.open(port(), { headers: "Sec-WebSocket-Protocol: a, b\r\n" });
  assert.match(socket.heard.toString("latin1"), /^sec-websocket-protocol: a\r$/im);
  socket.close();
});

test("refusals of the transport are as those of the JavaScript server", async () => {
  const ask = async (/** @type {string} */ method, /** @type {string} */ query) => {
    const answer = await exchange(port(), `${method} /socket.io/?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    assert.equal(answer.status, 400, answer.all);
    assert.match(answer.head, /^content-type: application\/json/im);
    return JSON.parse(answer.body);
  };
  assert.deepEqual(await ask("GET", "EIO=4&transport=x"), { code: 0, message: "Transport unknown" });
  assert.deepEqual(await ask("GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"), { code: 1, message: "Session ID unknown" });
  assert.deepEqual(await ask("POST", "EIO=4&transport=polling"), { code: 2, message: "Bad handshake method" });
  assert.deepEqual(await ask("GET", "EIO=4&transport=websocket"), { code: 3, message: "Bad request" });
  assert.deepEqual(await ask("GET", "EIO=2&transport=polling"), { code: 5, message: "Unsupported protocol version" });
});

test("a header may have 32 KiB, and no more", async () => {
  const headers = (/** @type {number} */ kib) => Array.from({ length: kib }, (_, i) => `X-${i}: ${"x".repeat(KIB - 10)}\r\n`).join("");
  const ask = async (/** @type {string} */ lines, path = "/livez") => (await exchange(port(), `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n${lines}\r\n`)).status;
  assert.equal(await ask(headers(30)), 200);
  assert.equal(await ask(`X: ${"x".repeat(30 * KIB)}\r\n`), 200);
  for (const kib of [33, 40, 60, 100]) assert.equal(await ask(headers(kib)), 431, `${kib} KiB`);
  assert.equal(await ask("", `/socket.io/?EIO=4&transport=polling&x=${"x".repeat(34 * KIB)}`), 431);
});
