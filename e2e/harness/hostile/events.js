/**
 * Hostile Socket.IO packets and payloads. `{id}` is where the number of the acknowledgement goes.
 */
import { frame } from "../raw.js";

const NOBODY = "0123456789abcdef01234567";
const deep = (depth) => "[".repeat(depth) + "]".repeat(depth);
const invalid = ["invalid_payload"];
const broken = ["closed", "ignored", "invalid_payload", "exception:invalid_payload"];

/** @param {[string, string | (string | Uint8Array)[], string[]][]} rows texts become text frames, bytes go as they are */
const table = (rows) =>
  rows.map(([name, input, expect]) => ({
    name,
    transport: "websocket",
    input: [input].flat().map((each) => (typeof each === "string" ? frame(1, each) : each)),
    expect,
  }));

/** Packets of Socket.IO that are wrong as such. */
export const packets = table([
  ["an unknown namespace", "40/admin,", ["ignored", "closed"]],
  ["a namespace of 10,000 letters", `40/${"a".repeat(10_000)},`, ["ignored", "closed"]],
  ["a namespace as a path", "40/../../,", ["ignored", "closed"]],
  ["an event in a namespace nobody joined", '42/admin,7["leave_ticket",{}]', ["ignored", "closed"]],
  ["a second connect", "40", ["ignored", "closed"]],
  ["a connect with a payload that is no JSON", "40{", ["ignored", "closed"]],
  ["100 connects", Array.from({ length: 100 }, () => "40"), ["ignored", "closed"]],
  ["a connect error from a client", '44{"message":"x"}', ["ignored", "closed"]],
  ["an unknown type", "47[]", ["closed"]],
  ["an acknowledgement of nothing", "4312345[]", ["ignored"]],
  ["an acknowledgement without a number", "43[]", broken],
  ["an acknowledgement of -1", "43-1[]", broken],
  ["an acknowledgement of 2^64", "4318446744073709551616[]", broken],
  ["an event with a number of -1", '42-1["leave_ticket",{}]', broken],
  ["an event with a number of 2^63", '429223372036854775808["leave_ticket",{}]', broken],
  ["an event with a number of 400 digits", `42${"9".repeat(400)}["leave_ticket",{}]`, broken],
  ["an event with a number in quotes", '42"7"["leave_ticket",{}]', broken],
  ["an event that is no list", '427{"event":"leave_ticket"}', broken],
  ["an event that is a text", '427"leave_ticket"', broken],
  ["an event that is a number", "427", broken],
  ["an empty list", "427[]", broken],
  ["a list that is cut", '427["leave_ticket",{', broken],
  ["text after the list", '427["leave_ticket",{}]]', broken],
  ["two lists", '427["leave_ticket",{}]["leave_ticket",{}]', broken],
  ["a comma too many", '427["leave_ticket",]', broken],
  ["a comment", '427["leave_ticket",/* x */{}]', broken],
  ["NaN", '427["leave_ticket",NaN]', broken],
  ["a name that is a number", "427[17,{}]", broken],
  ["a name that is null", "427[null,{}]", broken],
  ["a name that is a list", '427[["leave_ticket"],{}]', broken],
  ["a name that is an object", '427[{"toString":"leave_ticket"},{}]', broken],
  ["an empty name", '427["",{}]', ["unknown_event"]],
  ["a name of 50,000 letters", `427["${"x".repeat(50_000)}",{}]`, ["unknown_event"]],
  ["a name of 64 KiB", `427["${"x".repeat(65_536)}",{}]`, ["payload_too_large"]],
  // A name with an escape is more than the library reads: it ends the connection.
  ["a name with quotes", '427["a\\"b\\"c",{}]', ["unknown_event", "closed"]],
  ["a name with a NUL", '427["leave_ticket\\u0000",{}]', ["unknown_event", "closed"]],
  ["a name with a line feed", '427["leave_ticket\\n",{}]', ["unknown_event", "closed"]],
  ["half a surrogate in the name", '427["\\ud800",{}]', broken],
  ...["__proto__", "constructor", "__disconnect", "connect", "disconnect", "disconnecting", "error", "exception", "message_received", "ticket_updated", "newListener"].map(
    (name) => [`the name ${name}`, `427["${name}",{"ticketId":"${NOBODY}"}]`, ["unknown_event"]],
  ),
  ["JSON 100 deep", `427["leave_ticket",${deep(100)}]`, invalid],
  ["JSON 30,000 deep", `427["leave_ticket",${deep(30_000)}]`, invalid],
  ["JSON 30,000 deep that never closes", `427["leave_ticket",${"[".repeat(30_000)}]`, broken],
  ["objects 8,000 deep", `427["leave_ticket",${'{"a":'.repeat(8_000)}1${"}".repeat(8_000)}]`, invalid],
  ["one frame over the limit", `427["leave_ticket",{"x":"${"y".repeat(70_000)}"}]`, ["payload_too_large"]],
  ["binary that no event announced", [frame(2, "x")], ["closed"]],
  ["an event that announces binary that never comes", ['451-7["leave_ticket",{"_placeholder":true,"num":0}]', '427["x"]'], ["closed"]],
  ["a placeholder of an attachment that is not there", ['451-7["leave_ticket",{"_placeholder":true,"num":99}]', frame(2, "x")], [...broken, "ok"]],
  ["a negative placeholder", ['451-7["leave_ticket",{"_placeholder":true,"num":-1}]', frame(2, "x")], broken],
  ["one attachment too many", ['451-7["leave_ticket",{"_placeholder":true,"num":0}]', frame(2, "x"), frame(2, "y")], ["invalid_payload", "closed"]],
  ["a placeholder without binary", '427["leave_ticket",{"_placeholder":true,"num":0}]', invalid],
  ["binary where text belongs", ['451-7["leave_ticket",{"ticketId":{"_placeholder":true,"num":0}}]', frame(2, "x")], invalid],
  ["a count of attachments that is none", '45x-7["leave_ticket",{}]', ["closed"]],
  ["a count of -1 attachments", '45-1-7["leave_ticket",{}]', ["closed"]],
  ["999,999,999 attachments", '45999999999-7["leave_ticket",{}]', ["closed"]],
  ["no attachments, announced", '450-7["leave_ticket",{}]', broken],
  ["a binary acknowledgement of nothing", ['461-12345[{"_placeholder":true,"num":0}]', frame(2, "x")], ["ignored", "closed"]],
]);

