/**
 * Settings that are wrong: the process does not start. It ends with exit code 78 and says in one line on standard
 * error which setting it is, and never what stood in it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bin } from "../harness/process.js";
import { SECRET } from "../harness/token.js";
import { DEADLINE, within } from "../harness/wait.js";

const WRONG = 78;
/** In every value that would be a secret. */
const CANARY = "canary7f3a";

const directory = mkdtempSync(join(tmpdir(), "ticket-settings-"));
after(() => rmSync(directory, { recursive: true }));

/** @param {string} name @param {string | Uint8Array} content */
function file(name, content) {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Settings with which each starts; nothing of them has to be reachable. */
const GOOD = {
  "ticket-gateway": { AUTH_MODE: "none", PORT: "0", OPS_PORT: "0", HOST: "127.0.0.1" },
  "ticket-worker": { OPS_PORT: "0", HOST: "127.0.0.1" },
};
const JWT = { AUTH_MODE: "jwt", JWT_SECRET: SECRET };
const missing = join(directory, "missing");
const empty = file("empty", "\n");
const binary = file("binary", new Uint8Array([0xff, 0xfe, 0x00, 0x80]));
const noKey = file("no-key.pem", `-----BEGIN CERTIFICATE-----\n${CANARY}\n-----END CERTIFICATE-----\n`);
const privateKey = file("private.pem", `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----\n`);
const badKey = file("bad.pem", `-----BEGIN PUBLIC KEY-----\n${CANARY}\n-----END PUBLIC KEY-----\n`);
const weakFile = file("weak", `${CANARY}\n`);
const urlFile = file("url", `http://root:${CANARY}@redis.internal\n`);
const uriFile = file("uri", `mongo://root:${CANARY}@mongo.internal\n`);

/**
 * What is wrong, and the setting that must be named. `undefined` takes a setting away.
 * @type {[setting: string, env: Record<string, string | undefined>][]}
 */
const both = [
  ["REDIS_URL", { REDIS_URL: "" }],
  ["REDIS_URL", { REDIS_URL: `root:${CANARY}@redis.internal:6379` }],
  ["REDIS_URL", { REDIS_URL: `http://root:${CANARY}@redis.internal:6379` }],
  ["REDIS_URL", { REDIS_URL: `redis://root:${CANARY}/with#slash@redis.internal:port` }],
  ["REDIS_URL", { REDIS_URL: `redis://root:${CANARY}@` }],
  ["REDIS_URL_FILE", { REDIS_URL_FILE: missing }],
  ["REDIS_URL_FILE", { REDIS_URL_FILE: directory }],
  ["REDIS_URL_FILE", { REDIS_URL_FILE: empty }],
  ["REDIS_URL_FILE", { REDIS_URL_FILE: binary }],
  ["REDIS_URL", { REDIS_URL_FILE: urlFile }],
  ["REDIS_CA_FILE", { REDIS_URL: `redis://:${CANARY}@redis.internal`, REDIS_CA_FILE: empty }],
  ["REDIS_CA_FILE", { REDIS_URL: `rediss://:${CANARY}@redis.internal`, REDIS_CA_FILE: missing }],
  ["REDIS_CA_FILE", { REDIS_URL: `rediss://:${CANARY}@redis.internal`, REDIS_CA_FILE: noKey }],
  ["MONGO_URI", { MONGO_URI: "" }],
  ["MONGO_URI", { MONGO_URI: `mongo://root:${CANARY}@mongo.internal/tickets` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}/%zz@mongo.internal/tickets` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal:99999/tickets` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:x@mongo.internal/tickets?authMechanism=${CANARY}` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:x@mongo.internal/tickets?w=majority&wtimeoutMS=${CANARY}` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal/tickets?tls=true&tlsCAFile=${missing}` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal/?replicaSet=rs0` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal/admin` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal/local` }],
  ["MONGO_URI", { MONGO_URI: `mongodb://root:${CANARY}@mongo.internal/config` }],
  ["MONGO_URI_FILE", { MONGO_URI_FILE: missing }],
  ["MONGO_URI_FILE", { MONGO_URI_FILE: empty }],
  ["MONGO_URI", { MONGO_URI_FILE: uriFile }],
  ["KEY_PREFIX", { KEY_PREFIX: "" }],
  ["KEY_PREFIX", { KEY_PREFIX: `{${CANARY}}` }],
  ["THREADS", { THREADS: "0" }],
  ["THREADS", { THREADS: CANARY }],
  ["PARTITIONS", { PARTITIONS: "0" }],
  ["PARTITIONS", { PARTITIONS: "1025" }],
  ["PARTITIONS", { PARTITIONS: CANARY }],
  ["OPS_PORT", { OPS_PORT: "65536" }],
  ["OPS_PORT", { OPS_PORT: `redis://:${CANARY}@redis.internal` }],
  ["HOST", { HOST: `http://${CANARY}` }],
  ["OPS_HOST", { OPS_HOST: `http://${CANARY}` }],
  ["LOG", { LOG: `info,fred=${CANARY}` }],
  ["LOG_FORMAT", { LOG_FORMAT: CANARY }],
];

