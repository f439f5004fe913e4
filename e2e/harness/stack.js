/**
 * Two gateways and a worker of one test file, with a key prefix and a database that nobody else uses.
 *
 * `stack()` starts them before the file's tests and ends them after, and then checks what every test must leave
 * behind: nothing pending, nothing parked, no panic, no process that ended by itself, and exit code 0 on SIGTERM.
 */
import { randomBytes } from "node:crypto";
import { after, before } from "node:test";
import { Client } from "./client.js";
import { freePort, Process } from "./process.js";
import { Rest } from "./rest.js";
import { Store } from "./store.js";

const PARTITIONS = 16;

/**
 * Tests ask faster than people, all from one address and as few identities. The tests of the rates set their own.
 */
const UNHURRIED = { CONNECT_RATE: "0", CONNECT_RATE_ADDRESS: "0", EVENT_RATE: "0", IDENTITY_RATE: "0", ADDRESS_RATE: "0" };

/** Names that requests written by hand are for. */
const HOSTS = { ALLOWED_HOSTS: "x,gateway" };

export class Stack {
  /** @param {string} name the test file's, for logs */
  constructor(name) {
    this.name = name;
    /** @type {Process[]} */
    this.gateways = [];
    /** @type {Client[]} */
    this.clients = [];
  }

  /**
   * @param {{
   *   env?: Record<string, string>,
   *   workerEnv?: Record<string, string>,
   *   files?: number,
   *   route?: (to: {redis: string, mongo: string}) => Promise<{REDIS_URL: string, MONGO_URI: string}>,
   * }} [options] settings of the gateways, and of the worker; how many files
   *   the first gateway may open; and by which way it reaches the servers
   */
  async start({ env = {}, workerEnv = {}, files, route } = {}) {
    const { REDIS_URL: redisUrl, MONGO_URI: mongoUri } = process.env;
    if (!redisUrl || !mongoUri) throw new Error("REDIS_URL and MONGO_URI must be set; `make e2e` sets them");
    const mark = `e2e-${this.name}-${randomBytes(4).toString("hex")}`;
    const uri = withDatabase(mongoUri, mark);
    this.store = await new Store({
      redisUrl,
      mongoUri: uri,
      database: mark,
      prefix: mark,
      partitions: PARTITIONS,
    }).open();
    const common = {
      REDIS_URL: redisUrl,
      MONGO_URI: uri,
      KEY_PREFIX: mark,
      PARTITIONS: String(PARTITIONS),
      HOST: "127.0.0.1",
      LOG: process.env.E2E_LOG || "info",
      LOG_FORMAT: "json",
    };
    const routed = await route?.({ redis: redisUrl, mongo: uri });
    for (const [i, name] of ["gateway-1", "gateway-2"].entries()) {
      const [port, ops] = [String(await freePort()), String(await freePort())];
      // A short time for clients to go ends the tests sooner.
      const own = { AUTH_MODE: "none", PORT: port, OPS_PORT: ops, DRAIN_MS: "500", ...UNHURRIED, ...HOSTS, ...env, ...(i === 0 ? routed : {}) };
      this.gateways.push(new Process(name, "ticket-gateway", { ...common, ...own }, mark));
    }
    this.gateways[0].files = files;
    const ops = String(await freePort());
    // A short wait for entries ends the worker sooner.
    const own = { CONSUMER: mark, OPS_PORT: ops, BLOCK_MS: "200", ...workerEnv };
    this.worker = new Process("worker", "ticket-worker", { ...common, ...own }, mark);
    await Promise.all(this.processes.map((each) => each.start()));
    return this;
  }

  get processes() {
    return [this.worker, ...this.gateways];
  }

  /** @param {number} [gateway] 0 or 1 */
  url(gateway = 0) {
    return `http://127.0.0.1:${this.gateways[gateway].env.PORT}`;
  }

  /** @param {number} [gateway] */
  rest(gateway = 0) {
    return new Rest(this.url(gateway));
  }

  /**
   * A connected socket.io-client.
   * @param {number} [gateway]
   * @param {import("socket.io-client").ManagerOptions & import("socket.io-client").SocketOptions | any} [options]
   */
  async connect(gateway = 0, options = {}) {
    const client = new Client(this.url(gateway), options);
    this.clients.push(client);
    await client.connected();
    return client;
  }

  /**
   * A connected client that has joined.
   * @param {string} ticketId
   * @param {number} gateway
   * @param {Person} [person]
   * @param {any} [options]
   */
  async join(ticketId, gateway, person = someone(), options = {}) {
    const client = await this.connect(gateway, options);
    client.person = person;
    client.joined = await client.join(ticketId);
    return client;
  }

  /** @param {Record<string, unknown>} [fields] */
  async newTicket(fields = {}, gateway = 0) {
    const answer = await this.rest(gateway).post("/tickets", { subject: "A test", userId: "u", userName: "U", ...fields });
    if (answer.status !== 201) throw new Error(`POST /tickets: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body.ticket;
  }

  /** Ends everything, and checks what it leaves behind. */
  async stop() {
    /** @type {string[]} */
    const wrong = [];
    /** @param {() => Promise<unknown>} step */
    const attempt = (step) => step().catch((error) => wrong.push(error.message));
    this.clients.forEach((client) => client.close());
    if (this.worker?.alive) {
      await attempt(() => this.store.settled());
      await attempt(async () => {
        const parked = await this.store.parked();
        if (parked) throw new Error(`${parked} entries were parked`);
      });
    }
    await Promise.all(this.gateways.map((each) => attempt(() => each.stop())));
    if (this.worker) await attempt(() => this.worker.stop());
    wrong.push(...this.processes.flatMap((each) => each?.complaints ?? []));
    if (this.store) await attempt(() => this.store.close());
    if (wrong.length) throw new Error(`left behind by ${this.name}:\n  ${wrong.join("\n  ")}`);
  }
}

/**
 * The stack of one test file.
 * @param {string} name
 * @param {Parameters<Stack["start"]>[0] & {setup?: (it: Stack) => Promise<void>}} [options] `setup` runs once
 *   everything is ready; a `before` of the file's own would not wait for that
 */
export function stack(name, { setup, ...options } = {}) {
  const it = new Stack(name);
  before(
    async () => {
      await it.start(options);
      await setup?.(it);
    },
    { timeout: 120_000 },
  );
  after(() => it.stop(), { timeout: 240_000 });
  return it;
}

/** @typedef {{userId: string, userType: "user" | "agent", userName: string}} Person */

let people = 0;

/**
 * Somebody nobody has met before.
 * @param {"user" | "agent"} [userType]
 * @returns {Person}
 */
export function someone(userType = "user") {
  people += 1;
  return { userId: `${userType}-${people}`, userType, userName: `${userType} ${people}` };
}

/**
 * The same server, another database. Not `new URL`: several hosts are no URL.
 * @param {string} uri
 * @param {string} database
 */
function withDatabase(uri, database) {
  const found = uri.match(/^([^:]+:\/\/[^/?]+)(?:\/[^?]*)?(\?.*)?$/);
  if (!found) throw new Error("MONGO_URI is not a MongoDB URI");
  return `${found[1]}/${database}${found[2] ?? ""}`;
}
