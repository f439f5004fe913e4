/**
 * Clients that break the rules: bytes over plain TCP, with nothing in between that would mend them.
 */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { DEADLINE, until } from "./wait.js";

/** A TCP connection that remembers what came. */
export class Wire {
  /** @param {number} port @param {string} [from] the address to come from: any of 127.0.0.0/8 */
  constructor(port, from) {
    this.heard = Buffer.alloc(0);
    this.ended = false;
    this.socket = connect({ port, host: "127.0.0.1", localAddress: from, allowHalfOpen: false });
    this.socket.setNoDelay(true);
    // A reset is one way in which a server says no.
    this.socket.on("error", () => (this.ended = true));
    this.socket.on("close", () => (this.ended = true));
    this.socket.on("end", () => (this.ended = true));
    this.socket.on("data", (some) => {
      this.heard = Buffer.concat([this.heard, some]);
      this.onData?.();
    });
  }

  /** @param {string | Uint8Array} bytes text is sent byte by byte (latin1), so that it may hold anything */
  write(bytes) {
    if (!this.socket.destroyed) this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  close() {
    this.socket.destroy();
  }
}

/**
 * What a server answers to these bytes: the first response, or that it closed.
 * @param {number} port
 * @param {string | Uint8Array | (string | Uint8Array)[]} bytes
 * @param {string} [from] the address to come from
 * @returns {Promise<{status: number, head: string, body: string, closed: boolean, all: string}>}
 */
export async function exchange(port, bytes, from) {
  const wire = new Wire(port, from);
  for (const part of [bytes].flat()) wire.write(part);
  try {
    await until("an answer or the end of the connection", () => wire.ended || complete(wire.heard));
    const all = wire.heard.toString("latin1");
    const [head, ...rest] = all.split("\r\n\r\n");
    const status = Number(head.match(/^HTTP\/1\.[01] (\d{3})/)?.[1] ?? 0);
    return { status, head, body: rest.join("\r\n\r\n"), closed: wire.ended, all };
  } finally {
    wire.close();
  }
}

/** @param {Buffer} heard whether it holds a whole response */
function complete(heard) {
  const text = heard.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const length = text.slice(0, end).match(/^content-length: *(\d+)/im);
  if (length) return heard.length >= end + 4 + Number(length[1]);
  if (/^transfer-encoding: *chunked/im.test(text.slice(0, end))) return text.endsWith("0\r\n\r\n");
  return true;
}

/**
 * One websocket frame, as wrong as one likes.
 * @param {number} opcode
 * @param {string | Uint8Array} payload
 * @param {{fin?: boolean, rsv?: number, mask?: boolean, declared?: number | bigint}} [how] `declared` is the length
 *   that the frame claims, in eight bytes
 */
export function frame(opcode, payload = "", { fin = true, rsv = 0, mask = true, declared } = {}) {
  const body = Buffer.from(payload);
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const masked = mask ? 0x80 : 0;
  let head;
  if (declared !== undefined) {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt(declared), 2);
    head[1] = masked | 127;
  } else if (body.length < 126) {
    head = Buffer.from([0, masked | body.length]);
  } else if (body.length < 65_536) {
    head = Buffer.from([0, masked | 126, body.length >> 8, body.length & 255]);
  } else {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt(body.length), 2);
    head[1] = masked | 127;
  }
  head[0] = first;
  if (!mask) return Buffer.concat([head, body]);
  const key = randomBytes(4);
  return Buffer.concat([head, key, body.map((byte, i) => byte ^ key[i & 3])]);
}

/** A websocket to the gateway whose frames the test makes itself. */
export class RawSocket extends Wire {
  /** @param {number} port @param {string} [from] */
  constructor(port, from) {
    super(port, from);
    /** @type {string[]} texts received */
    this.texts = [];
    this.rest = undefined;
    /** @type {number | undefined} of the answer to the handshake */
    this.status = undefined;
    /** @type {number | undefined} the reason in the server's close frame */
    this.closeCode = undefined;
    this.onData = () => this.read();
  }

