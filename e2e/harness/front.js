/**
 * Proxies before the gateways, each with its configuration in `deploy/proxies`.
 */
import { spawn } from "node:child_process";
import { accessSync, constants, createWriteStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "./process.js";
import { until } from "./wait.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const local = process.env.PROXIES || join(root, "target", "local", "proxies");
const logs = process.env.E2E_LOGS || join(root, "target", "local", "e2e");

/** @type {Record<string, string[]>} besides the PATH, where `make test` puts them */
const PLACES = {
  nginx: ["/usr/sbin", join(local, "usr/sbin")],
  haproxy: ["/usr/sbin", join(local, "usr/sbin")],
  envoy: inside(join(local, "python/lib")).map((python) => join(python, "site-packages/envoy/_bin")),
  traefik: [join(local, "python/bin")],
};

/** @param {string} name @returns {string | undefined} the program, where it is installed */
export function program(name) {
  const places = [...(process.env.PATH ?? "").split(":"), ...PLACES[name]];
  return places.map((place) => join(place, name)).find(executable);
}

/** @param {string} directory what is in it, if it is there */
function inside(directory) {
  try {
    return readdirSync(directory).map((each) => join(directory, each));
  } catch {
    return [];
  }
}

/** @param {string} path */
function executable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A proxy that runs. */
export class Front {
  /**
   * @param {string} name
   * @param {number[]} gateways their ports
   * @param {{upgrades?: boolean}} [options] whether websockets get through; only nginx can be told that they do not
   */
  static async start(name, gateways, { upgrades = true } = {}) {
    const [port, home] = [await freePort(), mkdtempSync(join(tmpdir(), `ticket-${name}-`))];
    const front = new Front(name, port, home);
    const argv = CONFIGURATIONS[name]({ port, home, gateways, upgrades });
    const file = join(logs, "proxies", `${name}${upgrades ? "" : "-broken"}.log`);
    mkdirSync(dirname(file), { recursive: true });
    const log = createWriteStream(file);
    // Packages that were unpacked, not installed, bring their libraries along.
    const libraries = inside(join(local, "usr/lib")).join(":");
    const child = spawn(/** @type {string} */ (program(name)), argv, {
      env: { PATH: process.env.PATH, HOME: home, LD_LIBRARY_PATH: libraries },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    running.add(child);
    front.child = child;
    front.ended = new Promise((resolve) => child.once("exit", resolve));
    await until(`${name} serves; see ${file}`, () => fetch(`${front.url}/livez`).then((answer) => answer.ok, () => false), 60_000);
    return front;
  }

  /** @param {string} name @param {number} port @param {string} home */
  constructor(name, port, home) {
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    this.home = home;
  }

  async stop() {
    this.child?.kill("SIGKILL");
    await this.ended;
    if (this.child) running.delete(this.child);
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** @typedef {{port: number, home: string, gateways: number[], upgrades: boolean}} Place */

/** @type {Record<string, (place: Place) => string[]>} the arguments, after the configuration was put in its place */
const CONFIGURATIONS = {
  nginx(place) {
    const { home, upgrades } = place;
    const tickets = configured("nginx.conf", place, (text) => (upgrades ? text : text.replace("Connection $connection_upgrade", "Connection ''")));
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) => `${what}_temp_path ${home}/${what};`);
    // Around it what the system's package has in its own file, for a user who is not root.
    return ["-e", "stderr", "-c", write(home, "main.conf", `
daemon off;
master_process off;
pid ${home}/pid;
error_log stderr;
events { }
http {
  access_log off;
  ${temporary.join("\n  ")}
  include ${tickets};
}
`)];
  },

  haproxy: (place) => ["-db", "-f", configured("haproxy.cfg", place)],

  envoy: (place) => ["--log-level", "warning", "--concurrency", "1", "--use-dynamic-base-id", "-c", configured("envoy.yaml", place)],

  traefik(place) {
    const routes = configured("traefik-routes.yaml", place);
    return ["--configFile", configured("traefik.yaml", place, (text) => text.replace("traefik-routes.yaml", routes))];
  },
};

/**
 * A file of `deploy/proxies`, with the test's ports instead of its own.
 * @param {string} name @param {Place} place @param {(text: string) => string} [changed]
 */
function configured(name, { port, home, gateways }, changed = (text) => text) {
  const ports = new Map([[8080, port], [5000, gateways[0]], [5001, gateways[1]]]);
  const text = readFileSync(join(root, "deploy", "proxies", name), "utf8");
  const moved = text.replace(/(127\.0\.0\.1(?::|, port_value: ))(\d+)/g, (_, before, number) => `${before}${ports.get(Number(number))}`);
  return write(home, name, changed(moved));
}

/** @param {string} home @param {string} name @param {string} text */
function write(home, name, text) {
  const path = join(home, name);
  writeFileSync(path, text);
  return path;
}
