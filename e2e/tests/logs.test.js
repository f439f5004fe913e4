/**
 * Logs: what strangers cause again and again does not fill them.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

const it = stack("logs", { env: WITH_TOKENS });

/** Packets for a namespace that there is not, on connections that read nothing; and requests with a token that is none. */
const [CONNECTIONS, PACKETS, REQUESTS] = [5, 2_000, 200];

/** @returns {Promise<number>} lines that were not written */
async function suppressed() {
  const metrics = await fetch(`http://127.0.0.1:${it.gateways[0].env.OPS_PORT}/metrics`).then((answer) => answer.text());
  const lines = metrics.matchAll(/^ticket_gateway_log_lines_suppressed_total\{[^}]*\} (\d+)$/gm);
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** @returns {number} */
const written = () => readFileSync(it.gateways[0].log, "utf8").split("\n").length;

test("lines that strangers cause are sampled, ours and a library's, and counted", async () => {
  const before = written();
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = await RawSocket.open(Number(it.gateways[0].env.PORT), { namespace: false });
    socket.socket.pause();
    for (let packet = 0; packet < PACKETS && !socket.ended; packet++) socket.text("40/x,");
    socket.close();
  }
  for (let i = 0; i < REQUESTS; i++) {
    await it.rest(0).ask("GET", "/tickets", { headers: { authorization: "Bearer none" } });
  }
  await until("lines were suppressed", async () => (await suppressed()) > 0);
  const lines = written() - before;
  assert.ok(lines < REQUESTS, `${lines} lines`);
});
