/**
 * A MongoDB of a test's own that asks for a password.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import { MongoClient } from "mongodb";
import { freePort } from "./process.js";
import { until, within } from "./wait.js";

const UNAUTHORIZED = 13;

/** The server's program: what the tests run with, else the first on the PATH. */
function program() {
  const { MONGO_PROGRAM, PATH = "" } = process.env;
  const places = PATH.split(delimiter).flatMap((each) => ["mongod", "secantusd-rs"].map((name) => join(each, name)));
  return [MONGO_PROGRAM, ...places].find((path) => path && existsSync(path));
}

export class Mongo {
  /** @param {string} path @param {number} port */
  constructor(path, port) {
    this.path = path;
    this.port = port;
    this.directory = mkdtempSync(join(tmpdir(), "ticket-mongo-"));
    process.on("exit", () => this.child?.kill("SIGKILL"));
  }

  /**
   * Starts one that lets in nobody but this user; undefined where there is none to start, or it lets in everybody.
   * @param {string} user @param {string} password
   */
  static async withPassword(user, password) {
    const path = program();
    if (!path) return undefined;
    const mongo = new Mongo(path, await freePort());
    await mongo.start();
    await mongo.run((client) => client.db("admin").command({ createUser: user, pwd: password, roles: ["root"] }));
    await mongo.stop();
    await mongo.start("--auth");
    const error = await mongo.run((client) => client.db("x").collection("x").insertOne({})).catch((error) => error);
    if (error?.code === UNAUTHORIZED) return mongo;
    await mongo.close();
    return undefined;
  }

  /** @param {string} credentials percent-encoded, or empty */
  uri(credentials = "") {
    const user = credentials && `${credentials}@`;
    return `mongodb://${user}127.0.0.1:${this.port}/?${credentials && "authSource=admin&"}directConnection=true`;
  }

  /** @param {...string} more */
  async start(...more) {
    const local = ["--port", String(this.port)];
    const own = basename(this.path).startsWith("mongod")
      ? ["--dbpath", this.directory, "--bind_ip", "127.0.0.1", "--nounixsocket"]
      : ["--storage-path", this.directory, "--host", "127.0.0.1", "--cache-size", "64M"];
    const child = spawn(this.path, [...local, ...own, ...more], { cwd: this.directory, stdio: "ignore" });
    this.child = child;
    this.ended = new Promise((resolve) => child.on("exit", resolve).on("error", resolve));
    // A handshake and a ping need no password.
    await until("MongoDB answers", () => this.run((client) => client.db("admin").command({ hello: 1 })).catch(() => false), 60_000);
  }

  /**
   * Does something without a password.
   * @template T
   * @param {(client: MongoClient) => Promise<T>} work
   */
  async run(work) {
    const client = new MongoClient(this.uri(), { serverSelectionTimeoutMS: 1_000 });
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }

  async stop() {
    this.child?.kill("SIGTERM");
    if ((await within(this.ended.then(() => true), 30_000)) === undefined) this.child?.kill("SIGKILL");
    await this.ended;
  }

  async close() {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