/** What must not come before the namespace: each ends the connection. */
export const early = table([
  ["an event", '427["leave_ticket",{}]', ["closed"]],
  ["an event that announces binary", '451-7["leave_ticket",{"_placeholder":true,"num":0}]', ["closed"]],
  ["an event in another namespace", '42/admin,7["leave_ticket",{}]', ["closed"]],
  ["binary", [frame(2, "x")], ["closed"]],
]).map((each) => ({ ...each, namespace: false }));

/** A good payload of each event. */
const good = (ticketId) => ({
  join_ticket: { ticketId, userId: "u", userType: "user", userName: "U" },
  leave_ticket: { ticketId },
  send_message: { ticketId, senderId: "u", senderType: "user", senderName: "U", content: "hello" },
  typing: { ticketId, senderId: "u", senderName: "U", isTyping: false },
  ticket_status_change: { ticketId, status: "open", changedBy: "u", changedByName: "U" },
  assign_agent: { ticketId, agentId: "a", agentName: "A", assignedBy: "u", assignedByName: "U" },
});

/** JSON texts that no field takes. */
const wrong = ["null", "1e400", "{}", "[]", '{"$gt":""}', '{"__proto__":{}}', "[[[[]]]]"];

/** What is over the limits, or of another form; the value is JSON. */
const limits = [
  ...["23", "25"].map((digits) => ["leave_ticket", "ticketId", `"${"a".repeat(Number(digits))}"`]),
  ["leave_ticket", "ticketId", '"0123456789abcdef0123456g"'],
  ["leave_ticket", "ticketId", '"٠١٢٣٤٥٦٧٨٩٠١"'],
  ["leave_ticket", "ticketId", `" ${NOBODY}"`],
  ["send_message", "content", `"${"x".repeat(8_193)}"`],
  ["send_message", "content", `"${"😀".repeat(8_193)}"`],
  ["send_message", "content", '"a\\u0000b"'],
  ["send_message", "content", '"\\u2003\\u00a0 \\n"'],
  ["send_message", "senderName", '"\\u0000"'],
  ["send_message", "senderName", `"${"n".repeat(129)}"`],
  ["send_message", "senderId", `"${"ش".repeat(129)}"`],
  ["send_message", "senderType", '"admin"'],
  ["send_message", "senderType", '"USER"'],
  ["send_message", "clientMessageId", '""'],
  ["send_message", "clientMessageId", `"${"c".repeat(65)}"`],
  ["send_message", "clientMessageId", "7"],
  ["send_message", "internal", '"true"'],
  ["send_message", "internal", "1"],
  ["join_ticket", "since", "-1"],
  ["join_ticket", "since", "1.5"],
  ["join_ticket", "since", "18446744073709551616"],
  ["join_ticket", "since", '"1"'],
  ["join_ticket", "epoch", "17"],
  ["join_ticket", "epoch", `"${"e".repeat(129)}"`],
  ["ticket_status_change", "status", '"deleted"'],
  ["ticket_status_change", "status", '"Open"'],
  ["ticket_status_change", "expectedSeq", "-1"],
  ["ticket_status_change", "expectedSeq", "0.5"],
  ["ticket_status_change", "expectedSeq", "18446744073709551616"],
  ["ticket_status_change", "expectedSeq", "1e400"],
  ["assign_agent", "expectedSeq", "true"],
  ["typing", "isTyping", '"yes"'],
  ["typing", "isTyping", "0"],
];

