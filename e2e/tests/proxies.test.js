/**
 * Through proxies, as clients come in operation: websockets, polling with stickiness, connections that are idle for longer
 * than the proxy's time-outs, a gateway that dies, and a proxy that breaks upgrades.
 *
 * The configurations are the files of `deploy/proxies`.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "node:test";
import { Breaking, WAYS } from "../harness/breaking.js";
import { Client } from "../harness/client.js";
import { Front, program } from "../harness/front.js";
import { unless } from "../harness/needed.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("proxies", { env: { TRUSTED_PROXIES: "127.0.0.1" } });

/** As `socket.io-client` does where it is not told otherwise. */
const DEFAULT = ["polling", "websocket"];

/** Longer than the proxies let a connection be silent. */
const IDLE = 75_000;
const NAMES = ["nginx", "haproxy", "envoy", "traefik"];
const ports = () => it.gateways.map((each) => Number(each.env.PORT));

/**
 * A client behind a proxy that has joined. Stickiness is by cookie, which a client outside browsers has to be told to keep.
 * @param {{url: string}} front @param {string} ticketId @param {string[]} transports
 */
async function join(front, ticketId, transports) {
  const quick = { reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 500, withCredentials: true };
  const client = new Client(front.url, { ...quick, transports });
  it.clients.push(client);
  /** @type {string[]} */
  client.lost = [];
  client.socket.on("disconnect", (reason) => client.lost.push(reason));
  await until("connected", () => client.socket.connected, 30_000);
  client.person = someone();
  client.joined = await client.join(ticketId);
  return client;
}

/** Each sends one message, and each receives all. @param {Client[]} clients @param {string} ticketId @param {string} what */
async function talk(clients, ticketId, what) {
  const said = clients.map((_, i) => `${what} ${i}`);
  await Promise.all(clients.map((client, i) => client.send(ticketId, said[i])));
  for (const client of clients) {
    for (const content of said) await client.saw("message_received", (event) => event.message.content === content, 30_000);
  }
}

const transport = (/** @type {Client} */ client) => client.socket.io.engine.transport.name;

const running = () => until("the gateways run", () => it.gateways.length === 2 && it.gateways.every((each) => each.alive), 60_000);

for (const name of NAMES) {
  const skip = unless(program(name), name);

  test(`${name}: websockets, polling with stickiness, and the upgrade from one to the other`, { skip, timeout: 120_000 }, async () => {
    await running();
    const front = await Front.start(name, ports());
    try {
      const { _id: ticketId } = await it.newTicket();
      const ways = [["websocket"], ["websocket"], ["polling"], ["polling"], DEFAULT, DEFAULT];
      const clients = await Promise.all(ways.map((transports) => join(front, ticketId, transports)));
      await until("those who may are upgraded", () => clients.slice(4).every((client) => transport(client) === "websocket"), 30_000);
      await talk(clients, ticketId, "hello");
      assert.deepEqual(clients.slice(0, 4).map(transport), ways.slice(0, 4).map(([way]) => way));
      clients.forEach((client) => client.close());
    } finally {
      await front.stop();
    }
  });

  for (const how of WAYS) {
    test(`${name}: a proxy behind it that breaks upgrades (${how}) leaves its clients with polling`, { skip, timeout: 120_000 }, async () => {
      await running();
      const behind = await Promise.all(ports().map((port) => Breaking.start(port, how)));
      const front = await Front.start(name, behind.map(({ port }) => port));
      try {
        const { _id: ticketId } = await it.newTicket();
        const clients = await Promise.all([join(front, ticketId, DEFAULT), join(front, ticketId, DEFAULT)]);
        await until("the upgrades were tried", () => behind.reduce((sum, { broken }) => sum + broken, 0) >= 2);
        for (let round = 0; round < 5; round++) await talk(clients, ticketId, `round ${round}`);
        assert.deepEqual(clients.map(transport), ["polling", "polling"]);
        assert.ok(clients.every(({ lost }) => lost.length === 0), JSON.stringify(clients.map(({ lost }) => lost)));
        clients.forEach((client) => client.close());
      } finally {
        await front.stop();
        await Promise.all(behind.map((each) => each.stop()));
      }
    });
  }
}

test("nginx without its two lines for upgrades leaves its clients with polling", { skip: unless(program("nginx"), "nginx"), timeout: 120_000 }, async () => {
  await running();
  const front = await Front.start("nginx", ports(), { upgrades: false });
  try {
    const { _id: ticketId } = await it.newTicket();
    const clients = await Promise.all([join(front, ticketId, DEFAULT), join(front, ticketId, DEFAULT)]);
    for (let round = 0; round < 10; round++) await talk(clients, ticketId, `round ${round}`);
    assert.deepEqual(clients.map(transport), ["polling", "polling"]);
    clients.forEach((client) => client.close());
  } finally {
    await front.stop();
  }
});

test("idle for 75 s, over either transport; then a gateway is killed", { timeout: 300_000 }, async (t) => {
  await running();
  const fronts = await Promise.all(NAMES.filter(program).map((name) => Front.start(name, ports())));
  try {
    const { _id: ticketId } = await it.newTicket();
    const each = await Promise.all(fronts.map((front) => Promise.all([["websocket"], ["polling"]].map((way) => join(front, ticketId, way)))));
    // Nothing but time shows it.
    await pause(IDLE);
    for (const [i, clients] of each.entries()) {
      await t.test(`${fronts[i].name}: idle`, async () => {
        assert.deepEqual(clients.flatMap(({ lost }) => lost), []);
        await talk(clients, ticketId, `still here, ${fronts[i].name}`);
      });
    }
    // One after the other, so that each client's own is among them.
    for (const [number, gateway] of it.gateways.entries()) {
      await gateway.kill();
      for (const [i, clients] of each.entries()) {
        await t.test(`${fronts[i].name}: gateway ${number + 1} killed`, async () => {
          // Those who were on it notice, reconnect elsewhere, and join again.
          for (const client of clients) {
            const joined = () => client.ask("join_ticket", { ticketId, ...client.person }).then((ack) => ack.ok, () => false);
            await until("joined", joined, 60_000);
          }
          await talk(clients, ticketId, `after gateway ${number + 1} died, ${fronts[i].name}`);
        });
      }
      await gateway.start();
    }
  } finally {
    for (const gateway of it.gateways) if (!gateway.alive) await gateway.start();
    await Promise.all(fronts.map((front) => front.stop()));
  }
});
