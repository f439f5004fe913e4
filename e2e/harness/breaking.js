/**
 * A proxy that breaks upgrades: it passes the answer 101 on and no frame, or refuses whatever asks for a websocket.
 */
import { connect, createServer } from "node:net";

/** What becomes of a websocket. */
export const WAYS = /** @type {const} */ (["cuts", "swallows", "answers 403", "answers 502"]);

export class Breaking {
  /** @param {number} gateway its port @param {typeof WAYS[number]} how */
  static async start(gateway, how) {
    const breaking = new Breaking(gateway, how);
    await new Promise((resolve) => breaking.server.listen(0, "127.0.0.1", () => resolve(undefined)));
    breaking.port = /** @type {import("node:net").AddressInfo} */ (breaking.server.address()).port;
    return breaking;
  }

  /** @param {number} gateway @param {typeof WAYS[number]} how */
  constructor(gateway, how) {
    this.port = 0;
    /** How many websockets were broken. */
    this.broken = 0;
    /** @type {Set<import("node:net").Socket>} */
    this.open = new Set();
    this.server = createServer((near) => {
      const far = connect(gateway, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        this.open.add(one);
        one.on("error", () => {});
        one.on("close", () => (this.open.delete(one), other.destroy()));
      }
      let websocket = false;
      near.on("data", (bytes) => {
        const status = how.match(/\d+/)?.[0];
        if (status && /^upgrade: *websocket/im.test(bytes.toString("latin1"))) {
          this.broken += 1;
          near.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
        } else if (!websocket) far.write(bytes);
      });
      far.on("data", (bytes) => {
        if (websocket) return;
        near.write(bytes);
        websocket = bytes.toString("latin1").startsWith("HTTP/1.1 101 ");
        if (!websocket) return;
        this.broken += 1;
        if (how === "cuts") near.end();
      });
    });
  }

  async stop() {
    this.open.forEach((each) => each.destroy());
    this.server.close();
  }
}
