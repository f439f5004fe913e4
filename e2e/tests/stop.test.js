/**
 * A planned stop, as HTTP clients and balancers see it: served for DRAIN_MS and sent elsewhere, then what has begun is finished.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { Wire } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("stop", { env: { DRAIN_MS: "3000" } });

const head = (start, headers = "") => `${start} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`;
const get = (path) => head(`GET ${path}`);
const whole = (subject) => {
  const body = JSON.stringify({ subject, userId: "u", userName: "U" });
  return head("POST /tickets", `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`) + body;
};
const port = () => Number(it.gateways[0].env.PORT);
const opsPort = () => Number(it.gateways[0].env.OPS_PORT);
const text = (wire) => wire.heard.toString("latin1");

/** A connection over which one request was answered, without a word of closing it. */
async function kept() {
  const wire = new Wire(port());
  wire.write(get("/livez"));
  await until("the answer", () => text(wire).endsWith("ok\n"));
  assert.doesNotMatch(text(wire), /^connection: close/im);
  wire.heard = Buffer.alloc(0);
  return wire;
}

/** Whether nothing listens on the gateway's port any more. */
const refused = () =>
  new Promise((resolve) => {
    const socket = connect(port(), "127.0.0.1");
    socket.on("connect", () => (socket.destroy(), resolve(false)));
    socket.on("error", (error) => resolve(/** @type {any} */ (error).code === "ECONNREFUSED"));
  });

/** @param {Wire} wire @param {number} status the answer, which says that it is the last, and is */
async function answeredLast(wire, status) {
  await until("the end", () => wire.ended);
  assert.match(text(wire), new RegExp(`^HTTP/1.1 ${status} `));
  assert.match(text(wire), /^connection: close\r$/im);
}

test("while it drains everything is served, and each answer sends its client elsewhere", { timeout: 60_000 }, async () => {
  const [used, idle] = [await kept(), await kept()];
  const stopping = it.gateways[0].stop();
  const unready = new Wire(opsPort());
  await until("unready", async () => {
    const asks = new Wire(opsPort());
    asks.write(get("/readyz"));
    await until("an answer", () => asks.ended || /\r\n\r\n[^]/.test(text(asks)));
    return text(asks).startsWith("HTTP/1.1 503");
  });
  used.write(get("/tickets?limit=1"));
  await answeredLast(used, 200);
  const fresh = new Wire(port());
  fresh.write(whole("While it drains"));
  await answeredLast(fresh, 201);
  const { id } = text(fresh).match(/^location: \/tickets\/(?<id>[0-9a-f]{24})/im).groups;
  unready.write(get("/readyz"));
  await answeredLast(unready, 503);
  await stopping;
  await until("the idle one is closed", () => idle.ended);
  assert.equal(text(idle), "", "and nothing was sent over it");
  assert.equal((await it.rest(1).get(`/tickets/${id}`)).status, 200);
  await it.gateways[0].start();
});

test("what has begun is finished: half a body, half a header", { timeout: 60_000 }, async () => {
  const cuts = { "half a body": -20, "half a header": 40 };
  const begun = Object.entries(cuts).map(([subject, at]) => {
    const [wire, request] = [new Wire(port()), whole(subject)];
    wire.write(request.slice(0, at));
    return { wire, rest: request.slice(at), subject };
  });
  // The same over a connection that was kept.
  const [again, request] = [await kept(), whole("half a header over a kept connection")];
  again.write(request.slice(0, 40));
  begun.push({ wire: again, rest: request.slice(40), subject: "half a header over a kept connection" });
  // So that all of it was read.
  await kept();
  const stopping = it.gateways[0].stop();
  await until("it accepts no more", refused);
  for (const { wire, subject } of begun) assert.ok(!wire.ended, subject);
  for (const { wire, rest } of begun) wire.write(rest);
  for (const { wire, subject } of begun) {
    await answeredLast(wire, 201);
    const { id } = text(wire).match(/^location: \/tickets\/(?<id>[0-9a-f]{24})/im).groups;
    const stored = await it.rest(1).get(`/tickets/${id}`);
    assert.equal(stored.body.ticket.subject, subject);
  }
  await stopping;
  await it.gateways[0].start();
});

test("what never ends is not waited for", { timeout: 90_000 }, async () => {
  const endless = [whole("x").slice(0, -5), whole("x").slice(0, 30)].map((part) => {
    const wire = new Wire(port());
    wire.write(part);
    return wire;
  });
  await kept();
  // Fails where it does not end by itself, or not with exit code 0.
  await it.gateways[0].stop();
  await until("both are closed", () => endless.every((wire) => wire.ended));
  await it.gateways[0].start();
});
