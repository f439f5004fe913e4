/**
 * No secret, and no word of a customer, in logs or metrics: however much an operator asks to be logged.
 *
 * Everything that clients say and every secret carries a canary, the processes log all they can, and none of the
 * canaries may be found in what they wrote, nor in what they answer to operators.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { exchange, frame, RawSocket } from "../harness/raw.js";
import { someone, stack } from "../harness/stack.js";

// What an operator might set who looks for a fault.
const EVERYTHING = "trace,fred=trace,mongodb=trace,socketioxide=trace,engineioxide=trace,hyper=trace,tower_http=trace,h2=trace";
const it = stack("canary", { env: { LOG: EVERYTHING }, workerEnv: { LOG: EVERYTHING } });

let made = 0;
/** @type {string[]} */
const canaries = [];

/** A text that nothing else contains. @param {string} what */
function canary(what) {
  made += 1;
  const text = `canary-${what}-${made}-${Math.random().toString(36).slice(2)}`;
  canaries.push(text);
  return text;
}

/** Everything that the processes wrote. */
function written() {
  const directory = dirname(it.gateways[0].log);
  return readdirSync(directory).map((name) => readFileSync(join(directory, name), "utf8")).join("\n");
}

/** @param {string} text @param {string} where */
function assertNone(text, where) {
  const found = canaries.filter((each) => text.includes(each));
  const lines = text.split("\n").filter((line) => found.some((each) => line.includes(each)));
  assert.deepEqual(found, [], `${where}: ${lines.slice(0, 5).join("\n").slice(0, 2_000)}`);
}

test("a whole life of a ticket leaves no word of it", async () => {
  const agent = { ...someone("agent"), userName: canary("agent-name") };
  const user = { ...someone(), userName: canary("user-name") };
  const ticket = await it.newTicket({
    subject: canary("subject"),
    description: canary("description"),
    userName: user.userName,
    tags: [canary("tag")],
  });
  const [one, two] = [await it.join(ticket._id, 0, user), await it.join(ticket._id, 1, agent)];
  for (let i = 0; i < 5; i++) await one.send(ticket._id, canary("content"), { clientMessageId: `c-${i}` });
  await two.send(ticket._id, canary("internal"), { internal: true });
  await one.typing(ticket._id, true);
  await two.done("ticket_status_change", { ticketId: ticket._id, status: "pending", changedBy: agent.userId, changedByName: agent.userName });
  await two.done("assign_agent", { ticketId: ticket._id, agentId: agent.userId, agentName: agent.userName, assignedBy: agent.userId, assignedByName: agent.userName });
  await one.saw("agent_assigned");
  await it.rest().get(`/tickets/${ticket._id}/messages`);
  await it.rest(1).get("/tickets");
  await it.store.settled();
});

test("nor do mistakes of every kind", async () => {
  const ticket = await it.newTicket({ subject: canary("subject") });
  const client = await it.join(ticket._id, 0);
  const good = client.message(ticket._id, canary("content"));
  for (const payload of [
    { ...good, content: { text: canary("object") } },
    { ...good, content: canary("long").padEnd(9_000, "x") },
    { ...good, senderType: canary("enum") },
    { ...good, ticketId: canary("id") },
    { ...good, ticketId: "0123456789abcdef01234567" },
    canary("no-object"),
    [canary("list")],
  ]) {
    assert.equal((await client.ask("send_message", payload)).ok, false);
  }
  await client.ask("ticket_status_change", { ticketId: ticket._id, status: "closed", changedBy: "u", changedByName: canary("name"), expectedSeq: 99 });
  await client.ask(canary("event"), { content: canary("content") });
  for (const body of [`{"subject":"${canary("json")}`, `{"subject":17,"description":"${canary("rest")}"}`, canary("text")]) {
    assert.ok((await it.rest().ask("POST", "/tickets", { raw: body })).status >= 400);
  }
  const port = Number(it.gateways[0].env.PORT);
  for (const bytes of [frame(1, `42["send_message",{"content":"${canary("cut")}`), frame(1, `9${canary("type")}`), frame(2, canary("binary")), canary("no-frame"), frame(1, `40/${canary("namespace")},`), frame(1, `40{"token":"${canary("token")}"}`)]) {
    const socket = await RawSocket.open(port);
    socket.write(bytes);
    // Answered or closed: then it was read.
    socket.text('427["leave_ticket",{}]');
    await new Promise((resolve) => {
      const timer = setInterval(() => (socket.ended || socket.find("437[")) && (clearInterval(timer), resolve(undefined)), 10);
    });
    socket.close();
  }
  const headers = { authorization: `Bearer ${canary("bearer")}`, "idempotency-key": canary("key"), cookie: canary("cookie") };
  await it.rest().post("/tickets", { subject: canary("subject") }, headers);
  await it.rest().ask("GET", `/tickets?limit=${canary("limit")}&token=${canary("query")}`);
  await exchange(port, `GET /tickets HTTP/1.1\r\nHost: x\r\nX: ${canary("header")}\0\r\n\r\n`);
  const browser = await it.connect(0, { auth: { token: canary("auth") }, extraHeaders: { authorization: `Bearer ${canary("handshake")}` } });
  browser.close();
  await it.store.settled();
});

test("nor do settings that are wrong", async () => {
  const gateway = it.gateways[0];
  const bin = gateway.child.spawnfile;
  for (const [name, value] of [
    ["MONGO_URI", `mongodb://u:${canary("mongo")}@x@h/d`],
    ["MONGO_URI", `mongodb://u:${canary("mongo")}@h:port/d`],
    ["MONGO_URI", `mongodb://u:${canary("mongo")}@h/d?timeoutMS=5`],
    ["MONGO_URI", canary("mongo")],
    ["REDIS_URL", `redis://u:${canary("redis")}@h:port`],
    ["REDIS_URL", `redis://u:${canary("redis")}@h:6379/1`],
    ["REDIS_URL", canary("redis")],
    ["LOG", `${canary("log")}=nothing=nothing`],
    ["PORT", canary("port")],
  ]) {
    for (const program of [bin, it.worker.child.spawnfile]) {
      const said = await new Promise((resolve) => {
        const env = { AUTH_MODE: "none", [name]: value };
        execFile(program, ["check-config"], { env }, (_, out, err) => resolve(out + err));
      });
      assert.notEqual(said, "");
      if (name !== "PORT" && name !== "LOG") assertNone(said, `${program} with ${name}`);
    }
  }
});

test("nothing was found", async () => {
  assert.ok(canaries.length > 40, `${canaries.length} canaries`);
  for (const process of it.processes) {
    for (const path of ["/metrics", "/readyz", "/livez"]) {
      const answer = await fetch(`http://127.0.0.1:${process.env.OPS_PORT}${path}`);
      assertNone(await answer.text(), `${process.name} ${path}`);
    }
  }
  const log = written();
  // The logs were kept, and finer lines than usual are in them.
  assert.match(log, /"level":"(DEBUG|TRACE)"/);
  assertNone(log, "logs");
});