  /**
   * Connects up to the namespace, or less far.
   * @param {number} port
   * @param {{query?: string, headers?: string, namespace?: boolean, from?: string}} [options]
   */
  static async open(port, { query = "EIO=4&transport=websocket", headers = "", namespace = true, from } = {}) {
    const socket = new RawSocket(port, from);
    const key = randomBytes(16).toString("base64");
    socket.write(
      `GET /socket.io/?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n${headers}\r\n`,
    );
    await until("the handshake", () => socket.ended || socket.status);
    if (!namespace) return socket;
    await until("the Engine.IO handshake", () => socket.texts.some((text) => text.startsWith("0{")));
    socket.text("40");
    await until("the namespace", () => socket.texts.some((text) => text.startsWith("40{")));
    return socket;
  }

  /** Takes whole frames out of what came. A server's frames are not masked. */
  read() {
    if (this.rest === undefined) {
      const end = this.heard.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.status = Number(this.heard.toString("latin1").slice(9, 12));
      if (this.status !== 101) return;
      this.rest = end + 4;
    }
    for (;;) {
      const at = this.heard.subarray(this.rest);
      if (at.length < 2) return;
      let [length, skip] = [at[1] & 127, 2];
      if (length === 126) [length, skip] = [at.length < 4 ? Infinity : at.readUInt16BE(2), 4];
      else if (length === 127) [length, skip] = [at.length < 10 ? Infinity : Number(at.readBigUInt64BE(2)), 10];
      if (at.length < skip + length) return;
      if ((at[0] & 15) === 8 && length >= 2) this.closeCode = at.readUInt16BE(skip);
      if ((at[0] & 15) === 1) this.texts.push(at.subarray(skip, skip + length).toString("utf8"));
      // It must look alive.
      if (this.texts.at(-1) === "2") (this.texts.pop(), this.text("3"));
      this.rest += skip + length;
    }
  }

  /** @param {string} text an Engine.IO packet */
  text(text) {
    this.write(frame(1, text));
  }

  /** @param {string} start */
  find(start) {
    return this.texts.find((text) => text.startsWith(start));
  }
}

/** A long-polling session. */
export class Polling {
  /** @param {number} port */
  constructor(port) {
    this.port = port;
    this.sid = "";
    /** More lines of each request's header. */
    this.headers = "";
  }

  /**
   * Connects up to the namespace, or less far.
   * @param {number} port
   * @param {{namespace?: boolean, headers?: string}} [options]
   */
  static async open(port, { namespace = true, headers = "" } = {}) {
    const polling = new Polling(port);
    polling.headers = headers;
    const { body } = await polling.get();
    polling.sid = JSON.parse(body.slice(body.indexOf("{"))).sid;
    if (!namespace) return polling;
    await polling.post("40");
    // A ping may come first.
    if (!(await polling.find("40{", "44"))?.startsWith("40")) throw new Error("no namespace");
    return polling;
  }

  get path() {
    return `/socket.io/?EIO=4&transport=polling${this.sid && `&sid=${this.sid}`}`;
  }

  get() {
    return exchange(this.port, `GET ${this.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${this.headers}\r\n`);
  }

  /** @param {string | Uint8Array} body @param {string} [headers] */
  post(body, headers = "Content-Type: text/plain;charset=UTF-8\r\n") {
    const bytes = Buffer.from(body);
    const head = `POST ${this.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${this.headers}${headers}Content-Length: ${bytes.length}\r\n\r\n`;
    return exchange(this.port, [head, bytes]);
  }

  /**
   * Polls until a packet comes that begins like one of these, or the session is gone.
   * @param {...string} starts
   */
  async find(...starts) {
    const end = Date.now() + DEADLINE;
    while (Date.now() < end) {
      const answer = await this.get();
      if (answer.status !== 200) return undefined;
      const packets = Buffer.from(answer.body, "latin1").toString("utf8").split("\x1e");
      // The server's ping must be answered.
      if (packets.includes("2")) await this.post("3");
      const found = packets.find((packet) => starts.some((start) => packet.startsWith(start)));
      if (found) return found;
    }
    throw new Error(`no packet ${starts.join(" or ")} in ${DEADLINE} ms`);
  }
}
