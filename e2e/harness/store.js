/**
 * What the tests see of Redis and MongoDB: a key prefix and a database of their own.
 */
import { MongoClient, ObjectId } from "mongodb";
import { Redis } from "./redis.js";
import { until } from "./wait.js";

const GROUP = "persist";

export class Store {
  /**
   * @param {{redisUrl: string, mongoUri: string, database: string, prefix: string, partitions: number}} place
   */
  constructor(place) {
    this.place = place;
    this.redis = new Redis(place.redisUrl);
    this.mongo = new MongoClient(place.mongoUri, { serverSelectionTimeoutMS: 10_000 });
    this.db = this.mongo.db(place.database);
    this.tickets = this.db.collection("tickets");
    this.messages = this.db.collection("messages");
  }

  async open() {
    await Promise.all([this.redis.open(), this.mongo.connect()]);
    return this;
  }

  #partitions() {
    return Array.from({ length: this.place.partitions }, (_, p) => `${this.place.prefix}:{${p}}:`);
  }

  /** How many entries the workers have not settled: not read yet, or read and not acknowledged. */
  async unsettled() {
    const counts = await Promise.all(
      this.#partitions().map(async (partition) => {
        const key = `${partition}events`;
        const groups = await this.redis.ask("XINFO GROUPS", key).catch((error) => {
          if (/no such key/i.test(String(error))) return [];
          throw error;
        });
        const group = groups.map(pairs).find((/** @type {any} */ each) => each.name === GROUP);
        if (!group) return Number(await this.redis.ask("XLEN", key));
        const unread = await this.redis.ask("XRANGE", key, `(${group["last-delivered-id"]}`, "+");
        return Number(group.pending) + unread.length;
      }),
    );
    return counts.reduce((sum, each) => sum + each, 0);
  }

  /** How many entries the workers gave up on. */
  async parked() {
    const lengths = await Promise.all(
      this.#partitions().map((partition) => this.redis.ask("XLEN", `${partition}dead`)),
    );
    return lengths.reduce((sum, each) => sum + Number(each), 0);
  }

  /** Waits until everything that was accepted is in MongoDB. */
  async settled(ms = 120_000) {
    let left = -1;
    await until("every entry persisted and acknowledged", async () => (left = await this.unsettled()) === 0, ms).catch(
      () => {
        throw new Error(`${left} entries are left in the streams after ${ms} ms`);
      },
    );
  }

  /**
   * The messages of a ticket as they are stored, by seq.
   * @param {string} ticketId
   */
  async storedMessages(ticketId) {
    return this.messages
      .find({ ticketId: { $in: [ticketId, new ObjectId(ticketId)] } })
      .sort({ seq: 1 })
      .toArray();
  }

  /**
   * Makes Redis forget a ticket, as it does by itself once nobody has used the ticket for long.
   * @param {string} ticketId
   */
  async forget(ticketId) {
    await this.redis.remove(`${this.place.prefix}:*:t:${ticketId}*`);
  }

  async close() {
    await this.db.dropDatabase();
    await this.redis.remove(`${this.place.prefix}:*`);
    await Promise.all([this.redis.close(), this.mongo.close()]);
  }
}

/** @param {any} flat a map, as Redis 7 answers it: name, value, name, value … */
function pairs(flat) {
  if (flat instanceof Map) return Object.fromEntries(flat);
  if (!Array.isArray(flat)) return flat;
  return Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]));
}