/** Optional fields for which null is as good as nothing; an agent of null takes the ticket from everybody. */
const nullable = (event, field) => event === "assign_agent" && ["agentId", "agentName"].includes(field);

/** @param {string} ticketId a ticket that a witness listens to @returns {import("./frames.js").Case[]} */
export function payloads(ticketId) {
  const cases = [];
  const add = (name, event, payload, expect, field) =>
    cases.push({ name: `${event}: ${name}`, transport: "websocket", input: [frame(1, `427["${event}",${payload}]`)], expect, field });
  const object = (fields) => `{${Object.entries(fields).map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
  for (const [event, fields] of Object.entries(good(ticketId))) {
    const texts = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, JSON.stringify(value)]));
    for (const field of Object.keys(texts)) {
      const { [field]: _, ...others } = texts;
      add(`${field} is missing`, event, object(others), invalid, nullable(event, field) ? undefined : field);
      for (const value of wrong) {
        if (value === "null" && nullable(event, field)) continue;
        // A number that no number type holds makes the text no JSON: nothing is known of fields then.
        add(`${field} is ${value}`, event, object({ ...texts, [field]: value }), invalid, value === "1e400" ? undefined : field);
      }
    }
    for (const payload of ["null", "17", '"text"', "[]", "true", `[${object(texts)}]`]) add(`a payload of ${payload.slice(0, 8)}`, event, payload, invalid);
    add("the same field twice, the last one wrong", event, `${object(texts).slice(0, -1)},"ticketId":17}`, invalid, "ticketId");
  }
  for (const [event, field, value] of limits) {
    const texts = Object.fromEntries(Object.entries(good(ticketId)[event]).map(([name, each]) => [name, JSON.stringify(each)]));
    add(`${field} of ${value.slice(0, 24)}`, event, object({ ...texts, [field]: value }), invalid, value === "1e400" ? undefined : field);
  }
  add("no such ticket", "send_message", JSON.stringify(good(NOBODY).send_message), ["ticket_not_found"]);
  add("no such ticket", "join_ticket", JSON.stringify(good(NOBODY).join_ticket), ["ticket_not_found"]);
  return cases;
}

/** @param {string} ticketId a ticket that nobody listens to: these are odd, and good */
export function allowed(ticketId) {
  const send = (name, content, more = {}) => ({
    name,
    transport: "websocket",
    input: [frame(1, `427["send_message",${JSON.stringify({ ...good(ticketId).send_message, content, ...more })}]`)],
    expect: ["ok"],
  });
  return [
    send("8,192 characters of four bytes", "😀".repeat(8_192)),
    send("half a surrogate", "\ud800"),
    send("text from right to left, and its overrides", "\u202eسلام\u202c \u2066x\u2069"),
    send("a family of joined characters", "👨‍👩‍👧‍👦".repeat(100)),
    send("control characters but NUL", "a\u0001\u001b[31m\u007f\u0085"),
    send("markup", "<script>alert(1)</script>"),
    send("a template", "${jndi:ldap://x} {{7*7}} %s%n"),
    send("commands of a database", "'; DROP TABLE x; --", { senderName: '{"$ne":1}' }),
    send("names of prototypes", "__proto__", { constructor: "x", hasOwnProperty: 1 }),
    send("an id in upper case", "x", { ticketId: ticketId.toUpperCase() }),
    send("a client's id of 64 characters of four bytes", "x", { clientMessageId: "😀".repeat(64) }),
  ];
}

const jsonOf = (fields) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, JSON.stringify(value)]));
