/**
 * Pages in browsers: which of them may connect, read and change something, and for which hosts a gateway without tokens
 * answers at all. Requests are written by hand: no client lets one choose these headers.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { freePort, Process } from "../harness/process.js";
import { exchange } from "../harness/raw.js";
import { stack } from "../harness/stack.js";

const it = stack("browsers", {
  env: {
    ALLOWED_HOSTS: "Desk.example.com",
    CORS_ORIGIN: "http://localhost:3000,https://EXAMPLE.com:443,https://bücher.example,capacitor://localhost,tauri://localhost,null",
    CORS_HEADERS: "X-Tenant",
  },
});

const TICKET = JSON.stringify({ subject: "A test", userId: "u", userName: "U" });
const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};
const polling = { path: "/socket.io/?EIO=4&transport=polling" };
const websocket = { path: "/socket.io/?EIO=4&transport=websocket", headers: UPGRADE };
const post = { method: "POST", path: "/tickets", body: TICKET, headers: { "content-type": "application/json" } };

const port = () => Number(it.gateways[0].env.PORT);

/**
 * @param {{method?: string, path: string, body?: string, headers?: Record<string, string>}} request
 * @param {Record<string, string>} [more] headers
 */
async function ask({ method = "GET", path, body = "", headers = {} }, more = {}, at = port()) {
  const all = { host: `127.0.0.1:${at}`, connection: "close", ...headers, ...more };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${Buffer.from(value).toString("latin1")}\r\n`);
  const length = body ? `content-length: ${Buffer.byteLength(body)}\r\n` : "";
  return exchange(at, `${method} ${path} HTTP/1.1\r\n${lines.join("")}${length}\r\n${body}`);
}

/** @param {Awaited<ReturnType<typeof ask>>} answer @param {string} told */
function assertForbidden(answer, told) {
  assert.equal(answer.status, 403, `${told}: ${answer.all.slice(0, 300)}`);
  assert.equal(JSON.parse(answer.body).code, "forbidden", told);
  assert.match(answer.head, /^x-content-type-options: nosniff/im, told);
}

test("a name that was made to point here is not answered, whatever is asked", async () => {
  const requests = {
    reading: { path: "/tickets" },
    writing: post,
    "a probe": { path: "/readyz" },
    "a preflight": { method: "OPTIONS", path: "/tickets", headers: { "access-control-request-method": "POST" } },
    polling,
    websocket,
  };
  const hosts = ["evil.example", `evil.example:${port()}`, "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7"];
  for (const [name, request] of Object.entries(requests)) {
    for (const host of hosts) {
      assertForbidden(await ask(request, { host }), `${name}, ${host}`);
      // As the page itself would: to the browser it is of one origin with its host.
      assertForbidden(await ask(request, { host, origin: `http://${host}` }), `${name}, ${host} with an origin`);
    }
  }
  const ops = Number(it.gateways[0].env.OPS_PORT);
  assertForbidden(await ask({ path: "/metrics" }, { host: "evil.example" }, ops), "metrics");
});

test("hosts of this machine, and those that were named, are answered", async () => {
  for (const host of ["localhost", `LOCALHOST:${port()}`, "127.0.0.1", "[::1]:5000", "desk.example.com", "DESK.example.com:443"]) {
    for (const [request, status] of /** @type {const} */ ([[{ path: "/tickets" }, 200], [post, 201], [polling, 200], [websocket, 101]])) {
      assert.equal((await ask(request, { host })).status, status, `${request.path} ${host}`);
    }
  }
});

test("a page of a foreign origin neither connects nor changes anything", async () => {
  for (const origin of ["http://evil.example", "https://example.com.evil.example", "http://example.com", "https://example.com:8443", "http://127.0.0.1:1", "ionic://localhost", "file://", "", "https://example.com/", "https://a https://example.com"]) {
    for (const request of [post, polling, websocket, { ...post, method: "PATCH", path: "/tickets/0123456789abcdef01234567" }]) {
      assertForbidden(await ask(request, { origin }), `${request.path} ${origin}`);
    }
    const read = await ask({ path: "/tickets" }, { origin });
    assert.equal(read.status, 200, "a browser keeps it from the page");
    assert.doesNotMatch(read.head, /access-control-allow-origin/i, origin);
  }
});

