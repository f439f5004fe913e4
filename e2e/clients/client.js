/**
 * A client of another make, driven by lines of JSON: `node client.js socket.io-client-4.0`, or the same under Bun.
 *
 * Commands come on the standard input, and what happens goes to the standard output, as `harness/foreign.js` describes it.
 */
import { createInterface } from "node:readline";

const { io } = await import(process.argv[2]);
/** One line, whatever readers take for the end of one: only ASCII. @param {object} happened */
function report(happened) {
  const escaped = (/** @type {string} */ unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  process.stdout.write(`${JSON.stringify(happened).replace(/[^ -~]/g, escaped)}\n`);
}

/** @type {any} */
let socket;

/** @type {Record<string, (command: any) => void>} */
const commands = {
  connect({ url, transports, token }) {
    const quick = { reconnectionDelay: 200, reconnectionDelayMax: 1_000 };
    // Outside browsers cookies are kept with `withCredentials` only.
    socket = io(url, { forceNew: true, auth: { token }, withCredentials: true, ...quick, ...(transports && { transports }) });
    socket.on("connect", () => report({ what: "connected", sid: socket.id }));
    socket.on("disconnect", (/** @type {string} */ reason) => report({ what: "disconnected", reason }));
    socket.on("connect_error", (/** @type {Error} */ error) => report({ what: "refused", reason: error.message }));
    socket.onAny((/** @type {string} */ event, /** @type {unknown} */ payload) => report({ what: "event", event, payload }));
  },
  emit({ event, payload, ack }) {
    if (ack === undefined) socket.emit(event, payload);
    else socket.emit(event, payload, (/** @type {unknown} */ answer) => report({ what: "ack", ack, answer }));
  },
  transport() {
    report({ what: "transport", name: socket.io.engine.transport.name });
  },
  close() {
    socket.disconnect();
    process.exit(0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
process.exit(0);
