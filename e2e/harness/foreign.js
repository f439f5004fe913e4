/**
 * Clients of other makes, each a process of its own that is driven by lines of JSON (`clients/client.js`, `clients/client.py`).
 *
 * To a client: `connect {url, transports?, token}`, `emit {event, payload, ack?}`, `transport`, `close`, each under `do`.
 * From it: `connected {sid}`, `disconnected {reason}`, `refused {reason}`, `event {event, payload}`, `ack {ack, answer}` and
 * `transport {name}`, each under `what`.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { until } from "./wait.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const clients = join(root, "e2e", "clients");
const python = process.env.CLIENTS_PYTHON || join(root, "target", "local", "clients", "bin", "python");

/** Longer than elsewhere: many clients start side by side. */
const PATIENCE = 60_000;

/** @typedef {{name: string, argv: string[], found: boolean}} Make */

/** @returns {Make[]} the makes that are promised to work, with the exact versions that are installed */
export function makes() {
  const script = join(clients, "client.js");
  const node = ["4.0", "4.5", "4.7", "4.8"].map((minor) => {
    const alias = `socket.io-client-${minor}`;
    const exact = installed(alias);
    return { name: `socket.io-client ${exact ?? minor}`, argv: [process.execPath, script, alias], found: !!exact };
  });
  const bun = bunProgram();
  const under = { name: `Bun ${installed("bun") ?? ""} with socket.io-client ${installed("socket.io-client-4.8") ?? ""}`, argv: [bun ?? "bun", script, "socket.io-client-4.8"], found: !!bun };
  const pythons = ["sync", "asyncio"].map((kind) => (
    { name: `python-socketio (${kind})`, argv: [python, join(clients, "client.py"), kind], found: existsSync(python) }
  ));
  return [...node, under, ...pythons];
}

/** @param {string} name of a package @returns {string | undefined} its version */
function installed(name) {
  const path = join(clients, "node_modules", name, "package.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).version : undefined;
}

/** Bun's program, from the package for this system: the one named `bun` holds a script that moves it. */
function bunProgram() {
  const packages = join(clients, "node_modules", "@oven");
  if (!existsSync(packages)) return undefined;
  return readdirSync(packages).map((each) => join(packages, each, "bin", "bun")).find(existsSync);
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Foreign {
  /** @param {Make} make */
  constructor(make) {
    this.name = make.name;
    /** @type {any[]} all that it reported */
    this.reports = [];
    this.acks = 0;
    this.trouble = "";
    const [program, ...argv] = make.argv;
    this.child = spawn(program, argv, { cwd: clients, stdio: ["pipe", "pipe", "pipe"] });
    running.add(this.child);
    this.child.on("error", (error) => (this.trouble += error.message));
    this.child.stderr.setEncoding("utf8").on("data", (text) => (this.trouble += text));
    this.child.stdin.on("error", () => {});
    createInterface({ input: this.child.stdout }).on("line", (line) => this.reports.push(JSON.parse(line)));
    this.ended = new Promise((resolve) => this.child.once("exit", (code) => (running.delete(this.child), resolve(code))));
  }

  /** @param {string} command @param {object} [more] */
  tell(command, more = {}) {
    // Only ASCII: some readers take U+2028 for the end of a line.
    const escaped = (/** @type {string} */ unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    this.child.stdin.write(`${JSON.stringify({ do: command, ...more }).replace(/[^ -~]/g, escaped)}\n`);
  }

  /**
   * @param {string} url @param {string[] | undefined} transports as the client has them by itself where not given
   * @param {string} token
   */
  async connect(url, transports, token) {
    this.tell("connect", { url, transports, token });
    await this.reported("connected");
  }

  /** @param {string} what @param {(report: any) => boolean} [matches] the first report that does */
  async reported(what, matches = () => true) {
    const found = () => this.reports.find((each) => each.what === what && matches(each));
    return until(`${what} of ${this.name}`, found, PATIENCE).catch((error) => {
      throw new Error(`${error.message}\n${this.trouble}\n${this.reports.slice(-5).map((each) => JSON.stringify(each)).join("\n")}`);
    });
  }

  /** @param {string} what how often it was reported */
  count(what) {
    return this.reports.filter((each) => each.what === what).length;
  }

  /** @param {string} event @param {object} payload without waiting, and without an acknowledgement */
  emit(event, payload) {
    this.tell("emit", { event, payload });
  }

  /** @param {string} event @param {object} payload @returns {Promise<any>} the acknowledgement */
  async ask(event, payload) {
    const ack = (this.acks += 1);
    this.tell("emit", { event, payload, ack });
    return (await this.reported("ack", (report) => report.ack === ack)).answer;
  }

  /** @param {string} event @param {object} payload @returns {Promise<any>} the acknowledgement of a success */
  async done(event, payload) {
    const answer = await this.ask(event, payload);
    assert.equal(answer?.ok, true, `${event} was acknowledged with ${JSON.stringify(answer)}`);
    return answer;
  }

  /** @param {string} event @param {(payload: any) => boolean} [matches] */
  async saw(event, matches = () => true) {
    return (await this.reported("event", (report) => report.event === event && matches(report.payload))).payload;
  }

  /** @param {string} event its payloads, oldest first */
  of(event) {
    return this.reports.filter((each) => each.what === "event" && each.event === event).map((each) => each.payload);
  }

  /** The name of the transport that is in use. */
  async transport() {
    const before = this.count("transport");
    this.tell("transport");
    await until("the transport", () => this.count("transport") > before, PATIENCE);
    return this.reports.filter((each) => each.what === "transport").at(-1).name;
  }

  async close() {
    if (running.has(this.child)) this.tell("close");
    await this.ended;
  }

  kill() {
    this.child.kill("SIGKILL");
  }
}
