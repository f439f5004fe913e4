/**
 * The tests' own look into Redis: one server, or a cluster, as REDIS_URL says.
 */
import { createClient, createCluster } from "@redis/client";

export class Redis {
  /** @param {string} url redis://…, or redis-cluster://host:port?node=host:port&node=… */
  constructor(url) {
    const cluster = nodes(url);
    /** @type {any} whichever it is */
    this.client = cluster ? createCluster(cluster) : createClient({ url });
    this.clustered = cluster !== undefined;
    this.client.on("error", () => {});
  }

  async open() {
    await this.client.connect();
  }

  async close() {
    await this.client.close();
  }

  /**
   * A command about one key.
   * @param {string} command of one word or two
   * @param {string} key
   * @param {...string} rest
   * @returns {Promise<any>}
   */
  ask(command, key, ...rest) {
    const words = [...command.split(" "), key, ...rest];
    return this.clustered ? this.client.sendCommand(key, false, words) : this.client.sendCommand(words);
  }

  /**
   * Deletes every key that matches.
   * @param {string} pattern
   */
  async remove(pattern) {
    // Each master of a cluster knows its own keys only.
    const servers = this.clustered
      ? await Promise.all(this.client.masters.map((/** @type {any} */ master) => this.client.nodeClient(master)))
      : [this.client];
    for (const server of servers) {
      for await (const keys of server.scanIterator({ MATCH: pattern, COUNT: 1000 })) {
        // One by one: a command about keys of several slots would be refused by a cluster.
        await Promise.all([keys].flat().map((key) => this.ask("UNLINK", key)));
      }
    }
  }
}

/**
 * What the URL of a cluster names; undefined for that of one server. Not `new URL`: its scheme is not one that
 * browsers know, so the host would not be told apart.
 * @param {string} url
 */
function nodes(url) {
  const found = url.match(/^(rediss?)-cluster:\/\/([^@/?]*@)?([^/?]+)[^?]*(?:\?(.*))?$/);
  if (!found) return undefined;
  const [, scheme, login = "", first, query] = found;
  const all = [first, ...new URLSearchParams(query).getAll("node")];
  const [username, password] = login.slice(0, -1).split(":").map(decodeURIComponent);
  return {
    rootNodes: all.map((host) => ({ url: `${scheme}://${login}${host}` })),
    // The other nodes are found by those, and reached in the same way.
    defaults: {
      ...(username && { username }),
      ...(password && { password }),
      ...(scheme === "rediss" && { socket: { tls: /** @type {const} */ (true) } }),
    },
  };
}
