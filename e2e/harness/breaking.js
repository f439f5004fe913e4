/**
 * A proxy that lets websockets begin, and then breaks them: it passes the answer 101 on, and no frame.
 */
import { connect, createServer } from "node:net";

export class Breaking {
  /** @param {number} gateway its port @param {"cuts" | "swallows"} how */
  static async start(gateway, how) {
    const breaking = new Breaking(gateway, how);
    await new Promise((resolve) => breaking.server.listen(0, "127.0.0.1", () => resolve(undefined)));
    const { port } = /** @type {import("node:net").AddressInfo} */ (breaking.server.address());
    breaking.url = `http://127.0.0.1:${port}`;
    return breaking;
  }

  /** @param {number} gateway @param {"cuts" | "swallows"} how */
  constructor(gateway, how) {
    this.url = "";
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
      near.on("data", (bytes) => websocket || far.write(bytes));
      far.on("data", (bytes) => {
        if (websocket) return;
        near.write(bytes);
        websocket = bytes.toString("latin1").startsWith("HTTP/1.1 101 ");
        if (websocket && how === "cuts") near.end();
      });
    });
  }

  async stop() {
    this.open.forEach((each) => each.destroy());
    this.server.close();
  }
}