test("a page of a named origin may, however the setting and the client write it", async () => {
  for (const origin of ["http://localhost:3000", "https://example.com", "https://xn--bcher-kva.example", "capacitor://localhost", "tauri://localhost", "null", "https://EXAMPLE.com:443"]) {
    for (const [request, status] of /** @type {const} */ ([[post, 201], [polling, 200], [websocket, 101]])) {
      const answer = await ask(request, { origin });
      assert.equal(answer.status, status, `${request.path} ${origin}: ${answer.all.slice(0, 300)}`);
      assert.ok(answer.head.toLowerCase().includes(`access-control-allow-origin: ${origin}`.toLowerCase()), origin);
    }
  }
});

test("the request's own host is no foreign origin, with TLS before the gateway or without", async () => {
  for (const [host, origin] of [
    [`127.0.0.1:${port()}`, `http://127.0.0.1:${port()}`],
    ["localhost", "http://localhost:80"],
    ["desk.example.com", "https://desk.example.com"],
    ["desk.example.com:443", "https://desk.example.com"],
    ["desk.example.com", "https://desk.example.com:443"],
    ["desk.example.com:8443", "https://DESK.example.com:8443"],
    ["[::1]:5000", "http://[0:0::1]:5000"],
    ["desk.example.com", "wss://desk.example.com"],
  ]) {
    for (const [request, status] of /** @type {const} */ ([[post, 201], [polling, 200], [websocket, 101]])) {
      assert.equal((await ask(request, { host, origin })).status, status, `${request.path} ${host} ${origin}`);
    }
  }
  assertForbidden(await ask(polling, { host: "desk.example.com:8443", origin: "https://desk.example.com" }), "another port");
});

test("a preflight permits the API's headers and those of the setting", async () => {
  const asked = { origin: "https://example.com", "access-control-request-method": "POST" };
  const { status, head } = await ask({ method: "OPTIONS", path: "/tickets", headers: asked });
  assert.equal(status, 200, head);
  const permitted = head.match(/^access-control-allow-headers: (.*)$/im)?.[1].toLowerCase().split(",") ?? [];
  for (const name of ["authorization", "content-type", "idempotency-key", "if-match", "traceparent", "x-request-id", "x-tenant"]) {
    assert.ok(permitted.includes(name), `${name} in ${permitted}`);
  }
});

test("a body that is not JSON by its type is refused: a page can send such a one without asking first", async () => {
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json"]) {
    const answer = await ask(post, { "content-type": type });
    assert.equal(answer.status, 415, type);
    assert.equal(JSON.parse(answer.body).code, "unsupported_media_type", type);
    assert.match(answer.head, /^accept: application\/json\r?$/im, type);
  }
  assert.equal((await ask({ ...post, headers: {} })).status, 415, "no type");
  for (const type of ["application/json; charset=utf-8", "Application/JSON"]) {
    assert.equal((await ask(post, { "content-type": type })).status, 201, type);
  }
});

test("compression is not agreed to: secrets next to what others choose could be guessed by length", async () => {
  const { status, head } = await ask(websocket, { "sec-websocket-extensions": "permessage-deflate; client_max_window_bits" });
  assert.equal(status, 101);
  assert.doesNotMatch(head, /^sec-websocket-extensions:/im);
});

test("/readyz on the clients' port says no more than ready or not", async () => {
  assert.deepEqual((await it.rest().get("/readyz")).body, { ready: true });
  const answer = await ask({ path: "/readyz" }, {}, Number(it.gateways[0].env.OPS_PORT));
  assert.equal(JSON.parse(answer.body).hearsRedis, true, "operators are told more");
});

test("without tokens and without HOST it listens on loopback only, on both ports", async () => {
  const [PORT, OPS_PORT] = [String(await freePort()), String(await freePort())];
  const { HOST: _, ...env } = it.gateways[0].env;
  const alone = new Process("alone", "ticket-gateway", { ...env, PORT, OPS_PORT }, "browsers-alone");
  await alone.start();
  try {
    for (const each of [PORT, OPS_PORT]) {
      assert.equal(await listens("127.0.0.1", Number(each)), true, each);
      // Of loopback, too, and so reached by what listens on all addresses.
      assert.equal(await listens("127.0.0.2", Number(each)), false, each);
    }
  } finally {
    await alone.stop();
  }
});

/** @param {string} host @param {number} port @returns {Promise<boolean>} */
function listens(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });
}