/** @type {typeof both} */
const gateway = [
  ["AUTH_MODE", { AUTH_MODE: undefined }],
  ["AUTH_MODE", { AUTH_MODE: CANARY }],
  ["AUTH_MODE", { AUTH_MODE: "jwt" }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: "" }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: `short-${CANARY}` }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: "changeme-changeme-0123456789-abcdef" }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: "your-256-bit-secret-your-256-bit-secret" }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: "a".repeat(64) }],
  ["JWT_SECRET", { ...JWT, JWT_SECRET: CANARY.repeat(4) }],
  ["JWT_SECRET", { AUTH_MODE: "jwt", JWT_SECRET_FILE: weakFile }],
  ["JWT_SECRET_FILE", { AUTH_MODE: "jwt", JWT_SECRET_FILE: missing }],
  ["JWT_SECRET_FILE", { AUTH_MODE: "jwt", JWT_SECRET_FILE: empty }],
  ["JWT_SECRET_PREVIOUS", { ...JWT, JWT_SECRET_PREVIOUS: `short-${CANARY}` }],
  ["JWT_SECRET_PREVIOUS", { AUTH_MODE: "jwt", JWT_SECRET_PREVIOUS: SECRET }],
  ["JWT_SECRET_PREVIOUS_FILE", { ...JWT, JWT_SECRET_PREVIOUS_FILE: directory }],
  ["JWT_KEY_FILE", { AUTH_MODE: "jwt", JWT_KEY_FILE: missing }],
  ["JWT_KEY_FILE", { AUTH_MODE: "jwt", JWT_KEY_FILE: empty }],
  ["JWT_KEY_FILE", { AUTH_MODE: "jwt", JWT_KEY_FILE: noKey }],
  ["JWT_KEY_FILE", { AUTH_MODE: "jwt", JWT_KEY_FILE: badKey }],
  ["JWT_KEY_FILE", { AUTH_MODE: "jwt", JWT_KEY_FILE: privateKey }],
  ["JWKS_URL", { AUTH_MODE: "jwt", JWKS_URL: `https://root:${CANARY}@id.example.com/keys` }],
  ["JWKS_URL", { AUTH_MODE: "jwt", JWKS_URL: "http://id.example.com/keys" }],
  ["JWKS_URL", { AUTH_MODE: "jwt", JWKS_URL: `${CANARY} keys` }],
  ["JWT_ALGORITHMS", { ...JWT, JWT_ALGORITHMS: "none" }],
  ["JWT_ALGORITHMS", { ...JWT, JWT_ALGORITHMS: "HS256,RS256" }],
  ["JWT_LEEWAY_SECONDS", { ...JWT, JWT_LEEWAY_SECONDS: "31" }],
  ["JWKS_REFRESH_SECONDS", { ...JWT, JWKS_REFRESH_SECONDS: "0" }],
  ["PORT", { PORT: "-1" }],
  ["PORT", { PORT: `${CANARY}` }],
  ["OPS_PORT", { PORT: "5000", OPS_PORT: "5000" }],
  ["CORS_ORIGIN", { CORS_ORIGIN: "*" }],
  ["CORS_ORIGIN", { CORS_ORIGIN: `https://root:x@desk.example.com/${CANARY}` }],
  ["CORS_ORIGIN", { CORS_ORIGIN: `https://desk.example.com,${CANARY}:3000` }],
  ["CORS_HEADERS", { CORS_HEADERS: `${CANARY} x` }],
  ["ALLOWED_HOSTS", { ALLOWED_HOSTS: `http://${CANARY}` }],
  ["TRUSTED_PROXIES", { TRUSTED_PROXIES: "10.0.0.0/33" }],
  ["DURABILITY", { DURABILITY: CANARY }],
  ["DURABILITY", { DURABILITY: "replica", REDIS_URL: `redis-cluster://:${CANARY}@redis.internal` }],
  ["DURABILITY_REPLICAS", { DURABILITY_REPLICAS: "17" }],
  ["BACKLOG_MAX", { BACKLOG_MAX: "-1" }],
  ["MEMORY_MAX_PERCENT", { MEMORY_MAX_PERCENT: "101" }],
  ["DRAIN_MS", { DRAIN_MS: "18446744073709551615" }],
  ["EVENT_RATE", { EVENT_RATE: "fast" }],
  ["INFLIGHT_EVENTS", { INFLIGHT_EVENTS: "0" }],
  ["ORIGIN_REQUIRED", { ORIGIN_REQUIRED: "maybe" }],
];

