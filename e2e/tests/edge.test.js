/**
 * HTTP itself: what clients and proxies may rely on, whatever a request is about.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { exchange, RawSocket, Wire } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("edge", { env: { KEEP_ALIVE: "2s" } });
const JSON_TYPE = "Content-Type: application/json\r\n";
const TICKET = JSON.stringify({ subject: "A test", userId: "u", userName: "U" });

const port = () => Number(it.gateways[0].env.PORT);
/** @param {string} start @param {string} headers */
const head = (start, headers = "") => `${start} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`;
/** @param {string | Uint8Array} body @param {string} headers */
const post = (path, body, headers = JSON_TYPE) => [head(`POST ${path}`, `${headers}Content-Length: ${body.length}\r\n`), body];

test("an answer that comes before the body has come is not lost", { timeout: 120_000 }, async () => {
  const large = "x".repeat(5_000_000);
  const cases = {
    "too large": [413, post("/tickets", large)],
    "no such path": [404, post("/nothing", large)],
    "a foreign origin": [403, post("/tickets", large, `${JSON_TYPE}Origin: http://evil.example.com\r\n`)],
    "no JSON": [415, post("/tickets", large, "")],
    "an unknown session": [400, post("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", large)],
  };
  for (const [name, [status, request]] of Object.entries(cases)) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => exchange(port(), request)));
    assert.deepEqual(answers.map((answer) => answer.status), Array(8).fill(status), name);
  }
});

test("a connection goes on after such an answer", async () => {
  const wire = new Wire(port());
  wire.write(post("/nothing", "x".repeat(60_000)).join("") + head("GET /livez"));
  await until("both answers", () => /404[^]*HTTP\/1.1 200/.test(wire.heard.toString()));
  wire.close();
});

test("whoever would wait to be told to go on is told that the body is too large", async () => {
  const answer = await exchange(port(), head("POST /tickets", `${JSON_TYPE}Content-Length: 70000\r\nExpect: 100-continue\r\n`));
  assert.equal(answer.status, 413, answer.all);
  assert.match(answer.head, /^connection: close/im);
});

test("a kept connection ends when it was idle for KEEP_ALIVE", async () => {
  const wire = new Wire(port());
  wire.write(head("GET /livez"));
  await until("the answer", () => wire.heard.includes("ok"));
  assert.ok(!wire.ended);
  await until("the end", () => wire.ended, 15_000);
});

test("a client that closes its side after its request is answered", async () => {
  for (let round = 0; round < 10; round++) {
    for (const request of [post("/tickets", TICKET).join(""), head("GET /tickets?limit=1"), head("GET /health"), head("GET /nothing")]) {
      const wire = new Wire(port());
      wire.socket.on("connect", () => wire.socket.end(request));
      await until("the end", () => wire.ended);
      assert.match(wire.heard.toString(), /^HTTP\/1.1 (20[01]|404) /, request);
    }
  }
});

test("a polling client that closes its side after its request is answered, and misses nothing", async () => {
  const { _id: ticketId } = await it.newTicket();
  const path = (sid) => `/socket.io/?EIO=4&transport=polling${sid ? `&sid=${sid}` : ""}`;
  /** @param {string} request */
  const closing = async (request) => {
    const wire = new Wire(port());
    wire.socket.on("connect", () => wire.socket.end(request));
    await until("the end", () => wire.ended);
    const [start, body] = wire.heard.toString().split("\r\n\r\n");
    assert.match(start, /^HTTP\/1.1 200 /, request);
    assert.match(start, /^x-request-id: /im);
    return body;
  };
  const say = (sid, packet) => closing(post(path(sid), packet, "Content-Type: text/plain\r\n").join(""));
  for (let round = 0; round < 5; round++) {
    const { sid } = JSON.parse((await closing(head(`GET ${path()}`))).slice(1));
    const polled = async (start) => {
      let packets = "";
      await until(start, async () => (packets += await closing(head(`GET ${path(sid)}`))).includes(start));
    };
    assert.equal(await say(sid, "40"), "ok");
    await polled("40{");
    // With nothing to say it is answered, too, and at once.
    assert.match(await closing(head(`GET ${path(sid)}`)), /^[26]$/);
    await say(sid, `420["join_ticket",${JSON.stringify({ ticketId, userId: "u", userType: "user", userName: "U" })}]`);
    await polled("430[");
    await say(sid, `421["send_message",${JSON.stringify({ ticketId, senderId: "u", senderType: "user", senderName: "U", content: `round ${round}` })}]`);
    await polled(`round ${round}`);
    await say(sid, "1");
  }
});

