/**
 * `ticket-worker adopt` beside gateways and a worker that are in use, killed in its middle and begun again: whoever numbers a
 * ticket first numbers all of it, and nothing has two numbers.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ObjectId } from "mongodb";
import { bin } from "../harness/process.js";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const it = stack("adopt", { setup });
const TICKETS = 240;
const START = Date.parse("2024-03-01T08:00:00Z");
const at = (/** @type {number} */ minutes) => new Date(START + minutes * 60_000);
/** Every second of six is an element of an array in the ticket. */
const EXPECTED = Array.from({ length: 6 }, (_, i) => `old ${i}`);
const tickets = Array.from({ length: TICKETS }, () => new ObjectId());

async function setup() {
  await it.store.tickets.insertMany(
    tickets.map((_id, n) => ({
      _id,
      subject: `Ticket ${n}`,
      status: "open",
      createdAt: at(0),
      comments: EXPECTED.flatMap((text, i) => (i % 2 ? [{ text, createdAt: at(i), own: i }] : [])),
    })),
  );
  await it.store.messages.insertMany(
    tickets.flatMap((ticketId) =>
      EXPECTED.flatMap((content, i) => (i % 2 ? [] : [{ ticketId, content, senderId: "u1", createdAt: at(i), own: i }])),
    ),
  );
}

/** @param {string} map @param {string} rate */
function adopt(map, rate) {
  const child = spawn(join(bin, "ticket-worker"), ["adopt", "--map", map, "--rate", rate], {
    env: { PATH: process.env.PATH, ...it.worker.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let report = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (report += text));
  const ended = once(child, "exit").then(([code]) => ({ code, report }));
  return { child, ended };
}

/** @param {string} report @param {string} what */
function count(report, what) {
  const line = report.split("\n").find((each) => each.trim().endsWith(what));
  assert.ok(line, `${what} is not in ${report}`);
  return Number.parseInt(line, 10);
}

const numbered = () => it.store.tickets.countDocuments({ logVersion: 1 });

test("users come in while it runs, and it is killed and begun again", { timeout: 300_000 }, async () => {
  const place = await mkdtemp(join(tmpdir(), "adopt-"));
  const map = join(place, "map.toml");
  await writeFile(map, '[embedded.comments]\ncontent = "text"\n');
  /** @type {Map<string, number>} ticket to the number of what was sent there */
  const sent = new Map();
  try {
    const first = adopt(map, "300");
    const todo = tickets.map(String).filter((_, i) => i % 2 === 0).reverse();
    const users = [0, 1, 0, 1, 0, 1].map(async (gateway) => {
      const client = await it.connect(gateway);
      client.person = someone();
      for (let id = todo.pop(); id; id = todo.pop()) {
        const ticketId = id;
        await until(`${ticketId} is open to users`, () => client.join(ticketId).then(() => true, () => false), 60_000);
        const { message } = await client.send(ticketId, "new");
        assert.ok(!sent.has(ticketId));
        sent.set(ticketId, message.seq);
        await sleep(10);
      }
    });
    const before = await numbered();
    await until("it numbers", async () => (await numbered()) > before + 20, 60_000);
    first.child.kill("SIGKILL");
    await first.ended;
    const second = adopt(map, "600");
    const [, { code }] = await Promise.all([Promise.all(users), second.ended]);
    assert.equal(code, 0);
    await it.store.settled();

    // Redis lets go of them, so that all are free.
    await it.store.forget("");
    const last = await adopt(map, "1000000").ended;
    assert.equal(last.code, 0, last.report);
    const again = await adopt(map, "1000000").ended;
    assert.equal(count(again.report, "tickets that were numbered before"), TICKETS);

    let left = 0;
    for (const id of tickets) left += await check(String(id), sent.get(String(id)));
    assert.equal(count(again.report, "that came too late for a number, left where they are"), left);
    assert.equal(sent.size, TICKETS / 2);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
});

/**
 * Checks one ticket; returns how many of its messages came too late.
 * @param {string} id @param {number | undefined} sent
 */
async function check(id, sent) {
  const stored = (await it.store.storedMessages(id)).filter((message) => message.logVersion);
  const seqs = stored.map((message) => Number(message.seq));
  assert.deepEqual(seqs, seqs.map((_, i) => i + 2), `${id}: one number each, from 2 on`);
  const contents = stored.map((message) => message.content);
  const old = contents.filter((content) => content !== "new");
  if (sent === undefined) assert.deepEqual(contents, EXPECTED, id);
  else assert.equal(contents[sent - 2], "new", `${id}: ${contents}`);
  // Whoever numbered it had all of the array or none of it.
  const some = EXPECTED.filter((_, i) => i % 2 === 0);
  assert.deepEqual(old, old.length === some.length ? some : EXPECTED, id);
  const shown = await it.rest(1).allMessages(id, 50);
  assert.deepEqual(shown.map((message) => message.content), contents, `${id}: as REST shows it`);
  const ticket = await it.store.tickets.findOne({ _id: new ObjectId(id) });
  assert.equal(Number(ticket?.seq), seqs.at(-1), id);
  assert.equal(ticket?.comments.length, 3, "the array stays where it is");
  return EXPECTED.length - old.length;
}
