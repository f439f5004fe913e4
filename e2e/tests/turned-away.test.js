/**
 * Clients that go on after being refused are turned away, for longer each time, by all gateways; others are served.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exchange, RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("turned-away", { env: { EVENT_RATE: "10", ABUSE_LIMIT: "50", ADDRESS_RATE: "100" } });
const SOCKET_IO = "/socket.io/?EIO=4&transport=polling";

const port = (gateway = 0) => Number(it.gateways[gateway].env.PORT);

/** @param {string} from @param {string} [path] @param {number} [gateway] */
async function get(from, path = SOCKET_IO, gateway = 0) {
  const answer = await exchange(port(gateway), `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`, from);
  return { ...answer, after: Number(answer.head.match(/^retry-after: *(\d+)/im)?.[1] ?? 0) };
}

/** Floods until the connection is ended. @param {string} from */
async function flood(from) {
  const socket = await RawSocket.open(port(), { from });
  for (let i = 0; i < 200; i++) socket.text('42["typing",{}]');
  await until("the flood is cut off", () => socket.ended);
  socket.close();
}

test("a flood is turned away by all gateways, for twice as long each time", { timeout: 120_000 }, async () => {
  const [from, other] = ["127.0.0.66", "127.0.0.67"];
  const { _id: ticketId } = await it.newTicket();
  const neighbour = await it.join(ticketId, 0);
  /** @type {number[]} */
  const longest = [];
  for (let round = 0; round < 3; round++) {
    await flood(from);
    const refused = await get(from);
    assert.equal(refused.status, 429, refused.head);
    assert.match(refused.body, /"rate_limited"/);
    longest.push(refused.after);
    await until("the other gateway turns it away", async () => round < 2 || (await get(from, SOCKET_IO, 1)).status === 429);
    assert.equal((await get(other)).status, 200, "another address");
    await neighbour.send(ticketId, "served");
    await until("it is let in again", async () => (await get(from)).status === 200);
  }
  assert.deepEqual(longest, [1, 2, 4]);
  neighbour.close();
});

test("requests for sessions that nobody has count towards the address", async () => {
  const from = "127.0.0.68";
  const invented = `${SOCKET_IO}&sid=AAAAAAAAAAAAAAAA`;
  const statuses = new Set();
  const asked = Promise.all(Array.from({ length: 600 }, () => get(from, invented)));
  await until("of this address nothing more is taken", async () => (await get(from, "/tickets?limit=1")).status === 429);
  (await asked).forEach(({ status }) => statuses.add(status));
  assert.deepEqual([...statuses].sort(), [400, 429]);
  assert.equal((await get(from, "/livez")).status, 200);
  assert.equal((await get("127.0.0.69", "/tickets?limit=1")).status, 200, "another address");
});
