/**
 * The makes and versions of clients that are promised to work, each over each transport that it has: what `docs/clients.md`
 * lists is what runs here.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { Foreign, makes } from "../harness/foreign.js";
import { Front, program } from "../harness/front.js";
import { unless } from "../harness/needed.js";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

const it = stack("clients", { env: WITH_TOKENS });

/** @type {[string, string[] | undefined][]} */
const WAYS = [["websocket", ["websocket"]], ["polling", ["polling"]], ["polling, then websocket", undefined]];

let people = 0;

/** A customer with a ticket, whose client is of another make, and an agent of ours at the other gateway who has joined. */
class Desk {
  /** @param {import("../harness/foreign.js").Make} make @param {string} way @param {string[] | undefined} transports */
  constructor(make, way, transports) {
    Object.assign(this, { way, transports, number: (people += 1) });
    this.client = new Foreign(make);
    this.sub = `customer-${this.number}`;
    this.token = token({ sub: this.sub, name: `Customer ${this.number}` });
  }

  /** @param {string} [url] where the client connects */
  async open(url = it.url(0)) {
    const asked = { body: { subject: `${this.client.name}, ${this.way}` }, headers: bearer(this.token) };
    const opened = await it.rest(1).ask("POST", "/tickets", asked);
    assert.equal(opened.status, 201, opened.text);
    this.ticketId = opened.body.ticket._id;
    const person = { userId: `agent-${this.number}`, userType: /** @type {const} */ ("agent"), userName: "Agent" };
    this.agent = await it.join(this.ticketId, 1, person, { auth: { token: token({ sub: person.userId, name: "Agent", role: "agent" }) } });
    await this.client.connect(url, this.transports, this.token);
    return this;
  }

  /** @param {object} [more] */
  join(more = {}) {
    return this.client.done("join_ticket", { ticketId: this.ticketId, ...more });
  }

  /** The customer says something, and both receive it once. @param {string} content */
  async say(content) {
    const { message } = await this.client.done("send_message", { ticketId: this.ticketId, content });
    assert.deepEqual([message.content, message.senderId], [content, this.sub]);
    const same = (/** @type {any} */ payload) => payload.message._id === message._id;
    assert.deepEqual((await this.client.saw("message_received", same)).message, (await this.agent.saw("message_received", same)).message);
  }

  async close() {
    await this.client.close();
    this.agent?.close();
  }
}

/** @param {Desk} desk */
async function talks(desk) {
  const { client, agent, ticketId, sub } = desk;
  const joined = await desk.join();
  assert.deepEqual([joined.ticket._id, joined.messages], [ticketId, []]);
  await agent.saw("user_joined", ({ userId }) => userId === sub);
  await desk.say("مرحبًا 👋 \u2028 & <b>");
  client.emit("send_message", { ticketId, content: "without a callback" });
  for (const each of [client, agent]) await each.saw("message_received", ({ message }) => message.content === "without a callback");
  await agent.send(ticketId, "an answer");
  await client.saw("message_received", ({ message }) => message.content === "an answer");
  assert.equal(client.of("message_received").length, 3);

  await client.done("typing", { ticketId, isTyping: true });
  await agent.saw("typing_indicator", ({ senderId, isTyping }) => senderId === sub && isTyping);
  await agent.typing(ticketId, true);
  await client.saw("typing_indicator", ({ senderId }) => senderId === agent.person.userId);

  const refused = await client.ask("send_message", { ticketId, content: "" });
  assert.deepEqual([refused.ok, refused.error.code, refused.error.field], [false, "invalid_payload", "content"]);
  client.emit("send_message", { ticketId, content: "" });
  await client.saw("exception", ({ event, error }) => event === "send_message" && error.field === "content");

  await client.done("leave_ticket", { ticketId });
  await agent.saw("user_left", ({ userId, reason }) => userId === sub && reason === "left");
  const last = desk.transports?.[0] ?? "websocket";
  await until(`it is on ${last}`, async () => (await client.transport()) === last);
}

/** Makes that keep no cookies in Node.js: behind a proxy they need websockets, or stickiness by address. */
const WITHOUT_COOKIES = /^socket\.io-client 4\.[0-6]\./;

/** @type {Desk[]} those of which all works so far */
const desks = [];
/** @type {Foreign[]} */
const started = [];
after(() => started.forEach((client) => client.kill()));

for (const make of makes()) {
  describe(make.name, { skip: unless(make.found, make.name), concurrency: false }, () => {
    for (const [way, transports] of WAYS) {
      test(`${way}: connects with a token, joins, sends, receives, types, leaves`, { timeout: 180_000 }, async () => {
        const desk = new Desk(make, way, transports);
        started.push(desk.client);
        await talks(await desk.open());
        desks.push(desk);
      });
    }

    test("a token that is none is refused with the reason", { timeout: 180_000 }, async () => {
      const client = new Foreign(make);
      try {
        client.tell("connect", { url: it.url(0), transports: ["websocket"], token: "no.such.token" });
        assert.match((await client.reported("refused")).reason, /unauthenticated/);
      } finally {
        client.kill();
      }
    });
  });
}

const skip = unless(program("haproxy"), "haproxy");
test("through a proxy with a sticky cookie each client that keeps cookies polls", { skip, timeout: 240_000 }, async (t) => {
  const front = await Front.start("haproxy", it.gateways.map(({ env }) => Number(env.PORT)));
  // By name: aiohttp keeps no cookies of addresses.
  const url = front.url.replace("127.0.0.1", "localhost");
  try {
    for (const make of makes().filter(({ name }) => !WITHOUT_COOKIES.test(name))) {
      await t.test(make.name, async () => {
        // One after the other they come to both gateways.
        for (let i = 0; i < 2; i++) {
          const desk = new Desk(make, "polling", ["polling"]);
          started.push(desk.client);
          await talks(await desk.open(url));
          await desk.close();
        }
      });
    }
    for (const make of makes().filter(({ name }) => WITHOUT_COOKIES.test(name))) {
      await t.test(`${make.name}, by websocket`, async () => {
        const desk = new Desk(make, "websocket", ["websocket"]);
        started.push(desk.client);
        await talks(await desk.open(url));
        await desk.close();
      });
    }
  } finally {
    await front.stop();
  }
});

test("a gateway is killed, and each client comes back and resumes", { timeout: 240_000 }, async (t) => {
  const joined = await Promise.all(desks.map((desk) => desk.join()));
  await it.gateways[0].kill();
  await Promise.all(desks.map(({ client }) => client.reported("disconnected")));
  const missed = ["one", "two", "three"];
  for (const content of missed) await Promise.all(desks.map(({ agent, ticketId }) => agent.send(ticketId, content)));
  await it.gateways[0].start();
  for (const [i, desk] of desks.entries()) {
    await t.test(`${desk.client.name}, ${desk.way}`, async () => {
      await until("it is connected again", () => desk.client.count("connected") > 1, 60_000);
      const { seq: since, epoch } = joined[i];
      const { recovered, messages, seq } = await desk.join({ since, epoch });
      assert.deepEqual([recovered, messages.map(({ content }) => content), seq], [true, missed, since + missed.length]);
      await desk.say("after the gateway died");
      await desk.close();
    });
  }
});
