/**
 * With `AUTH_MODE=jwt` the token says who somebody is: in the handshake, on a live connection, over REST.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertRefused } from "../harness/checks.js";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { until } from "../harness/wait.js";

const it = stack("tokens", { env: WITH_TOKENS });
const now = () => Math.floor(Date.now() / 1000);
const as = (claims, how) => ({ auth: { token: token(claims, how) } });
const agent = { sub: "agent-1", name: "Omar", role: "agent" };
const sara = { sub: "sara", name: "سارة", role: "user" };

/** A ticket of Sara's. */
async function ticketOfSara() {
  const answer = await it.rest().post("/tickets", { subject: "Where is it?" }, bearer(token(sara)));
  assert.equal(answer.status, 201, answer.text);
  return answer.body.ticket;
}

/** Why a connection is not let in. */
async function refusal(options) {
  const outcome = await it.connect(0, options).catch((error) => error.message);
  return typeof outcome === "string" ? outcome : "let in";
}

test("nobody gets in without a good token", async () => {
  const bad = {
    "none at all": {},
    "no text": { auth: { token: 7 } },
    "no token": { auth: { token: "let me in" } },
    "of another secret": as(sara, { secret: "another secret of forty random characters" }),
    expired: as({ ...sara, exp: now() - 120 }),
    "without an end": as({ ...sara, exp: undefined }),
    "not yet valid": as({ ...sara, nbf: now() + 600 }),
    "without a role": as({ ...sara, role: undefined }),
    "of an unknown role": as({ ...sara, role: "root" }),
    "without a subject": as({ ...sara, sub: undefined }),
    "with white space at the end of its subject": as({ ...sara, sub: "sara\u00a0" }),
    "with a control character in its subject": as({ ...sara, sub: "sa\u0008ra" }),
    "signed in the future": as({ ...sara, iat: now() + 60 }),
    "for too long": as({ ...sara, exp: now() + 25 * 3600 }),
    "of another type": as(sara, { header: { typ: "logout+jwt" } }),
    "with no list of tickets": as({ ...sara, tickets: null }),
    unsigned: { auth: { token: `${token(sara, { header: { alg: "none" } }).split(".").slice(0, 2).join(".")}.` } },
    "in the query": { query: { token: token(sara) } },
  };
  for (const [what, options] of Object.entries(bad)) assert.equal(await refusal(options), "unauthenticated", what);
  for (const path of ["/tickets", "/tickets/stats/counts", "/tickets/0123456789abcdef01234567"]) {
    const answer = await it.rest().get(path);
    assert.equal(answer.status, 401, path);
    assert.equal(answer.body.code, "unauthenticated");
    assert.equal(answer.headers.get("www-authenticate"), "Bearer");
  }
  assert.equal((await it.rest().get("/health")).status, 200);
});

test("the token comes in the handshake or in a header, and says who one is", async () => {
  const { _id: ticketId, userId, userName } = await ticketOfSara();
  assert.deepEqual([userId, userName], ["sara", "سارة"]);
  const customer = await it.connect(0, as(sara));
  const omar = await it.connect(1, { extraHeaders: bearer(token(agent)) });
  const joined = await omar.done("join_ticket", { ticketId });
  assert.deepEqual(joined.participants, [{ userId: "agent-1", userType: "agent", userName: "Omar" }]);
  await customer.done("join_ticket", { ticketId, userId: "sara" });
  await omar.saw("user_joined", (event) => event.userId === "sara" && event.userName === "سارة");
  const { message } = await customer.done("send_message", { ticketId, content: "hello", senderName: "The boss" });
  assert.deepEqual([message.senderId, message.senderType, message.senderName], ["sara", "user", "سارة"]);
  const { ticket } = await omar.done("ticket_status_change", { ticketId, status: "pending" });
  assert.equal(ticket.status, "pending");
  const updated = await customer.saw("ticket_updated");
  assert.deepEqual([updated.changedBy, updated.changedByName], ["agent-1", "Omar"]);
});

test("the scheme of a header may stand before the token wherever it is", async () => {
  const client = await it.connect(0, { auth: { token: `Bearer ${token(sara)}` } });
  await client.done("refresh_token", { token: `bearer ${token(sara)}` });
  assert.equal(await refusal({ auth: { token: `Basic ${token(sara)}` } }), "unauthenticated");
  const { _id: ticketId } = await ticketOfSara();
  assertRefused(await client.ask("send_message", { ticketId, content: "x", senderId: 17 }), "forbidden");
});

