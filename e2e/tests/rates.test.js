/**
 * Rates that a client can't shed: by leaving and coming back, by reconnecting, by more connections or gateways.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../harness/client.js";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

const RATE = 20;
const it = stack("rates", {
  env: { ...WITH_TOKENS, IDENTITY_RATE: String(RATE), EVENT_RATE: String(RATE), ABUSE_LIMIT: "100000" },
});

/** @param {string} sub @param {number} [gateway] @param {any} [options] */
async function as(sub, gateway = 0, options = {}) {
  const client = new Client(it.url(gateway), { auth: { token: token({ sub, role: "agent" }) }, ...options });
  it.clients.push(client);
  return client.connected();
}

/** @param {string} sub */
async function opened(sub) {
  const headers = bearer(token({ sub, role: "agent" }));
  const answer = await it.rest().ask("POST", "/tickets", { body: { subject: "A test", userId: "u", userName: "U" }, headers });
  assert.equal(answer.status, 201, answer.text);
  return answer.body.ticket._id;
}

/**
 * Counts what is accepted of what `act` sends for ten seconds.
 * @param {(send: (client: Client, count: number) => Promise<void>) => Promise<void>} act
 * @param {string[]} tickets
 */
async function accepted(tickets, act) {
  const began = performance.now();
  let count = 0;
  const send = async (client, many) => {
    const asked = Array.from({ length: many }, (_, i) =>
      client.socket.timeout(5_000).emitWithAck("send_message", { ticketId: tickets[i % tickets.length], content: "more" }).then(
        (ack) => (count += ack.ok ? 1 : 0),
        () => {},
      ),
    );
    await Promise.all(asked);
  };
  while (performance.now() - began < 10_000) await act(send);
  // What was late on its way may take longer than ten seconds.
  const most = 1.5 * RATE * Math.max(10, (performance.now() - began) / 1_000);
  assert.ok(count <= most, `${count} accepted, at most ${most}`);
  assert.ok(count >= RATE * 4, `${count} accepted`);
}

test("leaving the namespace and entering it again gives nothing back", { timeout: 60_000 }, async () => {
  const client = await as("leaver");
  const tickets = [await opened("leaver")];
  await accepted(tickets, async (send) => {
    await send(client, 60);
    client.socket.disconnect().connect();
    await client.connected();
  });
  client.close();
});

test("reconnecting gives nothing back", { timeout: 60_000 }, async () => {
  const tickets = [await opened("reconnecter")];
  await accepted(tickets, async (send) => {
    const client = await as("reconnecter");
    await send(client, 60);
    client.close();
  });
});

test("ten connections over two gateways, into several tickets, have the rate of one person", { timeout: 60_000 }, async () => {
  const clients = await Promise.all(Array.from({ length: 10 }, (_, i) => as("many", i % 2)));
  const tickets = [await opened("opener-1"), await opened("opener-2"), await opened("opener-3")];
  // Somebody behind the same address is not held up.
  const neighbour = await as("neighbour");
  let served = 0;
  await accepted(tickets, async (send) => {
    await Promise.all(clients.map((client) => send(client, 12)));
    const ack = await neighbour.ask("send_message", { ticketId: tickets[0], content: "hello" });
    served += ack.ok ? 1 : 0;
    assert.ok(ack.ok, JSON.stringify(ack));
    await new Promise((done) => setTimeout(done, 100));
  });
  assert.ok(served > 0);
  [...clients, neighbour].forEach((client) => client.close());
});

test("two tabs of one person work side by side", async () => {
  const [one, two] = [await as("tabs", 0), await as("tabs", 1)];
  const tickets = [await opened("opener-4")];
  for (const client of [one, two]) await client.done("join_ticket", { ticketId: tickets[0] });
  for (let i = 0; i < 10; i++) {
    for (const client of [one, two]) await client.done("send_message", { ticketId: tickets[0], content: `${i}` });
    await new Promise((done) => setTimeout(done, 100));
  }
  await until("both saw all", () => one.messages.length === 20 && two.messages.length === 20);
  [one, two].forEach((client) => client.close());
});
