/**
 * What is no event is counted, too: heartbeats, control frames, CONNECT and DISCONNECT, namespaces that are not there,
 * acknowledgements nobody asked for, and requests for sessions that nobody has.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frame, Polling, RawSocket, Wire } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

// Each flood comes from an address of its own: it is turned away afterwards.
const it = stack("uncounted", { env: { TRUSTED_PROXIES: "127.0.0.1", EVENT_RATE: "20", ABUSE_LIMIT: "50", ADDRESS_RATE: "200" } });
const port = () => Number(it.gateways[0].env.PORT);
let last = 0;
const elsewhere = () => `X-Forwarded-For: 192.0.2.${(last += 1)}\r\n`;

const kinds = {
  "pings of the websocket": frame(9, "x"),
  "pongs of the websocket": frame(10, "x"),
  "pings of Engine.IO": frame(1, "2"),
  "pongs of Engine.IO": frame(1, "3"),
  "namespaces that are not there": frame(1, "40/x,"),
  "events of such a namespace": frame(1, '42/x,["a"]'),
  "CONNECT again and again": frame(1, "40"),
  "acknowledgements nobody asked for": frame(1, "431[]"),
};
for (const [name, bytes] of Object.entries(kinds)) {
  test(`a flood of ${name} ends the connection`, async () => {
    const socket = await RawSocket.open(port(), { headers: elsewhere() });
    socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => bytes)));
    await until("the end of the connection", () => socket.ended);
  });
}

test("a flood over polling ends the session", async () => {
  for (const packet of ["3", "40/x,", "431[]"]) {
    const polling = await Polling.open(port(), { headers: elsewhere() });
    const flood = Array.from({ length: 1_000 }, () => packet).join("\x1e");
    assert.equal((await polling.post(flood)).status, 400, packet);
    // Its address may be turned away by now.
    assert.ok([400, 429].includes((await polling.get()).status), packet);
  }
});

test("requests for sessions that nobody has are limited by address, and others are not refused for them", async () => {
  const guess = "GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  const polling = await Polling.open(port());
  const wire = new Wire(port());
  wire.write(guess.repeat(5_000));
  const heard = () => wire.heard.toString("latin1");
  await until("a guess is refused", () => /HTTP\/1\.1 429 [^]*rate_limited/.test(heard()));
  assert.match(heard(), /^HTTP\/1\.1 400 /);
  wire.close();
  assert.equal((await polling.post("3")).status, 200, "a session that is there");
});

test("requests of a session that carry nothing end it", async () => {
  const polling = await Polling.open(port(), { headers: elsewhere() });
  const wire = new Wire(port());
  wire.write(`POST ${polling.path} HTTP/1.1\r\nHost: x\r\n${polling.headers}Content-Length: 0\r\n\r\n`.repeat(1_000));
  // Its address may be turned away by then.
  await until("the session is over", () => /Session ID unknown|rate_limited/.test(wire.heard.toString("latin1")));
  wire.close();
  assert.ok([400, 429].includes((await polling.get()).status));
});

test("requests of a session that fail are limited by address, and the session goes on", async () => {
  const polling = await Polling.open(port(), { headers: elsewhere() });
  const wire = new Wire(port());
  const path = polling.path.replace("polling", "grpc");
  wire.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${polling.headers}\r\n`.repeat(5_000));
  await until("one is refused", () => /HTTP\/1\.1 429 [^]*rate_limited/.test(wire.heard.toString("latin1")));
  wire.close();
  assert.equal((await polling.post("3")).status, 200);
});
