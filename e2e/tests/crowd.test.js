/**
 * A crowd: so many members on one gateway that they are told in rounds. Nobody sees the difference but in fewer writes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { someone, stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

// More than the hundred that make a crowd, on either gateway.
const USERS = 220;
const it = stack("crowd");

test("each sees what is meant for it, in order, also who comes while the others are being told", async () => {
  const { _id: ticketId } = await it.newTicket();
  const agents = [await it.join(ticketId, 0, someone("agent")), await it.join(ticketId, 1, someone("agent"))];
  const users = [];
  for (let from = 0; from < USERS; from += 20) {
    const some = Array.from({ length: 20 }, (_, i) => it.join(ticketId, (from + i) % 2));
    users.push(...(await Promise.all(some)));
  }

  const aloud = [];
  const all = [];
  const answers = [];
  const late = [];
  for (let i = 0; i < 120; i++) {
    const internal = i % 3 === 1;
    const content = `${internal ? "note" : "message"} ${i}`;
    all.push(content);
    if (!internal) aloud.push(content);
    answers.push(agents[0].send(ticketId, content, { internal }));
    if (i % 30 === 10) late.push(it.join(ticketId, i % 20 === 0 ? 0 : 1));
    if (i % 30 === 29) await Promise.all(answers);
  }
  users[0].socket.emit("typing", { ticketId, senderId: users[0].person.userId, senderName: "x", isTyping: true });
  await users[1].saw("typing_indicator", (event) => event.senderId === users[0].person.userId);
  await users[0].send(ticketId, "the end");

  const whole = [...aloud, "the end"];
  const contents = (client) => client.messages.map((message) => message.content);
  for (const agent of agents) {
    await agent.saw("message_received", (event) => event.message.content === "the end");
    assert.deepEqual(contents(agent), [...all, "the end"]);
    agent.of("message_received").forEach((event, i) => assert.equal(event.seq, agent.joined.seq + 1 + i, "dense"));
  }
  const early = users.length;
  users.push(...(await Promise.all(late)));
  for (const [place, user] of users.entries()) {
    // Who came late knows the newest fifty from its answer: all of them, where it came after the end.
    const isLate = place >= early;
    const known = isLate ? user.joined.messages.map((message) => message.content) : [];
    const seen = () => [...known, ...contents(user)];
    await until(`${user.person.userId} sees the end`, () => seen().includes("the end"));
    let last = user.joined.seq;
    for (const event of user.of("message_received")) {
      assert.equal(event.prevSeq, last, "no gap and no repeat after the answer to the join");
      last = event.seq;
    }
    assert.deepEqual(seen(), whole.slice(isLate ? -seen().length : 0));
  }
  const own = users[0].of("typing_indicator").filter((event) => event.senderId === users[0].person.userId);
  assert.deepEqual(own, [], "nobody is told of the own typing");
  [...agents, ...users].forEach((client) => client.close());
});
