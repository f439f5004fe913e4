/**
 * Who may do what: every role, action, ticket and transport, each with what the contract says of it.
 *
 * The expectation is `allowed`, one function over values; everything else here only asks. Whatever a caller is
 * answered or sent is searched for what it must not learn, and what was refused must have changed nothing.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { io } from "socket.io-client";
import { stack } from "../harness/stack.js";
import { bearer, token, WITH_TOKENS } from "../harness/token.js";
import { DEADLINE } from "../harness/wait.js";

const it = stack("matrix", { env: WITH_TOKENS, setup });
const admin = bearer(token({ sub: "admin", name: "Admin", role: "admin" }));

/** What each caller carries. `mine`: the tickets that are its own, for users. */
const ROLES = {
  none: { nobody: true },
  owner: { claims: { sub: "owner" }, mine: ["own", "closed"] },
  other: { claims: { sub: "other" }, mine: [] },
  invited: { claims: { sub: "invited" }, mine: ["own"] },
  agent: { claims: { sub: "agent", role: "agent" } },
  "agent of one ticket": { claims: { sub: "helper", role: "agent" }, mine: ["own"] },
  admin: { claims: { sub: "admin", role: "admin" } },
  expired: { claims: { sub: "owner", exp: 1 }, nobody: true },
  forged: { claims: { sub: "owner", role: "admin" }, how: { secret: "another secret of at least thirty-two bytes" }, nobody: true },
  unsigned: { claims: { sub: "owner", role: "admin" }, how: { header: { alg: "none" } }, nobody: true },
};
const TICKETS = ["own", "others", "unowned", "closed", "missing"];
const TRANSPORTS = ["websocket", "polling", "rest"];
/** What agents write to each other; no user may ever see it. */
const NOTE = "only-for-agents";

/** @type {Record<string, string>} */
const ids = { missing: "0123456789abcdef01234567" };

async function setup() {
  const post = async (/** @type {object} */ fields) => {
    const answer = await it.rest().post("/tickets", { userName: "n", ...fields }, admin);
    assert.equal(answer.status, 201, answer.text);
    return answer.body.ticket._id;
  };
  // The subjects tell in any text which ticket it speaks of.
  ids.own = await post({ subject: "subject-of-own", userId: "owner" });
  ids.others = await post({ subject: "subject-of-others", userId: "somebody" });
  ids.unowned = await post({ subject: "subject-of-unowned" });
  ids.closed = await post({ subject: "subject-of-closed", userId: "owner" });
  for (const name of Object.keys(ROLES)) {
    const role = ROLES[name];
    if (name === "invited" || name === "agent of one ticket") role.claims.tickets = [ids.own];
    if (role.claims) role.token = token(role.claims, role.how);
  }
  const agent = await it.connect(0, { auth: { token: token({ sub: "writer", role: "agent" }) } });
  for (const ticket of ["own", "others", "unowned", "closed"]) {
    await agent.done("send_message", { ticketId: ids[ticket], content: "hello" });
    await agent.done("send_message", { ticketId: ids[ticket], content: NOTE, internal: true });
  }
  await agent.done("ticket_status_change", { ticketId: ids.closed, status: "closed" });
}

/** Every action: its kind, and what it sends. `desk` is for agents, `queue` for agents of all tickets. */
const EVENTS = {
  join_ticket: { kind: "read", payload: (id) => ({ ticketId: id }) },
  "join_ticket since": { kind: "read", payload: (id) => ({ ticketId: id, since: 1 }) },
  typing: { kind: "read", payload: (id) => ({ ticketId: id, isTyping: true }) },
  send_message: { kind: "write", payload: (id, mark) => ({ ticketId: id, content: mark }) },
  "send_message internal": { kind: "desk", payload: (id, mark) => ({ ticketId: id, content: `${mark} ${NOTE}`, internal: true }) },
  "ticket_status_change pending": { kind: "desk", payload: (id) => ({ ticketId: id, status: "pending" }) },
  "ticket_status_change open": { kind: "write", payload: (id) => ({ ticketId: id, status: "open" }) },
  "ticket_status_change stale": { kind: "stale", payload: (id) => ({ ticketId: id, status: "closed", expectedSeq: 1 }) },
  assign_agent: { kind: "desk", payload: (id) => ({ ticketId: id, agentId: "agent", agentName: "A" }) },
  leave_ticket: { kind: "nothing", payload: (id) => ({ ticketId: id }) },
  subscribe_queue: { kind: "queue", payload: () => ({}) },
  unsubscribe_queue: { kind: "nothing", payload: () => ({}) },
};
const ROUTES = {
  "GET /tickets/:id": { kind: "read" },
  "GET /tickets/:id/messages": { kind: "read" },
  "GET /tickets/:id/messages?after=1": { kind: "read" },
  "GET /tickets": { kind: "list" },
  "GET /tickets/stats/counts": { kind: "queue" },
  "POST /admin/revoke": { kind: "revoke", body: { jti: "nobody's" } },
};