/** @type {typeof both} */
const worker = [
  ["CONSUMER", { CONSUMER: " " }],
  ["BATCH", { BATCH: "0" }],
  ["BATCH_MAX", { BATCH_MAX: "10001" }],
  ["BLOCK_MS", { BLOCK_MS: "9" }],
  ["CLAIM_IDLE_MS", { CLAIM_IDLE_MS: "1000", BLOCK_MS: "1000" }],
  ["CONSUMER_GONE_MS", { CONSUMER_GONE_MS: "5000", CLAIM_IDLE_MS: "5000" }],
  ["GRACE_MS", { GRACE_MS: "18446744073709551615" }],
];

/**
 * Runs a program to its end.
 * @param {string} program @param {Record<string, string | undefined>} env @param {...string} args
 */
async function run(program, env, ...args) {
  const child = spawn(join(bin, program), args, { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (err += text));
  /** @type {Promise<number | null>} */
  const closed = new Promise((resolve, reject) => (child.on("close", resolve), child.on("error", reject)));
  try {
    const code = await within(closed, DEADLINE);
    assert.notEqual(code, undefined, `${program} with wrong settings runs on: ${err}`);
    return { code, out, err };
  } finally {
    child.kill("SIGKILL");
  }
}

/** @param {Record<string, string | undefined>} env what must not be said */
function secrets(env) {
  const names = ["JWT_SECRET", "JWT_SECRET_PREVIOUS"];
  return [CANARY, ...names.map((name) => env[name]).filter((value) => value)];
}

/** @param {string} program @param {string} setting @param {Record<string, string | undefined>} wrong */
async function refused(program, setting, wrong) {
  const env = { ...GOOD[program], ...wrong };
  for (const args of [[], ["check-config"]]) {
    const { code, out, err } = await run(program, env, ...args);
    assert.equal(code, WRONG, err);
    assert.equal(out, "");
    assert.match(err, new RegExp(`^error: ${setting}: [^\n]+\n$`));
    for (const secret of secrets(env)) assert.ok(!err.includes(secret), `says a secret: ${err}`);
  }
}

const tables = { "ticket-gateway": [...both, ...gateway], "ticket-worker": [...both, ...worker] };
for (const [program, rows] of Object.entries(tables)) {
  test(`${program} refuses each of ${rows.length} wrong settings`, async () => {
    const wrong = [];
    for (const [setting, env] of rows) {
      const told = `${setting} (${JSON.stringify(env)})`;
      await refused(program, setting, env).catch((error) => wrong.push(`${told}: ${error.message}`));
    }
    assert.deepEqual(wrong, []);
  });

  test(`${program} takes the others, and shows them without secrets`, async () => {
    const env = {
      ...GOOD[program],
      ...(program === "ticket-gateway" && { ...JWT, JWT_SECRET: `p0Y2cF7kq9ZsT4vLw1XnBd8R${CANARY}` }),
      REDIS_URL: `redis://root:${CANARY}@redis.internal:6379/1`,
      MONGO_URI: `mongodb://root:${CANARY}%2F@mongo.internal/tickets?authSource=admin`,
    };
    const { code, out, err } = await run(program, env, "check-config");
    assert.equal(code, 0, err);
    assert.match(out, /^REDIS_URL=redis:\/\/\[hidden\]@redis\.internal:6379\/1$/m);
    assert.match(out, /^MONGO_URI=mongodb:\/\/\[hidden\]@mongo\.internal\/tickets$/m);
    for (const secret of secrets(env)) assert.ok(!`${out}${err}`.includes(secret), out);
  });

  test(`${program} tries its servers with check-config --connect`, async () => {
    const { REDIS_URL, MONGO_URI } = process.env;
    const database = MONGO_URI.replace(/^([^?]*?:\/\/[^/?]*)[^?]*/, "$1/check-config");
    const env = { ...GOOD[program], REDIS_URL, MONGO_URI: database, KEY_PREFIX: `check-${process.pid}-${program}` };
    const fine = await run(program, env, "check-config", "--connect");
    assert.equal(fine.code, 0, fine.out + fine.err);
    assert.match(fine.out, /^redis: ok$/m);
    assert.match(fine.out, /^mongodb: ok$/m);
    const nowhere = { ...env, REDIS_URL: `redis://root:${CANARY}@127.0.0.1:1` };
    const { code, out, err } = await run(program, nowhere, "check-config", "--connect");
    assert.equal(code, 1, out + err);
    assert.match(out, /^redis: (?!ok)/m);
    assert.match(out, /^mongodb: ok$/m);
    assert.ok(!`${out}${err}`.includes(CANARY), out);
  });
}