test("nobody speaks for somebody else", async () => {
  const { _id: ticketId } = await ticketOfSara();
  const customer = await it.connect(0, as(sara));
  const lies = [
    ["join_ticket", { ticketId, userId: "omar" }],
    ["join_ticket", { ticketId, userType: "agent" }],
    ["send_message", { ticketId, content: "x", senderId: "omar" }],
    ["send_message", { ticketId, content: "x", senderType: "agent" }],
    ["typing", { ticketId, senderId: "omar", isTyping: true }],
    ["ticket_status_change", { ticketId, status: "closed", changedBy: "omar" }],
  ];
  for (const [event, payload] of lies) assertRefused(await customer.ask(event, payload), "forbidden");
  const other = await it.rest().post("/tickets", { subject: "s", userId: "omar" }, bearer(token(sara)));
  assert.equal(other.status, 403);
  const forHer = await it.rest().post("/tickets", { subject: "s", userId: "sara" }, bearer(token(agent)));
  assert.deepEqual([forHer.status, forHer.body.ticket.userId], [201, "sara"]);
});

test("a token that runs out is warned of, may be replaced, and ends the connection if it is not", async () => {
  const { _id: ticketId } = await ticketOfSara();
  const end = now() + 4;
  const renewed = await it.connect(0, as({ ...sara, exp: end }));
  const left = await it.connect(1, as({ ...sara, exp: end }));
  const watching = await it.connect(0, as(agent));
  for (const client of [renewed, left, watching]) await client.done("join_ticket", { ticketId });
  for (const client of [renewed, left]) {
    const { expiresAt } = await client.saw("token_expiring");
    assert.equal(Date.parse(expiresAt), end * 1000);
  }
  assertRefused(await renewed.ask("refresh_token", { token: token(agent) }), "forbidden");
  assertRefused(await renewed.ask("refresh_token", { token: "x" }), "unauthenticated");
  const { expiresAt } = await renewed.done("refresh_token", { token: token({ ...sara, exp: end + 3600 }) });
  assert.equal(Date.parse(expiresAt), (end + 3600) * 1000);

  await until("the end of the token", () => now() > end);
  assertRefused(await left.ask("send_message", { ticketId, content: "late" }), "unauthenticated");
  await watching.done("send_message", { ticketId, content: "for those who may" });
  await renewed.saw("message_received", (event) => event.message.content === "for those who may");
  await renewed.done("send_message", { ticketId, content: "still here" });
  await until("the connection is closed", () => !left.socket.connected, 60_000);
  assert.ok(!left.messages.some((message) => message.content === "for those who may"));
  assert.ok(now() >= end + 24, "after a grace");
  assert.ok(renewed.socket.connected);
});

test("who brings another token late is told to join again", async () => {
  const { _id: ticketId } = await ticketOfSara();
  const end = now() + 3;
  const late = await it.connect(0, as({ ...sara, exp: end }));
  const watching = await it.connect(1, as(agent));
  await watching.done("join_ticket", { ticketId });
  const { seq } = await late.done("join_ticket", { ticketId });
  await watching.saw("user_left", (event) => event.userId === "sara");
  await watching.done("send_message", { ticketId, content: "meanwhile" });
  await late.done("refresh_token", { token: token(sara) });
  await late.saw("resync", (event) => event.ticketId === ticketId);
  assert.equal(late.messages.length, 0, "nothing was sent to it without a token");
  const joined = await late.done("join_ticket", { ticketId, since: seq });
  assert.deepEqual(joined.messages.map((message) => message.content), ["meanwhile"]);
  await watching.done("send_message", { ticketId, content: "again" });
  await late.saw("message_received", (event) => event.message.content === "again");
});

