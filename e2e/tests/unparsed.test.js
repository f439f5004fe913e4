/**
 * What is not HTTP, or not what a route takes: named as a problem on every port, with the id of a request.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertProblem } from "../harness/checks.js";
import { exchange, Wire } from "../harness/raw.js";
import { Rest } from "../harness/rest.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("unparsed");

const ports = () => [it.gateways[0].env.PORT, it.gateways[0].env.OPS_PORT, it.worker.env.OPS_PORT].map(Number);
const get = (headers, target = "/livez") => `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`;
const post = (headers) => `POST /tickets HTTP/1.1\r\nHost: 127.0.0.1\r\n${headers}\r\n`;
const many = Array.from({ length: 120 }, (_, i) => `X-${i}: a\r\n`).join("");

/**
 * @param {Awaited<ReturnType<typeof exchange>>} answer
 * @param {number | number[]} status
 * @param {string} what
 */
function assertUnparsed(answer, status, what) {
  const headers = new Headers(answer.head.split("\r\n").slice(1).map((line) => /** @type {[string, string]} */ (line.split(/: (.*)/, 2))));
  assert.ok([status].flat().includes(answer.status), what);
  const body = JSON.parse(answer.body || "{}");
  assertProblem({ status: answer.status, headers, body, text: answer.all }, status, status === 400 ? "invalid_payload" : "payload_too_large", undefined, what);
  assert.equal(headers.get("connection"), "close", what);
  assert.ok(body.detail && body.title, what);
  return headers.get("x-request-id");
}

test("what can't be parsed is answered with a reason, on every port", async () => {
  const ids = new Set();
  const wrong = {
    "no request": [400, "GARBAGE\r\n\r\n"],
    "no version": [400, "GET /livez\r\n\r\n"],
    "another version": [400, "GET /livez HTTP/9.9\r\nHost: x\r\n\r\n"],
    "a method that is none": [400, "G@T /livez HTTP/1.1\r\nHost: x\r\n\r\n"],
    "a target that is none": [400, "GET /a<b HTTP/1.1\r\nHost: x\r\n\r\n".replace("<", "\x01")],
    "a field without a colon": [400, get("nonsense\r\n")],
    "a name with a space": [400, get("a b: c\r\n")],
    "a space before the colon": [400, get("a : c\r\n")],
    "a zero in a value": [400, get("a: \0\r\n")],
    "a folded line": [400, get("a: b\r\n c\r\n")],
    "a length that is none": [400, post("Content-Length: 1x\r\n")],
    "a negative length": [400, post("Content-Length: -1\r\n")],
    "two lengths": [400, post("Content-Length: 1\r\nContent-Length: 2\r\n")],
    "an unknown transfer coding": [400, post("Transfer-Encoding: gzip\r\n")],
    "chunks before HTTP/1.1": [400, post("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0")],
    "many fields": [431, get(many)],
    "a large field": [431, get(`a: ${"b".repeat(1_000_000)}\r\n`)],
    "a long target": [[414, 431], get("", `/${"a".repeat(70_000)}`)],
  };
  for (const port of ports()) {
    for (const [what, [status, request]] of Object.entries(wrong)) {
      const answer = await exchange(port, /** @type {string} */ (request));
      ids.add(assertUnparsed(answer, /** @type {number | number[]} */ (status), `${what} at ${port}: ${answer.all.slice(0, 500)}`));
    }
  }
  assert.equal(ids.size, ports().length * Object.keys(wrong).length, "each has an id of its own");
});

test("a header that is much too large does not lose its answer", async () => {
  for (const port of ports()) {
    const answers = await Promise.all(Array.from({ length: 8 }, () => exchange(port, get(`a: ${"b".repeat(2_000_000)}\r\n`))));
    for (const answer of answers) assertUnparsed(answer, 431, "a large header");
  }
});

test("after a good request, too, and the good one is answered", async () => {
  for (const port of ports()) {
    const wire = new Wire(port);
    wire.write(get(""));
    await until("an answer", () => wire.heard.toString().includes("ok"));
    wire.heard = Buffer.alloc(0);
    wire.write("GARBAGE\r\n\r\n");
    await until("the end", () => wire.ended);
    assert.match(wire.heard.toString(), /^HTTP\/1.1 400 [^]*x-request-id: [0-9a-f]{24}\r\n[^]*"invalid_payload"/);
  }
});

test("a body with a length and chunks is read by its chunks, and nothing behind it is a request", async () => {
  const [port] = ports();
  for (const lengths of ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"]) {
    const wire = new Wire(port);
    wire.write(`${post(`Content-Type: application/json\r\n${lengths}`)}0\r\n\r\n${get("")}`);
    await until("the end", () => wire.ended);
    assert.match(wire.heard.toString(), /^HTTP\/1.1 400 [^]*connection: close/i);
    assert.equal(wire.heard.toString().match(/HTTP\/1.1/g).length, 1, wire.heard.toString());
  }
});

test("a body in several transfer codings is refused", async () => {
  for (const codings of ["gzip, chunked", "chunked, chunked"]) {
    const request = `${post(`Content-Type: application/json\r\nTransfer-Encoding: ${codings}\r\n`)}2\r\n{}\r\n0\r\n\r\n`;
    assertUnparsed(await exchange(ports()[0], request), 400, codings);
  }
});

test("HTTP/2 without TLS is refused by the end of the connection", async () => {
  for (const port of ports()) {
    const wire = new Wire(port);
    wire.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    await until("the end", () => wire.ended);
  }
});

test("unknown paths and methods are problems on every port", async () => {
  for (const port of ports()) {
    const rest = new Rest(`http://127.0.0.1:${port}`);
    assertProblem(await rest.get("/nothing"), 404, "not_found");
    assertProblem(await rest.get("/LIVEZ"), 404, "not_found", undefined, "in another case");
    const wrong = await rest.ask("DELETE", "/livez");
    assertProblem(wrong, 405, "method_not_allowed");
    assert.match(wrong.headers.get("allow") ?? "", /GET/);
  }
});
