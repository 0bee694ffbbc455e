// The way to the server: over WebTransport where the browser can, else as server-sent events.

const RETRY_MS = [250, 500, 1000, 2000, 5000];
const READY_MS = 4000;
const MOST_FAILURES = 2; // then WebTransport is not tried again

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function askSession() {
  const answer = await fetch("/api/session", { cache: "no-store", credentials: "same-origin" });
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

export async function login(token) {
  const answer = await fetch("/api/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (answer.ok) return "";
  const told = await answer.json().catch(() => ({}));
  return told.error || `the server answers ${answer.status}`;
}

/** Follows the feed for ever: `take(fields)` gets frames, `tell(state, text)` how it is. */
export class Link {
  constructor({ take, tell, locked, ready, last }) {
    Object.assign(this, { take, tell, locked, ready, last });
    this.failures = 0;
    this.over = false;
  }

  async run() {
    for (let attempt = 0; !this.over; ) {
      let why = "";
      try {
        const session = await askSession();
        if (session === null) {
          this.tell("locked", "Locked");
          await this.locked();
          continue;
        }
        this.ready(session);
        const begun = performance.now();
        if (session.transport && typeof WebTransport !== "undefined" && this.failures < MOST_FAILURES) {
          why = await this.overTransport(session);
        } else {
          why = await this.overEvents();
        }
        if (performance.now() - begun > 5000) attempt = 0;
      } catch (error) {
        why = error && error.message ? error.message : String(error);
      }
      if (this.over) break;
      this.tell("closed", `Not connected${why ? `: ${why}` : ""}`);
      await wait(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      attempt += 1;
    }
    this.tell("over", "The feed is over");
  }

  async overTransport(session) {
    const { url, sha256, ticket } = session.transport;
    const hashes = sha256.map((hex) => ({
      algorithm: "sha-256",
      value: Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16)),
    }));
    const asked = new URLSearchParams({ ticket });
    const last = this.last();
    if (last) asked.set("after", last);
    let transport;
    let closed;
    let streams;
    try {
      transport = new WebTransport(`${url}?${asked}`, { serverCertificateHashes: hashes });
      closed = transport.closed.catch((error) => ({ reason: error.message }));
      await Promise.race([transport.ready, wait(READY_MS).then(() => Promise.reject(new Error("no answer")))]);
      streams = transport.incomingUnidirectionalStreams.getReader();
    } catch (error) {
      this.failures += 1;
      if (transport) transport.close();
      return `WebTransport: ${error.message}`;
    }
    const { value, done } = await streams.read();
    if (done) return (await closed).reason || "";
    this.tell("open", "Live over WebTransport");
    const reader = value.pipeThrough(new TextDecoderStream()).getReader();
    let rest = [];
    for (;;) {
      const { value: piece, done: ended } = await reader.read();
      if (ended) break;
      const lines = piece.split("\n");
      rest.push(lines[0]);
      for (let at = 1; at < lines.length; at += 1) {
        const line = rest.join("");
        rest = [lines[at]];
        if (line) this.take(JSON.parse(line));
      }
    }
    this.over = true; // the stream ends when the feed does; all else closes the session
    transport.close();
    return "";
  }

  overEvents() {
    return new Promise((resolve) => {
      const last = this.last();
      const source = new EventSource(last ? `/api/feed?after=${encodeURIComponent(last)}` : "/api/feed");
      const end = (why) => {
        source.close();
        resolve(why);
      };
      source.onopen = () => this.tell("open", "Live over server-sent events");
      source.onmessage = (event) => {
        try {
          this.take(JSON.parse(event.data));
        } catch (error) {
          end(error.message);
        }
      };
      source.addEventListener("end", () => {
        this.over = true;
        end("");
      });
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) end("refused");
        else this.tell("connecting", "Connecting again");
      };
    });
  }
}
