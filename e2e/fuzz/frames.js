/**
 * Mutated Engine.IO and Socket.IO packets, and mutated websocket frames, against a gateway that this starts itself:
 * events with attachments, namespaces that are not there, control frames in bursts and between fragments.
 *
 *     node fuzz/frames.js --seconds 10 --seed 1
 *
 * The same seed makes the same packets. It fails where the gateway panics, ends, answers `internal`, or does not
 * answer `/health`.
 */
import { parseArgs } from "node:util";
import { frame, RawSocket } from "../harness/raw.js";
import { Stack } from "../harness/stack.js";
import { until } from "../harness/wait.js";

const { values } = parseArgs({ options: { seconds: { type: "string", default: "10" }, seed: { type: "string", default: "1" } } });
const AT_ONCE = 8;
const PACKETS = 25;

/** mulberry32: small, and the same everywhere. */
let state = Number(values.seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}
const below = (/** @type {number} */ n) => Math.floor(random() * n);
const one = (/** @type {any[]} */ list) => list[below(list.length)];

/** @param {string} ticketId */
const seeds = (ticketId) =>
  [
    "40", "41", "40/x,{}", "41/x,", '42/x,1["a"]', '451-/x,2["a"]', "40/", "40/x", '42/,["a"]', "2", "3", "5", "6", "40/x,", '40{"token":"x"}', "43-1[]", '4312[{"ok":true}]',
    `421["join_ticket",{"ticketId":"${ticketId}","userId":"u","userType":"user","userName":"U","since":3,"epoch":"e"}]`,
    `422["leave_ticket",{"ticketId":"${ticketId}"}]`,
    `423["send_message",{"ticketId":"${ticketId}","senderId":"u","senderType":"agent","senderName":"سارة","content":"x 👋","clientMessageId":"c","internal":true}]`,
    `424["typing",{"ticketId":"${ticketId}","senderId":"u","senderName":"U","isTyping":true}]`,
    `425["ticket_status_change",{"ticketId":"${ticketId}","status":"open","changedBy":"u","changedByName":"U","expectedSeq":1}]`,
    `426["assign_agent",{"ticketId":"${ticketId}","agentId":null,"agentName":"A","assignedBy":"u","assignedByName":"U"}]`,
    '427["subscribe_queue",{}]', '428["unsubscribe_queue",{}]',
    '452-9["send_message",{"content":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]}]', '4510-["x"]', '4511-["x"]', '450-["x"]',
    '451-9["send_message",{"content":{"_placeholder":true,"num":0}}]', '461-1[{"_placeholder":true,"num":0}]',
  ].map((text) => Buffer.from(text));

const TOKENS = ['"', "\\", "\\u0000", "[", "]", "{", "}", ",", ":", "-1", "1e400", "18446744073709551616", "null", "true", '"__proto__":', "\0", "\xff", "💥", "\ud7ff", "_placeholder", "[".repeat(500), "9".repeat(300)];

/** @param {Buffer} bytes @param {Buffer[]} others */
function mutated(bytes, others) {
  let it = Buffer.from(bytes);
  for (let n = below(4); n >= 0; n--) {
    const at = below(it.length + 1);
    const to = Math.min(it.length, at + below(16));
    const [before, cut, after] = [it.subarray(0, at), it.subarray(at, to), it.subarray(to)];
    const flipped = Buffer.from(cut).map((byte) => byte ^ (1 << below(8)));
    const other = one(others);
    it = Buffer.concat(
      one([
        [before, flipped, after],
        [before, after],
        [before, cut, cut, after],
        [before, Buffer.from(one(TOKENS)), after],
        [before, Buffer.from(one(TOKENS)), cut, after],
        [before, other.subarray(below(other.length))],
      ]),
    );
  }
  return it;
}

/** A control frame, or many. A close comes last, by itself. */
function control() {
  const one = frame(9 + below(2), Buffer.alloc(below(126), "x"));
  return Buffer.concat(Array.from({ length: random() < 0.2 ? 1 + below(200) : 1 }, () => one));
}

/** What an event announces, and sometimes something else. @param {Buffer} packet */
function attachments(packet) {
  const announced = Number(packet.toString("latin1").match(/^4[56](\d{1,2})-/)?.[1] ?? 0);
  const count = random() < 0.7 ? announced : below(13);
  return Buffer.concat(Array.from({ length: count }, () => frame(2, Buffer.alloc(below(one([4, 1_000, 9_000]))))));
}

/** A message in parts, with control frames between them. @param {Buffer} packet */
function fragmented(packet) {
  const at = below(packet.length + 1);
  return Buffer.concat([frame(1, packet.subarray(0, at), { fin: false }), control(), frame(0, packet.subarray(at))]);
}

/** @param {Buffer} packet frames of it, now and then broken ones */
function framed(packet) {
  const kind = random();
  if (kind < 0.1) return control();
  if (kind < 0.2) return fragmented(packet);
  if (kind < 0.3) return Buffer.concat([frame(1, packet), attachments(packet)]);
  const odd = random() < 0.05;
  return frame(odd ? below(16) : one([1, 1, 1, 1, 2]), packet, { fin: !odd || random() < 0.5, rsv: odd ? below(8) : 0 });
}

const stack = new Stack("fuzz");
let [sockets, packets] = [0, 0];

/** @param {Buffer[]} from */
async function attack(from) {
  const socket = await RawSocket.open(Number(stack.gateways[0].env.PORT));
  sockets += 1;
  for (let n = below(PACKETS) + 1; n > 0 && !socket.ended; n--) {
    socket.write(framed(mutated(one(from), from)));
    packets += 1;
  }
  // A close is answered with a close, whatever state the rest is in; a broken frame has ended it already.
  socket.write(frame(8));
  await until("the end of the connection", () => socket.ended);
  const internal = socket.texts.find((text) => text.includes('"code":"internal"'));
  if (internal) throw new Error(`seed ${values.seed}: ${internal}`);
}

try {
  await stack.start();
  const { _id: ticketId } = await stack.newTicket();
  const from = seeds(ticketId);
  const end = Date.now() + Number(values.seconds) * 1_000;
  while (Date.now() < end) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => attack(from)));
    const health = await stack.rest().get("/health");
    if (health.status !== 200) throw new Error(`/health answers ${health.status}`);
  }
} finally {
  // That checks for panics, processes that ended, and entries that were parked.
  await stack.stop();
}
console.log(`frames: ${packets} packets over ${sockets} connections, all of which ended`);
