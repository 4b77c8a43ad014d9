// Calls of the consent API as the person whose link this is.

const TRIES = 4;

/** An answer other than success. `status` 0: there was none. `after`: seconds to wait before asking again. */
export class Refused extends Error {
  constructor(status, detail, after) {
    super(detail);
    this.status = status;
    this.after = after;
  }

  /** Whether the same call may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export class Client {
  /** `authorization`: the value of the header, `Visitor …` or `Link …`. */
  constructor(authorization) {
    this.authorization = authorization;
  }

  /** The answer to a GET, or to a POST of `body` as JSON. Throws Refused. */
  async ask(path, body) {
    const options = { headers: { Authorization: this.authorization }, cache: "no-store", credentials: "omit" };
    if (body !== undefined) {
      options.method = "POST";
      options.body = JSON.stringify(body);
      options.headers["Content-Type"] = "application/json";
    }
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Refused(0, "", 2);
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const after = Number(answer.headers.get("Retry-After")) || 2;
    throw new Refused(answer.status, problem.detail ?? problem.title ?? "", after);
  }

  async json(path, body) {
    return (await this.ask(path, body)).json();
  }

  /** Like json, again and again while the refusal may pass. Only for what counts once however often it is sent. */
  async persist(path, body) {
    for (let left = TRIES; ; left--) {
      try {
        return await this.json(path, body);
      } catch (error) {
        if (!(error instanceof Refused && error.passing) || left === 0) throw error;
        await new Promise((over) => setTimeout(over, error.after * 1000));
      }
    }
  }
}
