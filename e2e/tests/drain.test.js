/**
 * A planned stop of a gateway, as in a deploy.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("drain", { env: { DRAIN_MS: "2000" } });

for (const transport of ["websocket", "polling"]) {
  test(`SIGTERM: clients are told, come back by themselves, and miss nothing (${transport})`, async () => {
    const { _id: ticketId } = await it.newTicket();
    const options = { transports: [transport], reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 500 };
    const clients = [await it.join(ticketId, 0, someone(), options), await it.join(ticketId, 0, someone(), options)];
    const witness = await it.join(ticketId, 1, someone("agent"));
    const reasons = clients.map((client) => {
      /** @type {string[]} */
      const seen = [];
      client.socket.on("disconnect", (reason) => seen.push(reason));
      return seen;
    });
    const { message: before } = await clients[0].send(ticketId, "before");

    // Fails where it does not end by itself, or not with exit code 0.
    await it.gateways[0].stop();
    for (const client of clients) {
      const notice = await client.saw("server_draining");
      assert.equal(typeof notice.reconnectInMs, "number");
      assert.ok(notice.reconnectInMs >= 0);
      await until("the client noticed", () => !client.socket.connected);
    }
    const { message: between } = await witness.send(ticketId, "between");
    assert.equal(between.seq, before.seq + 1);

    await it.gateways[0].start();
    for (const [i, client] of clients.entries()) {
      await until(`client ${i} is back (it was cut off by: ${reasons[i]})`, () => client.socket.connected, 30_000);
      const again = await client.join(ticketId);
      assert.deepEqual(again.messages.slice(-2), [before, between]);
    }
    await witness.send(ticketId, "after");
    for (const client of clients) await client.saw("message_received", (event) => event.message.content === "after");
    [...clients, witness].forEach((client) => client.close());
  });
}

test("a client of a draining gateway finds the other one", async () => {
  const { _id: ticketId } = await it.newTicket();
  const client = await it.join(ticketId, 0);
  const stopping = it.gateways[0].stop();
  await client.saw("server_draining");
  const moved = await it.join(ticketId, 1, client.person);
  await moved.send(ticketId, "still here");
  await stopping;
  await it.gateways[0].start();
  const back = await it.join(ticketId, 0);
  assert.equal(back.joined.messages.at(-1).content, "still here");
});
