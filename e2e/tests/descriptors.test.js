/**
 * Clients that take up connections and ask for nothing, or for much: they use up their own address' share.
 */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { RawSocket, Wire } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const FILES = 300;
const MANY = 400;
const HEAD = "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n";
const it = stack("descriptors", { files: FILES });

/** @type {Wire[]} */
let open = [];
const port = () => Number(it.gateways[0].env.PORT);

afterEach(async () => {
  open.forEach((wire) => wire.close());
  open = [];
  await it.gateways[0].untilReady();
});

/** Connects many times, and lets `each` begin something. @param {(i: number) => string} from @param {(wire: Wire) => void} [each] */
async function take(from, each = () => {}) {
  for (let i = 0; i < MANY; i++) {
    const wire = new Wire(port(), from(i));
    open.push(wire);
    each(wire);
  }
  await until("all were accepted or ended", () => open.every((wire) => wire.ended || !wire.socket.connecting));
}

/** Whoever comes from elsewhere notices nothing. */
async function othersAreServed() {
  const { _id: ticketId } = await it.newTicket();
  for (let i = 0; i < 10; i++) {
    for (const gateway of [it.url(0), `http://127.0.0.1:${it.gateways[0].env.OPS_PORT}`]) {
      const answer = await fetch(`${gateway}/readyz`, { headers: { connection: "close" } });
      assert.equal(answer.status, 200, await answer.text());
    }
    const client = await it.join(ticketId, 0);
    await client.send(ticketId, "served");
    client.close();
  }
}

test("empty connections of one address hurt no other", async () => {
  const reader = await it.join((await it.newTicket())._id, 0);
  await take(() => "127.0.0.66");
  await othersAreServed();
  assert.ok(open.filter((wire) => !wire.ended).length < FILES, "some had to go");
  assert.ok(reader.socket.connected, "whoever was in stays");
  reader.close();
});

test("nor do such that begin a header, or keep a connection after an answer", async () => {
  await take(() => "127.0.0.66", (wire) => wire.write(HEAD));
  await othersAreServed();
  open.forEach((wire) => wire.close());
  open = [];
  await take(() => "127.0.0.66", (wire) => wire.write(`${HEAD}\r\n`));
  await othersAreServed();
});

test("nor do those of many addresses", async () => {
  await take((i) => `127.0.1.${1 + (i % 40)}`);
  await othersAreServed();
});

test("websockets of one address fill its share, and it is told", async () => {
  let refused;
  for (let i = 0; !refused && i < MANY; i++) {
    const socket = new RawSocket(port(), "127.0.0.66");
    open.push(socket);
    const key = "dGhlIHNhbXBsZSBub25jZQ==";
    socket.write(
      "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
    await until("an answer", () => socket.ended || socket.heard.includes("\r\n\r\n"));
    if (socket.status !== 101) refused = socket;
    else socket.text("40");
  }
  const answer = refused?.heard.toString() ?? "";
  assert.match(answer, /^HTTP\/1\.1 429 /);
  assert.match(answer, /retry-after: \d+/i);
  await othersAreServed();
});
