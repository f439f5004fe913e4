/**
 * Hostile websocket frames, Engine.IO requests and Engine.IO packets.
 *
 * `expect` names every outcome that the contract allows: `closed`, `ignored` (the connection goes on as if nothing
 * had come), `ok`, or a code of the contract.
 */
import { frame } from "../raw.js";

/** @typedef {{name: string, transport: "websocket" | "polling", input: (string | Uint8Array)[], expect: string[], field?: string, namespace?: boolean}} Case */

const KIB = 1024;
const closed = ["closed"];

/** Bytes on a websocket that is in the namespace. */
export const frames = [
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => ({ name: `opcode ${opcode}`, input: [frame(opcode, "x")] })),
  ...[1, 2, 4, 7].map((rsv) => ({ name: `reserved bits ${rsv}`, input: [frame(1, "42[]", { rsv })] })),
  { name: "a text that is not masked", input: [frame(1, '42["x"]', { mask: false })] },
  { name: "binary that is not masked", input: [frame(2, "x", { mask: false })] },
  { name: "a ping that is not masked", input: [frame(9, "x", { mask: false })] },
  { name: "a continuation of nothing", input: [frame(0, "x")] },
  { name: "a text inside a fragmented text", input: [frame(1, "42[", { fin: false }), frame(1, '"x"]')] },
  { name: "binary inside a fragmented text", input: [frame(1, "42[", { fin: false }), frame(2, "x")] },
  { name: "fragments for ever", input: [frame(1, "4", { fin: false }), ...Array.from({ length: 40 }, () => frame(0, "x".repeat(8 * KIB), { fin: false }))] },
  { name: "empty fragments, then too much", input: [frame(1, "", { fin: false }), ...Array.from({ length: 5_000 }, () => frame(0, "", { fin: false })), frame(0, "x".repeat(300 * KIB))] },
  { name: "a length of 2^63 - 1", input: [frame(1, "x", { declared: 2n ** 63n - 1n })] },
  { name: "a length of 2^64 - 1", input: [frame(1, "x", { declared: 2n ** 64n - 1n })] },
  { name: "a length of 1 GiB", input: [frame(1, "x", { declared: 1 << 30 })] },
  { name: "a length of 1 MiB", input: [frame(2, "x", { declared: 1 << 20 })] },
  { name: "a text of 200 KiB", input: [frame(1, `42["x","${"y".repeat(200 * KIB)}"]`)] },
  { name: "binary of 200 KiB", input: [frame(2, "y".repeat(200 * KIB))] },
  { name: "a text that is no UTF-8", input: [frame(1, Buffer.from([0x34, 0x32, 0xff, 0xfe]))] },
  { name: "an overlong NUL", input: [frame(1, Buffer.from([0x34, 0x32, 0xc0, 0x80]))] },
  { name: "half a surrogate in CESU-8", input: [frame(1, Buffer.from([0x34, 0x32, 0xed, 0xa0, 0x80]))] },
  { name: "a text that ends inside a character", input: [frame(1, Buffer.from([0x34, 0x32, 0xf0, 0x9f]))] },
  { name: "a ping of 126 bytes", input: [frame(9, "x".repeat(126))] },
  { name: "a pong of 64 KiB", input: [frame(10, "x".repeat(64 * KIB))] },
  { name: "a fragmented ping", input: [frame(9, "x", { fin: false })] },
  { name: "a fragmented close", input: [frame(8, "", { fin: false })] },
  { name: "a close of one byte", input: [frame(8, "x")] },
  { name: "a close with a code nobody may send", input: [frame(8, Buffer.from([0x03, 0xed]))] },
  { name: "a close with a reason that is no UTF-8", input: [frame(8, Buffer.from([0x03, 0xe8, 0xff]))] },
  { name: "a close of 126 bytes", input: [frame(8, "x".repeat(126))] },
  { name: "HTTP inside the websocket", input: ["GET /tickets HTTP/1.1\r\nHost: x\r\n\r\n"] },
  { name: "zeros", input: [Buffer.alloc(4 * KIB)] },
  { name: "ones", input: [Buffer.alloc(4 * KIB, 0xff)] },
].map((each) => ({ transport: "websocket", expect: closed, ...each }));

/** Frames that are odd and allowed. */
export const odd = [
  { name: "pings between fragments", input: [frame(1, "4", { fin: false }), frame(9, "p"), frame(0, '2["leave_', { fin: false }), frame(9), frame(0, 'ticket",{}]')] },
  { name: "a pong nobody asked for", input: [frame(10, "x".repeat(125))] },
  { name: "1,000 pings", input: Array.from({ length: 1_000 }, () => frame(9, "x".repeat(125))) },
].map((each) => ({ transport: "websocket", expect: ["ignored", "exception:invalid_payload", "closed"], ...each }));

