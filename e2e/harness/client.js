/**
 * A socket.io-client with a memory: every event that it received, in order.
 */
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { DEADLINE, until } from "./wait.js";

export class Client {
  /**
   * @param {string} url
   * @param {any} [options] those of socket.io-client
   */
  constructor(url, options = {}) {
    this.socket = io(url, { forceNew: true, reconnection: false, transports: ["websocket"], ...options });
    /** @type {{event: string, payload: any}[]} */
    this.received = [];
    this.socket.onAny((event, payload) => this.received.push({ event, payload }));
    /** @type {import("./stack.js").Person} */
    this.person = { userId: "u", userType: "user", userName: "U" };
    /** @type {any} the acknowledgement of the first join */
    this.joined = undefined;
  }

  async connected() {
    if (this.socket.connected) return this;
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("not connected in time")), DEADLINE);
      this.socket.once("connect", () => (clearTimeout(timer), resolve(undefined)));
      this.socket.once("connect_error", (error) => (clearTimeout(timer), reject(error)));
    });
    return this;
  }

  /**
   * Emits and returns the acknowledgement, whatever it says.
   * @param {string} event
   * @param {...any} payload
   */
  ask(event, ...payload) {
    return this.socket.timeout(DEADLINE).emitWithAck(event, ...payload);
  }

  /**
   * Emits and returns the acknowledgement, which must be a success.
   * @param {string} event
   * @param {...any} payload
   */
  async done(event, ...payload) {
    const ack = await this.ask(event, ...payload);
    assert.equal(ack?.ok, true, `${event} was acknowledged with ${JSON.stringify(ack)}`);
    return ack;
  }

  /** @param {string} ticketId @param {object} [more] */
  join(ticketId, more = {}) {
    return this.done("join_ticket", { ticketId, ...this.person, ...more });
  }

  /** @param {string} ticketId @param {string} content @param {object} [more] */
  message(ticketId, content, more = {}) {
    const { userId: senderId, userType: senderType, userName: senderName } = this.person;
    return { ticketId, senderId, senderType, senderName, content, ...more };
  }

  /** @param {string} ticketId @param {string} content @param {object} [more] */
  send(ticketId, content, more = {}) {
    return this.done("send_message", this.message(ticketId, content, more));
  }

  /** @param {string} ticketId @param {boolean} isTyping */
  typing(ticketId, isTyping) {
    return this.done("typing", { ticketId, senderId: this.person.userId, senderName: this.person.userName, isTyping });
  }

  /** @param {string} event what was received under that name, oldest first */
  of(event) {
    return this.received.filter((each) => each.event === event).map((each) => each.payload);
  }

  /** The messages received so far. */
  get messages() {
    return this.of("message_received").map((payload) => payload.message);
  }

  /**
   * Waits for an event that matches, among those received already too.
   * @param {string} event
   * @param {(payload: any) => boolean} [matches]
   * @param {number} [ms]
   */
  async saw(event, matches = () => true, ms = DEADLINE) {
    return until(`${event} received by ${this.person.userId}`, () => this.of(event).find(matches), ms);
  }

  /** @param {number} count @param {number} [ms] */
  async sawMessages(count, ms = 60_000) {
    await until(
      `${count} messages`,
      () => this.messages.length >= count,
      ms,
    ).catch(() => {
      throw new Error(`${this.person.userId} received ${this.messages.length} of ${count} messages in ${ms} ms`);
    });
    return this.messages;
  }

  close() {
    this.socket.close();
  }
}
