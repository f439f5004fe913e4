/**
 * What clients and servers agree on by headers: codings of bodies, formats of metrics, keys of requests.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { assertProblem } from "../harness/checks.js";
import { exchange } from "../harness/raw.js";
import { Rest } from "../harness/rest.js";
import { stack } from "../harness/stack.js";

const it = stack("negotiated");

const LIMIT = 64 * 1024;
const TICKET = { subject: "A test", userId: "u", userName: "U" };
const ticket = Buffer.from(JSON.stringify(TICKET));
/** @param {Uint8Array} raw @param {string} coding */
const post = (raw, coding) => it.rest().ask("POST", "/tickets", { raw, headers: { "content-encoding": coding } });

test("a body may be in gzip", async () => {
  const plain = Buffer.from(`\ufeff${JSON.stringify({ ...TICKET, subject: "In gzip" })}`);
  for (const coding of ["gzip", "x-gzip", "GZIP"]) {
    const answer = await post(gzipSync(plain), coding);
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.body.ticket.subject, "In gzip");
  }
  assert.equal((await post(ticket, "identity")).status, 201);
  const full = Buffer.concat([ticket, Buffer.alloc(LIMIT - ticket.length, " ")]);
  assert.equal((await post(gzipSync(full), "gzip")).status, 201);
});

test("a bomb is too large, broken gzip is no JSON", async () => {
  const bombs = [Buffer.concat([ticket, Buffer.alloc(LIMIT, " ")]), Buffer.alloc(60_000_000, "[")];
  for (const bomb of bombs) assertProblem(await post(gzipSync(bomb), "gzip"), 413, "payload_too_large");
  const whole = gzipSync(ticket);
  for (const broken of [ticket, whole.subarray(0, -1), whole.subarray(0, 11), Buffer.from([0x1f, 0x8b])]) {
    assertProblem(await post(broken, "gzip"), 400, "invalid_payload");
  }
  // What comes is bounded, too.
  const many = Buffer.concat(Array.from({ length: 3_500 }, () => gzipSync("")));
  assert.ok(many.length > LIMIT);
  assertProblem(await post(many, "gzip"), 413, "payload_too_large");
});

test("any other coding is refused, and the one that is taken is named", async () => {
  for (const [coding, body] of Object.entries({ br: brotliCompressSync(ticket), deflate: deflateSync(ticket), zstd: ticket, "gzip, gzip": gzipSync(gzipSync(ticket)) })) {
    const answer = await post(body, coding);
    assertProblem(answer, 415, "unsupported_media_type", undefined, coding);
    assert.equal(answer.headers.get("accept-encoding"), "gzip", coding);
  }
});

test("metrics come in the format that is asked for", async () => {
  for (const each of [it.gateways[0], it.worker]) {
    const ask = async (accept) => new Rest(`http://127.0.0.1:${each.env.OPS_PORT}`).ask("GET", "/metrics", { headers: { accept } });
    const open = await ask("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1");
    assert.match(open.headers.get("content-type"), /^application\/openmetrics-text; version=1.0.0/);
    assert.match(open.text, /# EOF\n$/);
    const text = await ask("*/*");
    assert.match(text.headers.get("content-type"), /^text\/plain; version=0.0.4/);
    assert.doesNotMatch(text.text, /# EOF|# UNIT/);
    const names = (metrics) => new Set(metrics.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => line.split(/[ {]/)[0]));
    assert.deepEqual(names(text.text), names(open.text), "the same metrics");
    // Each sample is described under its own name.
    for (const [, name] of text.text.matchAll(/^# TYPE (\S+) counter$/gm)) assert.match(name, /_total$/);
    assert.match(text.text, /^# TYPE \S+_total counter$/m);
  }
});

test("a key may be quoted, and is the same then", async () => {
  const key = `key-${process.pid}-${Date.now()}`;
  const open = async (text) => (await it.rest().post("/tickets", TICKET, { "idempotency-key": text })).body.ticket._id;
  assert.equal(await open(`"${key}"`), await open(key));
  assertProblem(await it.rest().post("/tickets", TICKET, { "idempotency-key": '""' }), [400, 422], "invalid_payload", "Idempotency-Key");
});

test("an empty cursor is none", async () => {
  await it.newTicket();
  const [first, all] = [await it.rest().get("/tickets?cursor=&limit=1"), await it.rest().get("/tickets?limit=1")];
  assert.equal(first.status, 200, first.text);
  assert.deepEqual(first.body, all.body);
});

test("OPTIONS and HEAD of any path are answered with an id", async () => {
  const port = Number(it.gateways[0].env.PORT);
  for (const start of ["OPTIONS /tickets", "OPTIONS /nothing", "HEAD /livez", "OPTIONS /socket.io/"]) {
    const answer = await exchange(port, `${start} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n`);
    assert.match(answer.head, /^x-request-id: mine\r?$/im, `${start}: ${answer.all}`);
  }
});