/** Engine.IO packets, each one text frame. */
export const packets = [
  ["an empty packet", ""],
  ["an unknown type", "9"],
  ["a letter", "x"],
  ["a type in Arabic digits", "٤٢"],
  ["an open from a client", '0{"sid":"x"}'],
  ["a close", "1"],
  ["a ping from a client", "2"],
  ["a ping with a body", "2probe"],
  ["a pong nobody asked for", "3"],
  ["a pong with a body", "3probe"],
  ["an upgrade twice", "5"],
  ["a noop from a client", "6"],
  ["a message of nothing", "4"],
  ["base64 on a websocket", "bAAAA"],
  ["a packet of NULs", "\0\0\0"],
  ["a record separator", "4\x1e4\x1e4"],
].map(([name, text]) => ({ name, transport: "websocket", input: [frame(1, text)], expect: ["closed", "ignored"] }));

/** Bodies that are posted to a polling session. */
export const bodies = [
  ["nothing", ""],
  ["an unknown type", "9"],
  ["only separators", "\x1e\x1e\x1e"],
  ["10,000 separators", "\x1e".repeat(10_000)],
  ["one good packet and garbage", '42["leave_ticket",{}]\x1ezzz'],
  ["base64 that is none", "b!!!!"],
  ["binary nobody announced", "bAAAA"],
  ["lengths as in the former version of the protocol", "4:42[]"],
  ["bytes that are no UTF-8", Buffer.from([0x34, 0x32, 0xff, 0xfe, 0x1e])],
  ["a message that is cut", '42["leave_ti'],
  ["300 KiB", `42["leave_ticket","${"x".repeat(300 * 1024)}"]`],
  ["an upgrade without a websocket", "5"],
  ["a probe on polling", "2probe"],
  ["a close", "1"],
].map(([name, input]) => ({ name, transport: "polling", input: [input], expect: ["closed", "ignored", "exception:invalid_payload"] }));

const ws = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/** Requests that must not begin a session. */
export const handshakes = [
  ["no protocol version", "GET", "transport=polling", ""],
  ["protocol version 3", "GET", "EIO=3&transport=polling", ""],
  ["protocol version 99999999999", "GET", "EIO=99999999999&transport=polling", ""],
  ["a negative protocol version", "GET", "EIO=-4&transport=polling", ""],
  ["no transport", "GET", "EIO=4", ""],
  ["an unknown transport", "GET", "EIO=4&transport=carrier-pigeon", ""],
  ["webtransport", "GET", "EIO=4&transport=webtransport", ""],
  ["a session nobody has", "GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", ""],
  ["a session id of another form", "GET", "EIO=4&transport=polling&sid=../../etc", ""],
  ["a session id of 10,000 letters", "GET", `EIO=4&transport=polling&sid=${"A".repeat(10_000)}`, ""],
  ["an empty session id", "GET", "EIO=4&transport=polling&sid=", ""],
  ["a post without a session", "POST", "EIO=4&transport=polling", "Content-Length: 2\r\n"],
  ["a post to a session nobody has", "POST", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", "Content-Length: 2\r\n"],
  ["PUT", "PUT", "EIO=4&transport=polling", "Content-Length: 2\r\n"],
  ["DELETE", "DELETE", "EIO=4&transport=polling", ""],
  ["a websocket without its headers", "GET", "EIO=4&transport=websocket", ""],
  ["a websocket without a key", "GET", "EIO=4&transport=websocket", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"],
  ["an upgrade of a session nobody has", "GET", "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA", ws],
  ["a websocket without `Upgrade`", "GET", "EIO=4&transport=websocket", ws.replace("Upgrade: websocket\r\n", "")],
  ["a websocket without `Connection`", "GET", "EIO=4&transport=websocket", ws.replace("Connection: Upgrade\r\n", "")],
  ["an upgrade to HTTP/2", "GET", "EIO=4&transport=websocket", ws.replace("Upgrade: websocket", "Upgrade: h2c")],
  ["version 99 of the websocket protocol", "GET", "EIO=4&transport=websocket", ws.replace("Version: 13", "Version: 99")],
  ["two versions of the websocket protocol", "GET", "EIO=4&transport=websocket", `${ws}Sec-WebSocket-Version: 8\r\n`],
  ["a key that is too short", "GET", "EIO=4&transport=websocket", ws.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")],
  ["two keys", "GET", "EIO=4&transport=websocket", `${ws}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`],
  ["a websocket by POST", "POST", "EIO=4&transport=websocket", `${ws}Content-Length: 2\r\n`],
  ["a foreign origin", "GET", "EIO=4&transport=websocket", `${ws}Origin: https://evil.example\r\n`],
  ["an origin that only begins so", "GET", "EIO=4&transport=websocket", `${ws}Origin: http://localhost:3000.evil.example\r\n`],
  ["no origin at all, by name", "GET", "EIO=4&transport=websocket", `${ws}Origin: null\r\n`],
].map(([name, method, query, headers]) => ({
  name,
  input: `${method} /socket.io/?${query} HTTP/1.1\r\nHost: x\r\n${headers}\r\n${headers.includes("Content-Length") ? "40" : ""}`,
}));