/** What the contract says: `ok`, or the codes of which one refuses. */
function allowed(name, kind, ticket) {
  const { claims, mine, nobody } = ROLES[name];
  const user = (claims?.role ?? "user") === "user";
  if (nobody) return ["unauthenticated"];
  if (kind === "list" || kind === "nothing") return ["ok"];
  if (kind === "revoke") return [claims.role === "admin" ? "ok" : "forbidden"];
  if (kind === "queue") return [mine ? "forbidden" : "ok"];
  const reached = ticket !== "missing" && (!mine || mine.includes(ticket));
  // What a role may do with no ticket at all is said whichever it names.
  if (kind === "desk" && user) return ["forbidden"];
  if (!reached) return ["ticket_not_found"];
  return [kind === "stale" ? "conflict" : "ok"];
}

/** What a text must not hold that this caller is given. */
function secrets(name) {
  const { claims, mine, nobody } = ROLES[name];
  const hidden = nobody ? [] : (mine ?? TICKETS);
  const foreign = ["own", "others", "unowned", "closed"].filter((ticket) => !hidden.includes(ticket));
  const user = nobody || (claims.role ?? "user") === "user";
  return [...foreign.flatMap((ticket) => [`subject-of-${ticket}`, `in-${ticket}.`]), ...(user ? [NOTE] : [])];
}

/** @type {string[]} */
const rows = [];
/** @type {string[]} */
const leaks = [];
/** Marks of messages that were refused: nobody may ever have seen one. */
const refused = [];

/** A connection of this caller that notes all it hears, or the code with which it was refused. */
async function connect(name, transport) {
  const auth = ROLES[name].token ? { token: ROLES[name].token } : {};
  const socket = io(it.url(), { forceNew: true, reconnection: false, transports: [transport], auth });
  socket.onAny((event, payload) => search(name, event, JSON.stringify(payload)));
  const code = await new Promise((resolve) => {
    socket.once("connect", () => resolve(undefined));
    socket.once("connect_error", (error) => resolve(error.message));
  });
  return { socket, code };
}

function search(name, where, text) {
  for (const secret of secrets(name)) if (text.includes(secret)) leaks.push(`${name} learnt ${secret} from ${where}`);
}

async function tell(link, name, action, { payload }, ticket, mark) {
  if (link.code) return link.code;
  const ack = await link.socket.timeout(DEADLINE).emitWithAck(action.split(" ")[0], payload(ids[ticket], mark));
  search(name, action, JSON.stringify(ack));
  return ack.ok ? "ok" : ack.error.code;
}

async function request(name, action, { body }, ticket) {
  const [method, path] = action.split(" ");
  const headers = ROLES[name].token ? bearer(ROLES[name].token) : {};
  const answer = await it.rest().ask(method, path.replace(":id", ids[ticket]), { headers, body });
  search(name, action, answer.text);
  return answer.status < 300 ? "ok" : answer.body?.code;
}

for (const transport of TRANSPORTS) {
  test(`every role, action and ticket over ${transport}`, async () => {
    const wrong = [];
    for (const name of Object.keys(ROLES)) {
      const link = transport === "rest" ? undefined : await connect(name, transport);
      for (const [action, what] of Object.entries(link ? EVENTS : ROUTES)) {
        const one = ["queue", "list", "revoke"].includes(what.kind);
        for (const ticket of one ? ["own"] : TICKETS) {
          const mark = `${transport}-${name}-${action} in-${ticket}.`.replaceAll(" ", "_").replace("_in-", " in-");
          const expected = allowed(name, what.kind, ticket);
          const got = link ? await tell(link, name, action, what, ticket, mark) : await request(name, action, what, ticket);
          rows.push(`| ${transport} | ${name} | ${action} | ${ticket} | ${expected.join(" or ")} | ${got} |`);
          if (!expected.includes(got)) wrong.push(rows.at(-1));
          if (got !== "ok") refused.push(mark);
        }
      }
      link?.socket.close();
    }
    assert.deepEqual(wrong, []);
    assert.deepEqual(leaks, []);
  });
}

test("what was refused is nowhere, and of what was done users see their part", async () => {
  await it.store.settled();
  for (const ticket of ["own", "others", "unowned", "closed"]) {
    const stored = JSON.stringify(await it.store.storedMessages(ids[ticket]));
    assert.ok(stored.includes(`in-${ticket}.`), "something was written");
    for (const mark of refused) assert.ok(!stored.includes(`"${mark}`), mark);
  }
  const late = await it.connect(1, { auth: { token: token({ sub: "owner" }) } });
  const { messages, ticket } = await late.done("join_ticket", { ticketId: ids.own });
  search("owner", "a late join", JSON.stringify([messages, ticket]));
  assert.ok(messages.length > 3 && messages.every((message) => message.internal === false));
  const listed = await it.rest(1).ask("GET", "/tickets", { headers: bearer(token({ sub: "owner" })) });
  assert.deepEqual(listed.body.tickets.map((each) => each._id).sort(), [ids.own, ids.closed].sort());
  assert.deepEqual(leaks, []);
});

