/**
 * Events that wait behind a slow one hold their text, and not what it would be once decoded.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Line } from "../harness/line.js";
import { RawSocket } from "../harness/raw.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

/** @type {Line} the first gateway's line to Redis */
let redis;

const it = stack("waiting", {
  env: { EVENT_RATE: "0", ADDRESS_RATE: "0" },
  route: async (servers) => {
    const { line, url } = await Line.to(servers.redis);
    redis = line;
    return { REDIS_URL: url, MONGO_URI: servers.mongo };
  },
});

const SOCKETS = 4;
/** More than two MiB of text. */
const EVENTS = 37;
const linux = { skip: process.platform !== "linux" && "memory is read from /proc", timeout: 180_000 };

/** MiB that the gateway has in memory. */
function resident() {
  const status = readFileSync(`/proc/${it.gateways[0].child.pid}/status`, "utf8");
  return Number(status.match(/^VmRSS:\s+(\d+)/m)?.[1]) / 1024;
}

for (const [name, dense] of [
  ["numbers", `[${"0,".repeat(30_000)}0]`],
  ["arrays", `[${"[],".repeat(20_000)}0]`],
  ["objects", `[${'{"":0},'.repeat(8_500)}0]`],
]) {
  test(`${name}: what waits takes what its text takes`, linux, async () => {
    const { _id: ticketId } = await it.newTicket();
    const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => RawSocket.open(Number(it.gateways[0].env.PORT))));
    redis.cut();
    try {
      const before = resident();
      let most = 0;
      for (const socket of sockets) {
        // It waits for Redis for seconds, and what comes behind it waits, too.
        socket.text(`420${JSON.stringify(["join_ticket", { ticketId, ...someone() }])}`);
        for (let id = 1; id <= EVENTS; id++) socket.text(`42${id}["leave_ticket",${dense}]`);
      }
      const last = (/** @type {RawSocket} */ socket) => socket.find(`43${EVENTS}[`);
      await until("all is answered or refused", () => ((most = Math.max(most, resident() - before)), sockets.every((socket) => last(socket) || socket.ended)), 60_000);
      assert.ok(sockets.every((socket) => !socket.ended), "they are refused, not cut off");
      assert.ok(sockets.some((socket) => last(socket)?.includes("overloaded")), "a queue was full");
      // Two MiB each, and as much for what is under way.
      assert.ok(most < 4 * SOCKETS + 24, `${most} MiB`);
    } finally {
      redis.mend();
    }
    await until("what waited is answered", () => sockets.every((socket) => socket.find(`43${EVENTS - 10}[`)), 60_000);
    for (const socket of sockets) socket.close();
  });
}
