/**
 * Hostile requests, as bytes. `expect` holds the codes of the contract that may answer them; `http` stands for a
 * refusal by the HTTP server itself (a problem of its parser, or the end of the connection without an answer); numbers are statuses.
 */

/** @typedef {{name: string, input: string | (string | Uint8Array)[], expect: (string | number)[]}} Case */

const NOBODY = "0123456789abcdef01234567";

/** @param {string} method @param {string} path @param {string} [headers] @param {string} [body] */
const request = (method, path, headers = "", body = "") =>
  `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}${body || method === "POST" ? `Content-Length: ${Buffer.byteLength(body, "latin1")}\r\n` : ""}\r\n${body}`;
const json = "Content-Type: application/json\r\n";
const post = (body, headers = json) => request("POST", "/tickets", headers, body);
const none = ["not_found", "http", "invalid_payload"];
const invalid = ["invalid_payload"];
const either = ["http", "invalid_payload"];

/** @param {string} ticketId @returns {Case[]} */
export const requests = (ticketId) =>
  [
    // Bodies.
    ...[
      ["nothing", ""],
      ["a brace", "{"],
      ["null", "null"],
      ["a list", "[]"],
      ["a text", '"subject"'],
      ["two objects", '{"subject":"s"}{"subject":"s"}'],
      ["NaN", '{"subject":NaN}'],
      ["single quotes", "{'subject':'s'}"],
      ["UTF-16", "\xff\xfe{\0}\0"],
      ["bytes that are no UTF-8", '{"subject":"\xff"}'],
      ["a number of 400 digits", `{"subject":${"9".repeat(400)}}`],
      ["1e400", '{"subject":1e400}'],
      ["lists 30,000 deep", `{"subject":${"[".repeat(30_000)}}`],
      ["objects 8,000 deep", '{"subject":'.repeat(5_000)],
      ["a subject of NUL", '{"subject":"\\u0000"}'],
      ["an operator for a subject", '{"subject":{"$gt":""}}'],
      ["a prototype for a subject", '{"__proto__":{"subject":"s"}}'],
      ["a subject twice, the last one wrong", '{"subject":"s","subject":17}'],
      ["1,000 tags", JSON.stringify({ subject: "s", tags: Array.from({ length: 1_000 }, (_, i) => `t${i}`) })],
      ["a form", "subject=s"],
      ["XML", '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'],
    ].map(([name, body]) => [`a body of ${name}`, post(body), invalid]),
    ["a form with its type", post("subject=s", "Content-Type: application/x-www-form-urlencoded\r\n"), ["unsupported_media_type"]],
    ["a body that says nothing of its type", post('{"subject":"s"}', ""), ["unsupported_media_type"]],
    ["a body of two types", post('{"subject":"s"}', `${json}Content-Type: text/plain\r\n`), ["unsupported_media_type"]],
    ["another host", "GET /tickets HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", ["forbidden"]],
    ["a body that is packed", post("\x1f\x8b\x08\0\0\0", `${json}Content-Encoding: gzip\r\n`), invalid],
    ["a body over the limit", post(`{"subject":"${"s".repeat(70_000)}"}`), ["payload_too_large"]],
    ["a body that says it is 1 TiB", `POST /tickets HTTP/1.1\r\nHost: x\r\n${json}Content-Length: 1099511627776\r\n\r\n${" ".repeat(70_000)}`, ["payload_too_large", "http"]],
    ["chunks for ever", [`POST /tickets HTTP/1.1\r\nHost: x\r\n${json}Transfer-Encoding: chunked\r\n\r\n`, ...Array.from({ length: 40 }, () => `1000\r\n${" ".repeat(4096)}\r\n`)], ["payload_too_large", "http"]],
    ["chunks of a byte for ever", [`POST /tickets HTTP/1.1\r\nHost: x\r\n${json}Transfer-Encoding: chunked\r\n\r\n`, "1\r\n \r\n".repeat(70_000)], ["payload_too_large", "http"]],
    ["a chunk of a size that is none", `POST /tickets HTTP/1.1\r\nHost: x\r\n${json}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, ["http", "invalid_payload", "payload_too_large"]],
    ["a chunk of 2^64 bytes", `POST /tickets HTTP/1.1\r\nHost: x\r\n${json}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n`, ["http", "invalid_payload", "payload_too_large"]],
    ["a negative length", "POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n", ["http"]],
    ["a length that is none", "POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1e3\r\n\r\n", ["http"]],
    ["two lengths", 'POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 15\r\n\r\n{"subject":"s"}', ["http"]],
    ["a length and chunks", 'POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n', either],
    ["chunks, spelled oddly", "POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ["http"]],
    ["chunks, not as the last coding", "POST /tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", ["http"]],
    ["a space before the colon", "GET /tickets HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", ["http"]],
    ["a folded header", "GET /tickets HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", ["http"]],
    ["a bare line feed in a header", "GET /tickets HTTP/1.1\r\nHost: x\r\nX-A: b\rc\r\n\r\n", ["http"]],
    ["a NUL in a header", "GET /tickets HTTP/1.1\r\nHost: x\r\nX-A: \0\r\n\r\n", ["http"]],
    ["a header without a colon", "GET /tickets HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n", ["http"]],
    ["200 headers", `GET /tickets HTTP/1.1\r\nHost: x\r\n${Array.from({ length: 200 }, (_, i) => `X-${i}: y\r\n`).join("")}\r\n`, ["http"]],
    ["a header of 1 MiB", `GET /tickets HTTP/1.1\r\nHost: x\r\nX-A: ${"y".repeat(1 << 20)}\r\n\r\n`, ["http"]],
    ["headers for ever", ["GET /tickets HTTP/1.1\r\nHost: x\r\n", ...Array.from({ length: 200 }, (_, i) => `X-${i}: ${"y".repeat(4_000)}\r\n`)], ["http"]],
    // Request lines.
    ["HTTP/0.9", "GET /tickets\r\n\r\n", ["http"]],
    ["HTTP/1.7", "GET /tickets HTTP/1.7\r\nHost: x\r\n\r\n", ["http"]],
    ["the beginning of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ["http"]],
    ["TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".padEnd(517, "\0"), ["http"]],
    ["Redis", "*1\r\n$4\r\nPING\r\n", ["http"]],
    ["a proxy's line", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /tickets HTTP/1.1\r\nHost: x\r\n\r\n", ["http"]],
    ["zeros", "\0".repeat(2_000), ["http"]],
    ["a method of 10,000 letters", `${"A".repeat(10_000)} /tickets HTTP/1.1\r\nHost: x\r\n\r\n`, ["http", "method_not_allowed"]],
    ["a method with a space", "GE T /tickets HTTP/1.1\r\nHost: x\r\n\r\n", ["http"]],
    ["a path of 100,000 letters", request("GET", `/tickets/${"a".repeat(100_000)}`), ["http", "invalid_payload"]],
    ["a path without a slash", request("GET", "tickets"), [...none, "forbidden"]],
    ["a path of another host", request("GET", "http://evil.example/tickets/x"), ["forbidden"]],
    ["an asterisk", request("OPTIONS", "*"), [...none, "method_not_allowed", 200]],
    // Paths.
    ...[
      "/tickets/../health/x",
      "/tickets/..%2f..%2fetc%2fpasswd",
      "/tickets/%2e%2e/%2e%2e/x",
      "/tickets/%00",
      "/tickets/%ff",
      "/tickets/%",
      "/tickets/%zz",
      "/tickets/%c0%ae%c0%ae",
      `/tickets/${NOBODY}%2fmessages`,
      `/tickets/${NOBODY}%00`,
      `/tickets/${NOBODY};x=1`,
      `/tickets/${ticketId}/nothing`,
      `/tickets/${ticketId}a`,
      "/tickets/stats",
      "/tickets/stats/counts/x",
      "/TICKETS",
      "/metrics",
      "/.env",
      "/socket.ioo/x",
    ].map((path) => [`the path ${path.slice(0, 60)}`, request("GET", path), none]),
    // More slashes than needed, at an end, are taken away.
    ...["/tickets//", "//tickets", `/tickets/${ticketId}/messages/`].map((path) => [`the path ${path}`, request("GET", path), [200]]),
    ["a ticket that is not there", request("GET", `/tickets/${NOBODY}`), ["ticket_not_found"]],
    ["messages of a ticket that is not there", request("GET", `/tickets/${NOBODY}/messages`), ["ticket_not_found"]],
    // Methods.
    ...["TRACE", "TRACK", "DELETE", "PUT", "PROPFIND", "M-SEARCH", "get"].map((method) => [`the method ${method}`, request(method, "/tickets"), ["method_not_allowed", "http"]]),
    ["CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", ["forbidden"]],
    ["another method in a header", request("GET", `/tickets/${NOBODY}`, "X-HTTP-Method-Override: DELETE\r\n"), ["ticket_not_found"]],
    // Queries.
    ...["0", "201", "-1", "+1", "1.5", "1e1", "", " 1", "0x10", "NaN", "%00", "18446744073709551616", "1%00"].flatMap((limit) => [
      // A plus is a space in a query.
      [`a limit of ${limit || "nothing"}`, request("GET", `/tickets?limit=${encodeURI(limit)}`), invalid],
    ]),
    ...["x", "-", "%00", "0-", `0-${NOBODY}0`, `x-${NOBODY}`, `ffffffffffffffffff-${NOBODY}`, "%7B%22%24gt%22%3A%22%22%7D", "A".repeat(5_000)].map((cursor) => [
      `a cursor of ${cursor.slice(0, 30)}`,
      request("GET", `/tickets?cursor=${cursor}`),
      invalid,
    ]),
    ...["-1", "1.5", "x", "%7B%7D", "9007199254740993", "18446744073709551616"].flatMap((seq) => [
      [`messages before ${seq}`, request("GET", `/tickets/${ticketId}/messages?before=${seq}`), invalid],
      [`messages after ${seq}`, request("GET", `/tickets/${ticketId}/messages?after=${seq}`), invalid],
    ]),
    ["a query that is no UTF-8", request("GET", "/tickets?limit=%ff"), invalid],
    ["the last of two limits is wrong", request("GET", "/tickets?limit=1&limit=x"), invalid],
    ["5,000 parameters", request("GET", `/tickets?${Array.from({ length: 5_000 }, (_, i) => `p${i}=${i}`).join("&")}`), [200, "http"]],
    ["a cursor of the end of time", request("GET", `/tickets?cursor=7fffffffffffffff-${NOBODY}`), invalid],
    ["a cursor before time", request("GET", `/tickets?cursor=-8000000000000000-${NOBODY}`), invalid],
    // Idempotency keys.
    ["an empty Idempotency-Key", post('{"subject":"s"}', `${json}Idempotency-Key: \r\n`), invalid],
    ["an Idempotency-Key of 129 letters", post('{"subject":"s"}', `${json}Idempotency-Key: ${"k".repeat(129)}\r\n`), invalid],
    ["an Idempotency-Key of bytes", post('{"subject":"s"}', `${json}Idempotency-Key: \xff\xfe\r\n`), invalid],
  ].map(([name, input, expect]) => ({ name, input, expect }));
