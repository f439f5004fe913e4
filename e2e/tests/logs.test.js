/**
 * Logs: what strangers cause again and again does not fill them.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("logs");

/** Packets for a namespace that there is not, on a connection that reads nothing. */
const PACKETS = 2_000;
const CONNECTIONS = 10;

/** @returns {Promise<number>} lines that were not written */
async function suppressed() {
  const metrics = await fetch(`http://127.0.0.1:${it.gateways[0].env.OPS_PORT}/metrics`).then((answer) => answer.text());
  const lines = metrics.matchAll(/^ticket_gateway_log_lines_suppressed_total\{[^}]*\} (\d+)$/gm);
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** @returns {number} */
const written = () => readFileSync(it.gateways[0].log, "utf8").split("\n").length;

test("lines that a stranger makes a library write are sampled, and counted", async () => {
  const before = written();
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = await RawSocket.open(Number(it.gateways[0].env.PORT), { namespace: false });
    socket.socket.pause();
    for (let packet = 0; packet < PACKETS && !socket.ended; packet++) socket.text("40/x,");
    socket.close();
  }
  await until("lines were suppressed", async () => (await suppressed()) > 0);
  const { _id: ticketId } = await it.newTicket();
  assert.ok((await it.join(ticketId, 0)).socket.connected, "others are served");
  const lines = written() - before;
  assert.ok(lines < (PACKETS * CONNECTIONS) / 20, `${lines} lines`);
});
