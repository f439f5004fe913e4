/**
 * A websocket without a client library: it reads only when told to.
 */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { until } from "./wait.js";

export class Raw {
  /** @param {string} url */
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.socket = connect(Number(port), hostname);
    this.text = "";
    /** Whether the connection is gone. */
    this.closed = false;
    this.socket.on("data", (data) => (this.text += data.toString("latin1")));
    this.socket.on("error", () => {});
    this.socket.on("close", () => (this.closed = true));
  }

  /** Becomes a Socket.IO connection. */
  async connected() {
    const key = randomBytes(16).toString("base64");
    this.socket.write(
      "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    await this.saw("pingInterval");
    this.frame("40");
    await this.saw('40{"sid"');
    return this;
  }

  /** @param {string} text */
  saw(text) {
    return until(`${text} received`, () => this.text.includes(text));
  }

  /** @param {string} text one text frame */
  frame(text) {
    const body = Buffer.from(text);
    const mask = randomBytes(4);
    const length = body.length < 126 ? Buffer.from([128 + body.length]) : Buffer.from([254, body.length >> 8, body.length & 255]);
    const masked = body.map((byte, i) => byte ^ mask[i % 4]);
    this.socket.write(Buffer.concat([Buffer.from([0x81]), length, mask, masked]));
  }

  /** Stops reading: what comes stays with the sender. */
  stall() {
    this.socket.pause();
  }

  close() {
    this.socket.destroy();
  }
}