test("a revoked token ends its connections on every gateway, and nothing of it is taken", async () => {
  const rima = { sub: "rima", name: "Rima", role: "user" };
  const opened = await it.rest().post("/tickets", { subject: "Where is it?" }, bearer(token(rima)));
  const { _id: ticketId } = opened.body.ticket;
  const admin = token({ sub: "root", role: "admin" });
  const stolen = token({ ...rima, jti: "stolen" });
  const hers = await it.connect(1, as(rima));
  const thief = await it.connect(1, { auth: { token: stolen } });
  for (const client of [hers, thief]) await client.done("join_ticket", { ticketId });

  const revoke = (body, by) => it.rest(0).post("/admin/revoke", body, bearer(by));
  assert.equal((await revoke({ jti: "stolen" }, token(agent))).status, 403);
  assert.equal((await revoke({ jti: "stolen" }, token(rima))).status, 403);
  assert.equal((await revoke({}, admin)).body.field, "sub");
  assert.equal((await revoke({ sub: "rima " }, admin)).body.field, "sub");
  const limited = token({ sub: "root", role: "admin", tickets: [ticketId] });
  assert.equal((await revoke({ sub: "rima" }, limited)).status, 403, "one ticket is not everybody");
  assert.equal((await revoke({ jti: "stolen" }, admin)).status, 204);
  await until("the thief is out", () => !thief.socket.connected);
  assert.equal(await refusal({ auth: { token: stolen } }), "unauthenticated");
  assert.equal((await it.rest(1).ask("GET", "/tickets", { headers: bearer(stolen) })).status, 401);
  assert.ok(hers.socket.connected, "only that token");
  await hers.done("send_message", { ticketId, content: "mine" });

  const ahead = as({ ...rima, iat: now() + 4 });
  assert.equal((await revoke({ sub: "rima" }, admin)).status, 204);
  await until("all of hers are out", () => !hers.socket.connected);
  assert.equal(await refusal(ahead), "unauthenticated", "signed before, by a clock that is ahead");
  const later = await until("she gets in with a later token", async () => it.connect(0, as(rima)).catch(() => undefined), 60_000);
  assert.equal(await refusal(ahead), "unauthenticated", "nor later");
  await later.done("join_ticket", { ticketId });
});

test("a token for certain tickets opens those and no other", async () => {
  const [mine, other] = [await ticketOfSara(), await ticketOfSara()];
  const guest = await it.connect(0, as({ sub: "guest", name: "Guest", role: "user", tickets: [mine._id] }));
  await guest.done("join_ticket", { ticketId: mine._id });
  assertRefused(await guest.ask("join_ticket", { ticketId: other._id }), "ticket_not_found");
  const listed = await it.rest().ask("GET", "/tickets", { headers: bearer(token({ sub: "guest", tickets: [mine._id] })) });
  assert.deepEqual(listed.body.tickets.map((ticket) => ticket._id), [mine._id]);
});

test("refused tokens, revocations and connections cut are in the log and in the metrics, without the tokens", async () => {
  const admin = token({ sub: "auditor", role: "admin", jti: "audit-1" });
  const stolen = token({ ...sara, sub: "zoe", jti: "audit-2" });
  const hers = await it.connect(1, { auth: { token: stolen } });
  assert.equal(await refusal(as({ ...sara, exp: now() - 120 })), "unauthenticated");
  assert.equal((await it.rest(0).post("/admin/revoke", { jti: "audit-2" }, bearer(admin))).status, 204);
  await until("she is out", () => !hers.socket.connected);
  const lines = (i) => readFileSync(it.gateways[i].log, "utf8").split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  const find = (i, message, fields) =>
    lines(i).find((line) => line.message === message && Object.entries(fields).every(([name, value]) => line[name] === value));
  await until("the log says: token refused", () => find(0, "token refused", { reason: "expired" }));
  await until("the log says: tokens revoked", () => find(0, "tokens revoked", { "by.sub": "auditor", "by.token.id": "audit-1", "revoked.kind": "token", "revoked.id": "audit-2" }));
  await until("the log says: connection cut", () => find(1, "connection cut", { reason: "revoked", "token.sub": "zoe", "token.id": "audit-2" }));
  const metrics = await Promise.all([0, 1].map(async (i) => (await fetch(`http://127.0.0.1:${it.gateways[i].env.OPS_PORT}/metrics`)).text()));
  assert.match(metrics[0], /ticket_gateway_tokens_refused_total\{reason="expired"\} [1-9]/);
  assert.match(metrics[0], /ticket_gateway_revocations_total\{kind="token"\} [1-9]/);
  assert.match(metrics[1], /ticket_gateway_connections_cut_total\{reason="revoked"\} [1-9]/);
  for (const i of [0, 1]) {
    const written = readFileSync(it.gateways[i].log, "utf8");
    for (const secret of [admin, stolen, admin.split(".")[2], stolen.split(".")[2]]) assert.ok(!written.includes(secret));
  }
});
