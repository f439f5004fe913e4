/**
 * What must hold of a sequence of events, whoever received it.
 */
import assert from "node:assert/strict";

/**
 * The events continue each other without a hole: `seq` grows by one, and `prevSeq` names the one before.
 * @param {{seq: number, prevSeq: number}[]} events
 * @param {number} after the `seq` that the reader knew when it joined
 */
export function assertDense(events, after) {
  let last = after;
  for (const event of events) {
    assert.equal(event.seq, last + 1, "seq grows by one");
    assert.equal(event.prevSeq, last, "prevSeq is the seq before");
    last = event.seq;
  }
}

/**
 * The acknowledgement is a failure of this kind.
 * @param {any} ack
 * @param {string} code
 * @param {string} [field]
 * @param {string} [what] for the message
 */
export function assertRefused(ack, code, field, what = "") {
  const shown = `${what} ${JSON.stringify(ack)}`;
  assert.equal(ack?.ok, false, shown);
  assertError(ack.error, code, field, shown);
}

/**
 * @param {any} error
 * @param {string} code
 * @param {string} [field]
 * @param {string} [shown]
 */
export function assertError(error, code, field, shown = JSON.stringify(error)) {
  assert.equal(error?.code, code, shown);
  assert.ok(typeof error.message === "string" && error.message.length > 0, `a message for people: ${shown}`);
  if (field !== undefined) assert.equal(error.field, field, shown);
}

/**
 * A REST failure: RFC 9457 with the contract's code, and a request id to ask the operators about.
 * @param {{status: number, headers: Headers, body: any, text: string}} answer
 * @param {number | number[]} status
 * @param {string | string[]} code
 * @param {string} [field]
 * @param {string} [what]
 */
export function assertProblem(answer, status, code, field, what = "") {
  const shown = `${what} ${answer.status} ${answer.headers.get("content-type")} ${answer.text.slice(0, 300)}`;
  assert.ok([status].flat().includes(answer.status), shown);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/, shown);
  assert.ok([code].flat().includes(answer.body.code), shown);
  assert.ok(answer.headers.get("x-request-id"), `x-request-id: ${shown}`);
  if (answer.body.status !== undefined) assert.equal(answer.body.status, answer.status, shown);
  if (field !== undefined) assert.equal(answer.body.field, field, shown);
}
