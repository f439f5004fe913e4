/**
 * Through proxies, as clients come in operation: websockets, polling with stickiness, connections that are idle for longer
 * than the proxy's time-outs, a gateway that dies, and a proxy that breaks upgrades.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { after, before, describe, test } from "node:test";
import { Breaking } from "../harness/breaking.js";
import { Client } from "../harness/client.js";
import { Front, program } from "../harness/front.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("proxies", { env: { TRUSTED_PROXIES: "127.0.0.1" } });

/** As `socket.io-client` does where it is not told otherwise. */
const DEFAULT = ["polling", "websocket"];

/** Longer than the proxies let a connection be silent. */
const IDLE = 75_000;
const ports = () => it.gateways.map((each) => Number(each.env.PORT));

/**
 * A client behind a proxy that has joined. Stickiness is by cookie, which a client outside browsers has to be told to keep.
 * @param {{url: string}} front @param {string} ticketId @param {string[]} transports
 */
async function join(front, ticketId, transports) {
  const quick = { reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 500, withCredentials: true };
  const client = new Client(front.url, { ...quick, transports });
  it.clients.push(client);
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

for (const name of ["nginx", "haproxy", "envoy", "traefik"]) {
  const missing = !program(name) && `${name} is not installed`;
  describe(name, { skip: missing, concurrency: false }, () => {
    /** @type {Front} */
    let front;
    before(async () => {
      await until("the gateways run", () => it.gateways.length === 2 && it.gateways.every((each) => each.alive), 60_000);
      front = await Front.start(name, ports());
    }, { timeout: 120_000 });
    after(() => front?.stop());

    test("websockets, polling with stickiness, and the upgrade from one to the other", async () => {
      const { _id: ticketId } = await it.newTicket();
      const ways = [["websocket"], ["websocket"], ["polling"], ["polling"], DEFAULT, DEFAULT];
      const clients = await Promise.all(ways.map((transports) => join(front, ticketId, transports)));
      await until("those who may are upgraded", () => clients.slice(4).every((client) => transport(client) === "websocket"), 30_000);
      await talk(clients, ticketId, "hello");
      assert.deepEqual(clients.slice(0, 4).map(transport), ways.slice(0, 4).map(([way]) => way));
      clients.forEach((client) => client.close());
    });
  });
}

test("idle connections outlive the proxies' time-outs, over either transport", { timeout: 240_000 }, async () => {
  const names = ["nginx", "haproxy", "envoy", "traefik"].filter(program);
  await until("the gateways run", () => it.gateways.length === 2 && it.gateways.every((each) => each.alive), 60_000);
  const fronts = await Promise.all(names.map((name) => Front.start(name, ports())));
  try {
    const { _id: ticketId } = await it.newTicket();
    const clients = await Promise.all(fronts.flatMap((front) => [join(front, ticketId, ["websocket"]), join(front, ticketId, ["polling"])]));
    const lost = clients.map(() => /** @type {string[]} */ ([]));
    clients.forEach((client, i) => client.socket.on("disconnect", (reason) => lost[i].push(reason)));
    // Nothing but time shows it.
    await pause(IDLE);
    assert.deepEqual(lost.flat(), []);
    await talk(clients, ticketId, "still here");

    await it.gateways[0].kill();
    // Those who were on it notice, reconnect elsewhere, and join again.
    for (const client of clients) {
      const joined = () => client.ask("join_ticket", { ticketId, ...client.person }).then((ack) => ack.ok, () => false);
      await until("joined", joined, 60_000);
    }
    await talk(clients, ticketId, "after a gateway died");
    clients.forEach((client) => client.close());
  } finally {
    if (!it.gateways[0].alive) await it.gateways[0].start();
    await Promise.all(fronts.map((front) => front.stop()));
  }
});

for (const [how, start, missing] of /** @type {const} */ ([
  ["removes what asks for one", (ports) => Front.start("nginx", ports, { upgrades: false }), !program("nginx") && "nginx is not installed"],
  ["cuts websockets", (ports) => Breaking.start(ports[0], "cuts"), false],
  ["swallows their frames", (ports) => Breaking.start(ports[0], "swallows"), false],
])) {
  test(`a proxy that ${how} leaves its clients with polling`, { skip: missing }, async () => {
    await until("the gateways run", () => it.gateways.length === 2 && it.gateways.every((each) => each.alive), 60_000);
    const front = await start(ports());
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
}
