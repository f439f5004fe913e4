/**
 * One process of the product: started with its own settings, watched, and ended.
 */
import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { until, within } from "./wait.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
/** Where the programs are. */
export const bin = process.env.BIN_DIR || join(root, "target", "debug");
const logs = process.env.E2E_LOGS || join(root, "target", "local", "e2e");

/** @type {Set<Process>} */
const running = new Set();
// A test that throws, or is interrupted, must not leave processes behind.
process.on("exit", () => running.forEach((each) => each.child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(1));

export class Process {
  /**
   * @param {string} name for messages and the log file
   * @param {string} program
   * @param {Record<string, string>} env all of its environment, besides PATH
   * @param {string} directory the log's
   */
  constructor(name, program, env, directory) {
    this.name = name;
    this.program = program;
    this.env = env;
    this.log = join(logs, directory, `${name}.log`);
    /** @type {string[]} what went wrong that no test asked for */
    this.complaints = [];
    /** Whether the test itself ends it. */
    this.meant = false;
    /** @type {number | undefined} how many files it may open */
    this.files = undefined;
  }

  /** @param {{ready?: boolean}} [options] whether to wait until it is */
  async start({ ready = true } = {}) {
    mkdirSync(dirname(this.log), { recursive: true });
    const log = createWriteStream(this.log, { flags: "a" });
    log.write(`--- started ${new Date().toISOString()}\n`);
    this.meant = false;
    const path = join(bin, this.program);
    const [command, args] = this.files ? ["sh", ["-c", `ulimit -n ${this.files} && exec "$0"`, path]] : [path, []];
    const child = spawn(command, args, {
      env: { PATH: process.env.PATH, RUST_BACKTRACE: "1", ...this.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    running.add(this);
    for (const stream of [child.stdout, child.stderr]) {
      stream.pipe(log, { end: false });
      stream.setEncoding("utf8");
      stream.on("data", (/** @type {string} */ text) => {
        if (text.includes("panicked at")) this.complaints.push(`${this.name} panicked; see ${this.log}`);
      });
    }
    /** @type {Promise<{code: number | null, signal: string | null}>} */
    this.ended = new Promise((resolve) => {
      child.on("error", (error) => {
        running.delete(this);
        this.complaints.push(`${this.name} did not start: ${error.message}`);
        resolve({ code: -1, signal: null });
      });
      child.on("exit", (code, signal) => {
        running.delete(this);
        if (!this.meant) this.complaints.push(`${this.name} ended by itself: ${code ?? signal}; see ${this.log}`);
        resolve({ code, signal });
      });
    });
    if (ready) await this.untilReady();
    return this;
  }

  async untilReady() {
    const url = `http://127.0.0.1:${this.env.OPS_PORT}/readyz`;
    await until(
      `${this.name} ready; see ${this.log}`,
      async () => {
        if (!running.has(this)) throw new Error(this.complaints.join("; ") || `${this.name} is not running`);
        return fetch(url, { signal: AbortSignal.timeout(5_000) }).then((answer) => answer.ok, () => false);
      },
      60_000,
    );
  }

  get alive() {
    return running.has(this);
  }

  /** As a crash: no time to say goodbye. */
  async kill() {
    this.meant = true;
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** As a deploy: SIGTERM, and then it must end by itself, with exit code 0. */
  async stop(ms = 40_000) {
    if (!this.alive) return;
    this.meant = true;
    this.child.kill("SIGTERM");
    const end = await within(this.ended, ms);
    if (!end) {
      this.child.kill("SIGKILL");
      throw new Error(`${this.name} still runs ${ms} ms after SIGTERM; see ${this.log}`);
    }
    if (end.code !== 0) throw new Error(`${this.name} ended with ${end.code ?? end.signal} on SIGTERM; see ${this.log}`);
  }
}

// Below the range from which systems take the ports of outgoing connections, so that none of those takes one before
// the process does. Files of tests run side by side in processes of their own, which begin far from each other.
const [FIRST_PORT, PORTS] = [12_000, 18_000];
let nextPort = process.pid * 97;

/** A port that nothing listens on, and that this process has not given out before. */
export async function freePort() {
  for (let tries = 0; tries < 100; tries++) {
    const port = FIRST_PORT + (nextPort++ % PORTS);
    const free = await new Promise((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, "0.0.0.0", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error(`no free port in 100 tries`);
}
