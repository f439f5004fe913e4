/**
 * What probes and browsers ask.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../harness/client.js";
import { Rest } from "../harness/rest.js";
import { stack } from "../harness/stack.js";

const it = stack("health", { env: { CORS_ORIGIN: "http://localhost:3000,https://desk.example.com" } });

test("/health says what is up", async () => {
  const { status, body } = await it.rest().get("/health");
  assert.equal(status, 200);
  assert.equal(body.status, "ok");
  assert.equal(body.redis, "up");
  assert.equal(body.mongo, "up");
  assert.equal(typeof body.version, "string");
  assert.equal(typeof body.uptimeSeconds, "number");
});

test("/livez and /readyz answer on the operators' port, and on the gateway's own", async () => {
  for (const path of ["/livez", "/readyz"]) {
    for (const each of it.processes) {
      assert.equal((await new Rest(`http://127.0.0.1:${each.env.OPS_PORT}`).get(path)).status, 200, each.name);
    }
    assert.equal((await it.rest().get(path)).status, 200);
  }
});

test("browsers of the configured origins may read, others may not", async () => {
  for (const origin of ["http://localhost:3000", "https://desk.example.com"]) {
    const answer = await it.rest().ask("GET", "/tickets", { headers: { origin } });
    assert.equal(answer.headers.get("access-control-allow-origin"), origin);
  }
  const other = await it.rest().ask("GET", "/tickets", { headers: { origin: "https://evil.example" } });
  assert.ok(![...(other.headers.get("access-control-allow-origin") ?? "")].length, "no permission");
});

for (const transport of ["websocket", "polling"]) {
  test(`a ${transport} connection from another origin is refused, from a configured one accepted`, async () => {
    const options = (origin) => ({ transports: [transport], extraHeaders: { Origin: origin } });
    const good = await it.connect(0, options("https://desk.example.com"));
    assert.ok(good.socket.connected);
    const bad = new Client(it.url(0), options("https://evil.example"));
    await assert.rejects(bad.connected());
    bad.close();
  });
}
