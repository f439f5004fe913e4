/**
 * Tokens as an application's own backend would make them, signed with node's own cryptography.
 */
import { createHmac } from "node:crypto";

export const SECRET = "e2e-secret-of-forty-random-characters-1a2b";

/** The settings of gateways that believe these tokens. */
export const WITH_TOKENS = { AUTH_MODE: "jwt", JWT_SECRET: SECRET };

/**
 * @param {object} claims replace the defaults; `undefined` leaves one out
 * @param {{secret?: string, header?: object}} [how]
 */
export function token(claims = {}, { secret = SECRET, header = {} } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const all = { sub: "u", name: "U", role: "user", iat: now, exp: now + 3600, ...claims };
  const signed = `${part({ alg: "HS256", typ: "JWT", ...header })}.${part(all)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** @param {string} value */
export const bearer = (value) => ({ authorization: `Bearer ${value}` });
