// All that surrounds the client library, held in the hands of a test: clock, chance, sockets, storage, locks.
import assert from "node:assert/strict";
import { Connection } from "../../web/statesync.js";

export const ROOM = "ws://counter.example/";
export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;

/** What the server says of itself, by default. */
export const WELCOME = Object.freeze({
  type: "welcome",
  protocol: "statesync.v1",
  room: "/",
  kind: "counter",
  session: 1,
  epoch: "first",
  seq: 0,
  last_id: null,
  refused: [],
  forgotten_until: 0,
  max_in_flight: 64,
  heartbeat_ms: 20_000,
  max_message_bytes: 65_536,
});

export class FakeSocket {
  readyState = CONNECTING;
  protocol = "";
  /** What was sent, read. */
  sent = [];
  closedWith = undefined;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;

  constructor(url, protocol) {
    this.url = new URL(url);
    this.asksFor = protocol;
  }

  get client() {
    return this.url.searchParams.get("client");
  }

  send(text) {
    assert.equal(this.readyState, OPEN, "send on a socket that is not open");
    this.sent.push(JSON.parse(text));
    this.onsend?.(text);
  }

  close(code) {
    this.closedWith = code;
    this.readyState = CLOSING;
  }

  opens(protocol = "statesync.v1") {
    this.readyState = OPEN;
    this.protocol = protocol;
    this.onopen?.({});
  }

  /** @param {unknown} data as it comes, or an object that is sent as JSON */
  receives(data) {
    const isMessage = typeof data === "object" && !(data instanceof ArrayBuffer);
    this.onmessage?.({ data: isMessage ? JSON.stringify(data) : data });
  }

  /** Opens, and gets the welcome. */
  welcomes(differences = {}) {
    this.opens();
    this.receives({ ...WELCOME, ...differences });
  }

  isLost(code = 1006, reason = "") {
    this.readyState = CLOSED;
    this.onclose?.({ code, reason });
  }

  /** The numbers that were sent. */
  get ids() {
    return this.sent.map(({ id }) => id);
  }
}

export class FakeClock {
  nowMs = 0;
  timers = new Set();

  setTimeout = (callback, delayMs) => {
    const timer = { callback, at: this.nowMs + delayMs };
    this.timers.add(timer);
    return timer;
  };

  clearTimeout = (timer) => {
    this.timers.delete(timer);
  };

  advance(ms) {
    const end = this.nowMs + ms;
    for (;;) {
      const [next] = [...this.timers].sort((one, other) => one.at - other.at);
      if (!next || next.at > end) break;
      this.nowMs = next.at;
      this.timers.delete(next);
      next.callback();
    }
    this.nowMs = end;
  }
}

/** A tab's storage. */
export class FakeStorage {
  items = new Map();
  isFull = false;
  isClosed = false;

  getItem(key) {
    this.#check();
    return this.items.get(key) ?? null;
  }

  setItem(key, value) {
    this.#check();
    if (this.isFull) throw new Error("the quota has been exceeded");
    this.items.set(key, value);
  }

  removeItem(key) {
    this.#check();
    this.items.delete(key);
  }

  /** The same storage, as the next page of the tab has it. */
  ofNextPage() {
    const next = new FakeStorage();
    next.items = this.items;
    return next;
  }

  /** What a duplicated tab gets. */
  copy() {
    const copy = new FakeStorage();
    copy.items = new Map(this.items);
    return copy;
  }

  /** The one record in it, read. */
  get record() {
    assert.ok(this.items.size <= 1, "more than one record");
    const [text] = this.items.values();
    return text === undefined ? undefined : JSON.parse(text);
  }

  #check() {
    if (this.isClosed) throw new Error("access is denied");
  }
}

/** The Web Locks of an origin. As in a browser, what was granted is heard in a later task, and so is any answer. */
export class FakeLocks {
  /** Who holds a name, and who waits for it. */
  #queues = new Map();
  #hasEnded = false;

  request(name, { signal }, callback) {
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const request = { grant: () => setImmediate(hear), isHeard: false };
      const hear = () => {
        if (signal.aborted || this.#hasEnded) return this.#next(queue, request);
        request.isHeard = true;
        callback().then(resolve, reject).finally(() => this.#next(queue, request));
      };
      if (this.#hasEnded) return;
      queue.push(request);
      signal.addEventListener("abort", () => {
        if (request.isHeard) return;
        if (queue.indexOf(request) > 0) queue.splice(queue.indexOf(request), 1);
        reject(signal.reason);
      });
      if (queue.length === 1) request.grant();
    });
  }

  query() {
    return new Promise((resolve) => setImmediate(() => resolve({})));
  }

  /** Nothing is granted any more. */
  end() {
    this.#hasEnded = true;
  }

  isHeld(name) {
    return (this.#queues.get(name)?.length ?? 0) > 0;
  }

  #next(queue, request) {
    queue.splice(queue.indexOf(request), 1);
    if (!this.#hasEnded) queue[0]?.grant();
  }
}

/** Until all is said that promises and locks have to say: of a lock that is let go, and of the one that follows. */
export async function settled() {
  for (let task = 0; task < 4; task += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A connection and all that surrounds it. Chance is 0.5 unless a test says otherwise. */
export function connect({ clock = new FakeClock(), url = ROOM, ...options } = {}) {
  const sockets = [];
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const connection = new Connection(url, {
    WebSocket: class extends FakeSocket {
      constructor(...given) {
        super(...given);
        sockets.push(this);
      }
    },
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    random: () => 0.5,
    window,
    document,
    storage: null,
    locks: null,
    baseDelayMs: 1_000,
    maxDelayMs: 30_000,
    stableAfterMs: 5_000,
    ...options,
  });
  const events = [];
  for (const type of ["state", "users", "optimistic", "pending", "ack", "error", "status"]) {
    connection.addEventListener(type, ({ detail }) => events.push({ type, ...detail }));
  }
  const world = { connection, clock, sockets, window, document, events };
  return Object.assign(world, {
    socket: () => sockets.at(-1),
    /** The events of one type. */
    told: (type) => events.filter((event) => event.type === type),
    /** Presses plus that often. */
    plus: (times = 1) => Array.from({ length: times }, () => outcome(connection.act({ action: "plus" }))),
    hides: () => window.dispatchEvent(new Event("pagehide")),
    shows: () => window.dispatchEvent(new Event("pageshow")),
  });
}

/** A connection that was welcomed, and its events so far forgotten. */
export function connected(options, welcome) {
  const world = connect(options);
  world.socket().welcomes(welcome);
  world.events.length = 0;
  return world;
}

/** What became of an action: its decision, or the code of its error. Undefined until then. */
function outcome(promise) {
  const outcome = { is: undefined };
  promise.then(
    (decision) => (outcome.is = decision),
    ({ code }) => (outcome.is = code),
  );
  return outcome;
}

/** @param {{ is: unknown }[]} outcomes */
export async function outcomes(outcomes) {
  await settled();
  return outcomes.map(({ is }) => is);
}
