/**
 * REST, one gateway.
 */
export class Rest {
  /** @param {string} base */
  constructor(base) {
    this.base = base;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: unknown, raw?: string | Uint8Array, headers?: Record<string, string>}} [options]
   * @returns {Promise<{status: number, headers: Headers, body: any, text: string}>}
   */
  async ask(method, path, { body, raw, headers = {} } = {}) {
    const sent = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const answer = await fetch(this.base + path, {
      method,
      body: sent,
      headers: sent === undefined ? headers : { "content-type": "application/json", ...headers },
      signal: AbortSignal.timeout(20_000),
    });
    const text = await answer.text();
    const json = /json/.test(answer.headers.get("content-type") ?? "");
    return { status: answer.status, headers: answer.headers, text, body: json ? JSON.parse(text) : undefined };
  }

  /** @param {string} path */
  get(path) {
    return this.ask("GET", path);
  }

  /**
   * @param {string} path
   * @param {unknown} body
   * @param {Record<string, string>} [headers]
   */
  post(path, body, headers) {
    return this.ask("POST", path, { body, headers });
  }

  /**
   * Every item of a paged list, following `nextCursor` to the end.
   * @param {string} path with its query
   * @param {string} items the list's field
   * @param {string} parameter into which the cursor goes
   */
  async all(path, items, parameter) {
    const found = [];
    /** @type {string | null} */
    let cursor = null;
    let pages = 0;
    do {
      const glue = path.includes("?") ? "&" : "?";
      const answer = await this.get(cursor === null ? path : `${path}${glue}${parameter}=${encodeURIComponent(cursor)}`);
      if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${answer.text}`);
      found.push(answer.body[items]);
      cursor = answer.body.nextCursor;
      pages += 1;
      if (pages > 1000) throw new Error(`GET ${path}: the cursor never ends`);
    } while (cursor !== null);
    return { pages, found };
  }

  /**
   * All messages of a ticket, oldest first, read from the latest page backwards.
   * @param {string} ticketId
   */
  async allMessages(ticketId, limit = 200) {
    const { found } = await this.all(`/tickets/${ticketId}/messages?limit=${limit}`, "messages", "before");
    return found.reverse().flat();
  }
}
