/**
 * Connections that do not come in, are not let in, or leave, and stay all the same: the server ends them after ten seconds,
 * however alive they look, and their places are free for others.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "../harness/client.js";
import { Polling, RawSocket } from "../harness/raw.js";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

const LINGER = 8;
/** The server's own limit is ten seconds. */
const PATIENCE = 40_000;

// One more place than those who linger take.
const it = stack("lingering", { env: { ...WITH_TOKENS, MAX_CONNECTIONS: String(LINGER + 1) } });

const port = () => Number(it.gateways[0].env.PORT);
const BAD = `40${JSON.stringify({ token: "bad" })}`;

/** What it sends to come in, how the answer begins, what it sends then. */
async function overWebsocket(first = "", answer = "", then = "") {
  const socket = await RawSocket.open(port(), { namespace: false });
  assert.equal(socket.status, 101);
  if (first) socket.text(first);
  if (answer) await until(answer, () => socket.find(answer));
  if (then) socket.text(then);
  return () => until("the websocket is closed", () => socket.ended, PATIENCE);
}

async function overPolling(first = "", answer = "", then = "") {
  const polling = await Polling.open(port(), { namespace: false });
  if (first) assert.equal((await polling.post(first)).status, 200);
  if (answer) assert.ok(await polling.find(answer));
  if (then) assert.equal((await polling.post(then)).status, 200);
  return async () => {
    // It asks on as long as it is answered, and answers each ping.
    const end = await until(
      "the session is unknown",
      async () => {
        const polled = await polling.get();
        if (polled.body.split("\x1e").includes("2")) await polling.post("3");
        return polled.status !== 200 && polled;
      },
      PATIENCE,
    );
    assert.equal(end.status, 400);
    // The gateway's own word where it was let in, else the library's.
    const over = /the session was ended|Session ID unknown/;
    assert.match(end.body, over);
    assert.match((await polling.post("40")).body, over);
  };
}

test("who does not come in, or leaves, is sent away, over either transport", async () => {
  const auth = { token: token() };
  const member = await it.connect(0, { auth });
  const ends = await Promise.all([
    overWebsocket(),
    overPolling(),
    overWebsocket(BAD, '44{"message":"unauthenticated"}'),
    overPolling(BAD, '44{"message":"unauthenticated"}'),
    overWebsocket("40/admin,", "44/admin,"),
    overPolling("40/admin,", "44/admin,"),
    overWebsocket(`40${JSON.stringify(auth)}`, '40{"sid"', "41"),
    overPolling(`40${JSON.stringify(auth)}`, '40{"sid"', "41"),
  ]);
  assert.equal(ends.length, LINGER);
  const full = await it.rest().get("/socket.io/?EIO=4&transport=polling");
  assert.equal(full.status, 503, "they take all places");

  await Promise.all(ends.map((end) => end()));

  assert.ok(member.socket.connected, "who came in stays");
  /** @type {Client[]} */
  const late = [];
  await until("all of their places are free", async () => {
    const client = new Client(it.url(), { auth });
    it.clients.push(client);
    await client.connected().then(() => late.push(client), () => client.close());
    return late.length === LINGER;
  });
  const { body } = await it.rest().post("/tickets", { subject: "in" }, bearer(auth.token));
  await late[0].join(body.ticket._id);
});
