/**
 * A line to a server that can be cut (connections are closed, and new ones refused) or frozen, until it is mended.
 */
import { connect, createServer } from "node:net";

export class Line {
  /** @param {string} host @param {number} port */
  constructor(host, port) {
    /** @type {Set<import("node:net").Socket>} */
    this.open = new Set();
    this.isCut = false;
    this.isFrozen = false;
    this.server = createServer((near) => {
      near.on("error", () => {});
      if (this.isCut) return near.destroy();
      if (this.isFrozen) {
        this.open.add(near);
        return near.on("close", () => this.open.delete(near));
      }
      const far = connect(port, host);
      far.on("error", () => {});
      for (const [one, other] of [[near, far], [far, near]]) {
        this.open.add(one);
        one.on("close", () => {
          this.open.delete(one);
          other.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
    // It must not keep a test file alive.
    this.server.unref();
  }

  /**
   * Listens, and returns the URL with this line's own address in place of the server's.
   * @param {string} url of one server: scheme://[user@]host:port/…
   */
  static async to(url) {
    const found = url.match(/^([^:]+:\/\/(?:[^@/]*@)?)([^:/@?,]+)(?::(\d+))?([/?].*)?$/);
    if (!found) throw new Error("a line needs the URL of one server");
    const [, head, host, port, rest = ""] = found;
    const line = new Line(host, Number(port ?? (head.startsWith("mongodb") ? 27017 : 6379)));
    await new Promise((resolve) => line.server.listen(0, "127.0.0.1", () => resolve(undefined)));
    const { port: own } = /** @type {import("node:net").AddressInfo} */ (line.server.address());
    return { line, url: `${head}127.0.0.1:${own}${rest}` };
  }

  cut() {
    this.isCut = true;
    this.open.forEach((each) => each.destroy());
  }

  /** Connections stay and new ones are taken, but nothing gets through. */
  freeze() {
    this.isFrozen = true;
    this.open.forEach((each) => each.unpipe());
  }

  /** Ends what was frozen; new connections get through. */
  mend() {
    if (this.isFrozen) this.open.forEach((each) => each.destroy());
    this.isCut = this.isFrozen = false;
  }
}
