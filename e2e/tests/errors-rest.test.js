/**
 * Every mistake over REST: RFC 9457 with the contract's code, the field, and a request id.
 */
import assert from "node:assert/strict";
import { request } from "node:http";
import { afterEach, test } from "node:test";
import { assertProblem } from "../harness/checks.js";
import { stack } from "../harness/stack.js";

const it = stack("errors-rest", {
  setup: async (it) => {
    ({ _id: ticketId } = await it.newTicket());
  },
});
const NOBODY = "0123456789abcdef01234567";
const INVALID = [400, 422];

/** @type {string} */
let ticketId;
afterEach(async () => assert.equal((await it.rest().get("/health")).status, 200));

test("POST /tickets: what is wrong is named", async () => {
  for (const [field, value] of [
    ["subject", undefined],
    ["subject", ""],
    ["subject", "  "],
    ["subject", 17],
    ["subject", { $gt: "" }],
    ["subject", ["x"]],
    ["subject", "x".repeat(201)],
    ["description", 17],
    ["description", "x".repeat(8_193)],
    ["priority", "extreme"],
    ["priority", 1],
    ["tags", "refund"],
    ["tags", [1]],
    ["tags", {}],
    ["userId", { $gt: "" }],
    ["userId", "x".repeat(129)],
    ["userName", true],
    ["userName", "a\u202eb"],
    ["userId", "a\u0007"],
    ["userName", "x".repeat(129)],
  ]) {
    const answer = await it.rest().post("/tickets", { subject: "s", [field]: value });
    assertProblem(answer, INVALID, "invalid_payload", field, `${field}: ${JSON.stringify(value)?.slice(0, 40)}`);
  }
  assert.equal((await it.rest().post("/tickets", { subject: "x".repeat(200) })).status, 201);
});

test("POST /tickets: a body that is no JSON object", async () => {
  for (const raw of ["", "{", "null", "17", '"text"', "[]", "\u0000", '{"subject": "s"} trailing']) {
    assertProblem(await it.rest().ask("POST", "/tickets", { raw }), INVALID, "invalid_payload", undefined, raw);
  }
  const bytes = new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]);
  assertProblem(await it.rest().ask("POST", "/tickets", { raw: bytes }), INVALID, "invalid_payload", undefined, "no UTF-8");
  const deep = `{"subject":${"[".repeat(20_000)}`;
  assertProblem(await it.rest().ask("POST", "/tickets", { raw: deep }), INVALID, "invalid_payload", undefined, "deep");
});

test("POST /tickets: an Idempotency-Key out of limits", async () => {
  const answer = await it.rest().post("/tickets", { subject: "s" }, { "idempotency-key": "k".repeat(300) });
  assertProblem(answer, INVALID, "invalid_payload");
});

test("a body over 64 KiB", async () => {
  const answer = await it.rest().post("/tickets", { subject: "s", description: "x".repeat(80_000) });
  assertProblem(answer, 413, "payload_too_large");
});

test("a body over 64 KiB that does not say how long it is", async () => {
  const answer = await new Promise((resolve, reject) => {
    const asked = request(`${it.url()}/tickets`, { method: "POST", headers: { "content-type": "application/json" } }, (got) => {
      got.resume();
      resolve({ status: got.statusCode });
    });
    // The server may close the connection while this is still writing.
    asked.on("error", (error) => (/** @type {any} */ (error).code === "EPIPE" || /** @type {any} */ (error).code === "ECONNRESET" ? resolve({ status: 413 }) : reject(error)));
    asked.write('{"subject":"s","description":"');
    for (let i = 0; i < 20; i++) asked.write("x".repeat(8_000));
    asked.end('"}');
  });
  assert.equal(answer.status, 413);
});

test("a ticket id of another format, and one of no ticket", async () => {
  for (const path of ["", "/messages"]) {
    for (const id of ["17", "g".repeat(24), `${NOBODY}0`, "%7B%22%24gt%22%3A%22%22%7D", "%00", "%FF"]) {
      const answer = await it.rest().get(`/tickets/${id}${path}`);
      assertProblem(answer, [400, 404, 422], ["invalid_payload", "ticket_not_found"], undefined, `${id}${path}`);
    }
    assertProblem(await it.rest().get(`/tickets/${NOBODY}${path}`), 404, "ticket_not_found");
  }
});

test("bad limits and cursors are named", async () => {
  for (const limit of ["0", "201", "-1", "x", "1.5", "", "99999999999999999999", "%7B%7D"]) {
    assertProblem(await it.rest().get(`/tickets?limit=${limit}`), INVALID, "invalid_payload", "limit", `limit=${limit}`);
    const path = `/tickets/${ticketId}/messages?limit=${limit}`;
    assertProblem(await it.rest().get(path), INVALID, "invalid_payload", "limit", path);
  }
  for (const cursor of ["x", "%7B%22%24gt%22%3A%22%22%7D", "AAAA", "%00", "-1"]) {
    const answer = await it.rest().get(`/tickets?cursor=${cursor}`);
    assertProblem(answer, INVALID, "invalid_payload", "cursor", `cursor=${cursor}`);
  }
  for (const field of ["before", "after"]) {
    for (const value of ["x", "-1", "1.5", "%7B%22%24gt%22%3A%22%22%7D", "99999999999999999999"]) {
      const answer = await it.rest().get(`/tickets/${ticketId}/messages?${field}=${value}`);
      assertProblem(answer, INVALID, "invalid_payload", field, `${field}=${value}`);
    }
  }
});

test("limits at their ends are taken", async () => {
  for (const limit of [1, 200]) {
    assert.equal((await it.rest().get(`/tickets?limit=${limit}`)).status, 200);
    assert.equal((await it.rest().get(`/tickets/${ticketId}/messages?limit=${limit}`)).status, 200);
  }
});

test("a path or a method that is not there", async () => {
  for (const [method, path, status] of [
    ["GET", "/nothing", [404]],
    ["GET", "/tickets/", [404, 200, 308, 400, 422]],
    ["DELETE", "/tickets", [404, 405]],
    ["PUT", `/tickets/${ticketId}`, [404, 405]],
    ["DELETE", `/tickets/${ticketId}`, [404, 405]],
  ]) {
    const answer = await it.rest().ask(String(method), String(path));
    assert.ok([status].flat().includes(answer.status), `${method} ${path}: ${answer.status}`);
    if (answer.status < 400) continue;
    assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/, `${method} ${path}`);
    assert.ok(answer.headers.get("x-request-id"), `${method} ${path}`);
    assert.equal(typeof answer.body.code, "string", `${method} ${path}`);
  }
});

test("good answers have a request id, too", async () => {
  const one = await it.rest().get("/tickets");
  const two = await it.rest().get("/tickets");
  assert.ok(one.headers.get("x-request-id"));
  assert.notEqual(one.headers.get("x-request-id"), two.headers.get("x-request-id"));
});