test("a websocket whose client closes its side is closed", async () => {
  const socket = await RawSocket.open(port());
  socket.socket.end();
  await until("the end", () => socket.ended);
});

test("bodies that do not come, or are broken, are named as what they are", { timeout: 60_000 }, async () => {
  const chunked = `${JSON_TYPE}Transfer-Encoding: chunked\r\n`;
  const broken = await exchange(port(), [head("POST /tickets", chunked), "zz\r\n{}\r\n0\r\n\r\n"]);
  assert.equal(broken.status, 400, broken.all);
  assert.match(broken.head, /^connection: close\r?$/im, broken.all);
  for (let round = 0; round < 10; round++) {
    const wire = new Wire(port());
    wire.socket.on("connect", () => wire.socket.end(`${head("POST /tickets", `${JSON_TYPE}Content-Length: 500\r\n`)}{"subject"`));
    await until("the end", () => wire.ended);
    assert.match(wire.heard.toString(), /^HTTP\/1.1 400 /, "cut short");
  }
  const slow = new Wire(port());
  slow.write(head("POST /tickets", `${JSON_TYPE}Content-Length: 500\r\n`));
  const drip = setInterval(() => slow.write(" "), 500);
  await until("an answer", () => slow.heard.length > 0 || slow.ended, 30_000);
  clearInterval(drip);
  assert.match(slow.heard.toString(), /^HTTP\/1.1 408 /, "dripped");
  slow.close();
});

test("a byte order mark is no part of the body", async () => {
  const [start, body] = post("/tickets", Buffer.from(`\ufeff${TICKET}`));
  assert.equal((await exchange(port(), [start, body])).status, 201);
});

test("a request names one host", async () => {
  const get = (headers, version = "1.1") => exchange(port(), `GET /livez HTTP/${version}\r\n${headers}\r\n`);
  for (const bad of ["", "Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", "Host: \r\n", "Host: a b\r\n", "Host: http://a/\r\n", "Host: u@127.0.0.1\r\n"]) {
    assert.equal((await get(bad)).status, 400, JSON.stringify(bad));
  }
  assert.equal((await get("Host: 127.0.0.1:5000\r\n")).status, 200);
  // Before HTTP/1.1 none was needed; which hosts are allowed is another question.
  assert.equal((await get("", "1.0")).status, 403);
});

test("every answer has a request id, the caller's where it is one", async () => {
  const id = "A1/b:c_~!".padEnd(128, "x");
  const requests = {
    REST: head("GET /livez", `X-Request-Id: ${id}\r\n`),
    "a foreign origin": head("POST /tickets", `X-Request-Id: ${id}\r\nOrigin: http://evil.example.com\r\n`),
    "a preflight": head("OPTIONS /tickets", `X-Request-Id: ${id}\r\nOrigin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n`),
    "the transport": head("GET /socket.io/?EIO=3&transport=polling", `X-Request-Id: ${id}\r\n`),
    "no host": `GET /livez HTTP/1.1\r\nX-Request-Id: ${id}\r\n\r\n`,
  };
  for (const [name, request] of Object.entries(requests)) {
    const answer = await exchange(port(), request);
    assert.ok(answer.head.toLowerCase().includes(`x-request-id: ${id.toLowerCase()}`), `${name}: ${answer.all}`);
  }
  for (const bad of ["x".repeat(129), "a b", "\xe9"]) {
    const answer = await exchange(port(), head("GET /livez", `X-Request-Id: ${bad}\r\n`));
    assert.match(answer.head, /^x-request-id: [0-9a-f]{24}\r?$/im, bad);
  }
});