test("for a user nothing at all happens when agents write to each other", async () => {
  const look = async () => {
    const paths = ["", "/messages"].map((more) => `/tickets/${ids.own}${more}`).concat("/tickets");
    const answers = paths.map((path) => it.rest().ask("GET", path, { headers: bearer(token({ sub: "owner" })) }));
    return (await Promise.all(answers)).map((answer) => answer.text);
  };
  const before = await look();
  const agent = await it.connect(0, { auth: { token: token({ sub: "writer", role: "agent" }) } });
  const { message } = await agent.done("send_message", { ticketId: ids.own, content: NOTE, internal: true });
  assert.deepEqual(await look(), before);
  await it.store.settled();
  assert.deepEqual(await look(), before, `#${message.seq} is in MongoDB now`);
});

test("a creation is repeated for whoever may see the ticket, and as it may see it", async () => {
  const owner = token({ sub: "opener" });
  const key = { ...bearer(owner), "idempotency-key": "once" };
  const body = { subject: "subject-of-repeated" };
  const first = await it.rest().post("/tickets", body, key);
  assert.equal(first.status, 201, first.text);
  const id = first.body.ticket._id;
  const agent = await it.connect(0, { auth: { token: token({ sub: "writer", role: "agent" }) } });
  await agent.done("send_message", { ticketId: id, content: NOTE, internal: true });
  const shown = (await it.rest().ask("GET", `/tickets/${id}`, { headers: bearer(owner) })).body.ticket;
  for (const settled of [false, true]) {
    if (settled) {
      await it.store.settled();
      await it.store.forget(id);
    }
    const again = await it.rest(1).post("/tickets", body, key);
    assert.deepEqual([again.status, again.body.ticket], [201, shown]);
    const misused = await it.rest(1).post("/tickets", { subject: "other" }, key);
    assert.deepEqual([misused.status, misused.body.ticket], [409, shown]);
    const limited = bearer(token({ sub: "opener", tickets: [ids.own] }));
    for (const subject of [body.subject, "other"]) {
      const refused = await it.rest().post("/tickets", { subject }, { ...limited, "idempotency-key": "once" });
      assert.equal(refused.status, 403, refused.text);
      assert.ok(!refused.text.includes("subject-of-repeated"), refused.text);
    }
  }
});

test("no position of a user tells of what agents write to each other", async () => {
  const agent = await it.connect(0, { auth: { token: token({ sub: "writer", role: "agent" }) } });
  const owner = await it.connect(1, { auth: { token: token({ sub: "owner" }) } });
  const { seq } = await owner.done("join_ticket", { ticketId: ids.own });
  const before = await Promise.all([0, 1, 2, 3].map((more) => owner.done("join_ticket", { ticketId: ids.own, since: seq + more })));
  for (let i = 0; i < 2; i++) await agent.done("send_message", { ticketId: ids.own, content: NOTE, internal: true });
  const after = await Promise.all([0, 1, 2, 3].map((more) => owner.done("join_ticket", { ticketId: ids.own, since: seq + more })));
  assert.deepEqual(after.map((each) => each.recovered), [true, false, false, false]);
  assert.deepEqual(after, before);
  for (const more of [1, 2, 3]) {
    const refused = await owner.ask("ticket_status_change", { ticketId: ids.own, status: "open", expectedSeq: seq + more });
    assert.deepEqual([refused.error.code, refused.error.ticket.seq], ["conflict", seq], `${more} beyond`);
  }
  await owner.done("ticket_status_change", { ticketId: ids.own, status: "open", expectedSeq: seq });
});

test("a list holds what a single read shows, and nothing else", async () => {
  const owners = [7, 7.5, "7", "7.0", "07", "Case", "case", ["case"], null];
  const made = await it.store.tickets.insertMany(owners.map((userId) => ({ subject: "old", userId, createdAt: new Date() })));
  const all = Object.values(made.insertedIds).map(String);
  for (const sub of ["7", "7.0", "07", "+7", "7.5", "case", "CASE", "Case", "null"]) {
    const headers = bearer(token({ sub }));
    const listed = (await it.rest().ask("GET", "/tickets", { headers })).body.tickets.map((ticket) => ticket._id);
    const single = [];
    for (const id of all) if ((await it.rest(1).ask("GET", `/tickets/${id}`, { headers })).status === 200) single.push(id);
    assert.deepEqual(listed.sort(), single.sort(), sub);
  }
});

test("the report", () => {
  const path = join(dirname(it.gateways[0].log), "..", "matrix.md");
  mkdirSync(dirname(path), { recursive: true });
  const head = `${rows.length} cases, ${leaks.length} leaks\n\n| transport | role | action | ticket | expected | got |\n|---|---|---|---|---|---|`;
  writeFileSync(path, `${head}\n${rows.join("\n")}\n`);
  assert.ok(rows.length > 500, `${rows.length} cases`);
});
