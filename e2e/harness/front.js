/**
 * Proxies before the gateways, each with the configuration that the documentation gives: keep the two alike.
 */
import { spawn } from "node:child_process";
import { accessSync, constants, createWriteStream, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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
    const front = new Front(port, home);
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

  /** @param {number} port @param {string} home */
  constructor(port, home) {
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

/** @type {Record<string, (place: Place) => string[]>} */
const CONFIGURATIONS = {
  nginx({ port, home, gateways, upgrades }) {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) => `${what}_temp_path ${home}/${what};`);
    const websockets = `proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;`;
    return ["-e", "stderr", "-c", write(home, "nginx.conf", `
daemon off;
master_process off;
pid ${home}/pid;
error_log stderr;
events { }
http {
  access_log off;
  ${temporary.join("\n  ")}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream gateways {
    hash $remote_addr$http_x_forwarded_for consistent;
    ${gateways.map((each) => `server 127.0.0.1:${each} max_fails=1 fail_timeout=5s;`).join("\n    ")}
    keepalive 32;
    keepalive_timeout 15s;
  }
  server {
    listen 127.0.0.1:${port};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    ${upgrades ? websockets : "proxy_set_header Connection '';"}
    proxy_read_timeout 60s;
    proxy_buffering off;
    location / { proxy_pass http://gateways; }
  }
}
`)];
  },

  haproxy({ port, home, gateways }) {
    return ["-db", "-f", write(home, "haproxy.cfg", `
defaults
  mode http
  option forwardfor
  option redispatch
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend all
  bind 127.0.0.1:${port}
  default_backend gateways
backend gateways
  cookie gateway insert indirect nocache
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
  ${gateways.map((each, i) => `server gateway-${i + 1} 127.0.0.1:${each} check inter 1s fall 1 rise 1 on-marked-down shutdown-sessions cookie gateway-${i + 1}`).join("\n  ")}
`)];
  },

  envoy({ port, home, gateways }) {
    const address = (/** @type {number} */ each) => `{ socket_address: { address: 127.0.0.1, port_value: ${each} } }`;
    return ["--log-level", "warning", "--concurrency", "1", "--use-dynamic-base-id", "-c", write(home, "envoy.yaml", `
static_resources:
  listeners:
  - address: ${address(port)}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: tickets
          use_remote_address: true
          stream_idle_timeout: 60s
          upgrade_configs: [{ upgrade_type: websocket }]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route:
                  cluster: gateways
                  timeout: 0s
                  hash_policy: [{ cookie: { name: gateway, ttl: 0s, path: "/" } }]
                  retry_policy: { retry_on: connect-failure, num_retries: 2 }
  clusters:
  - name: gateways
    type: STATIC
    lb_policy: RING_HASH
    connect_timeout: 5s
    common_http_protocol_options: { idle_timeout: 15s }
    close_connections_on_host_health_failure: true
    health_checks:
    - timeout: 2s
      interval: 1s
      unhealthy_threshold: 1
      healthy_threshold: 1
      http_health_check: { path: /readyz, host: localhost }
    load_assignment:
      cluster_name: gateways
      endpoints:
      - lb_endpoints:
${gateways.map((each) => `        - endpoint: { address: ${address(each)} }`).join("\n")}
`)];
  },

  traefik({ port, home, gateways }) {
    const routes = write(home, "routes.yaml", `
http:
  routers:
    all: { rule: "PathPrefix(\`/\`)", service: gateways, entryPoints: [web] }
  services:
    gateways:
      loadBalancer:
        sticky: { cookie: { name: gateway, httpOnly: true } }
        healthCheck: { path: /readyz, interval: 1s, timeout: 1s }
        serversTransport: kept
        servers:
${gateways.map((each) => `        - url: "http://127.0.0.1:${each}"`).join("\n")}
  serversTransports:
    kept: { forwardingTimeouts: { idleConnTimeout: 15s } }
`);
    return ["--configFile", write(home, "traefik.yaml", `
global: { checkNewVersion: false, sendAnonymousUsage: false }
entryPoints: { web: { address: "127.0.0.1:${port}" } }
providers: { file: { filename: ${routes} } }
log: { level: WARN }
`)];
  },
};

/** @param {string} home @param {string} name @param {string} text */
function write(home, name, text) {
  const path = join(home, name);
  writeFileSync(path, text);
  return path;
}
