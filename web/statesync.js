/**
 * The statesync client library.
 *
 * A `Connection` joins one room of a statesync server, tells what happens there as events, sends actions, and comes
 * back by itself when it is lost. Each action is counted once, whatever is cut, reloaded or restarted meanwhile:
 *
 *     import { Connection, counter, parseExactly } from "/web/statesync.js";
 *
 *     const connection = new Connection("ws://localhost:6789/", { apply: counter, parse: parseExactly });
 *     connection.addEventListener("optimistic", ({ detail }) => console.log(detail.value));
 *     await connection.act({ action: "plus" });
 *
 * It speaks `statesync.v1` and nothing else (docs/protocol.md; "rule" here is one of that page's rules for clients). It
 * needs nothing but a WebSocket, and takes one as an option where there is none built in.
 */

import { PatchError, applyPatch, mergePatch } from "./json_patch.js";

export { PatchError, applyPatch, mergePatch };

const PROTOCOL = "statesync.v1";

/**
 * What the close codes of the server mean for a client: the first row that has the code. A code that is in no row comes
 * back.
 *
 * @type {ReadonlyArray<{ first: number, last: number, comesBack: boolean, meaning: string }>}
 */
export const CLOSE_CODES = Object.freeze([
  { first: 1000, last: 1000, comesBack: false, meaning: "the server has closed the connection" },
  { first: 1001, last: 1001, comesBack: true, meaning: "the server is going away" },
  { first: 1002, last: 1002, comesBack: false, meaning: "the WebSocket protocol was broken" },
  { first: 1003, last: 1003, comesBack: false, meaning: "this kind of data is not accepted" },
  { first: 1007, last: 1007, comesBack: false, meaning: "a text was not valid UTF-8" },
  { first: 1008, last: 1008, comesBack: false, meaning: "a rule of the server was broken" },
  { first: 1009, last: 1009, comesBack: false, meaning: "a message was too large" },
  { first: 1012, last: 1012, comesBack: true, meaning: "the server is restarting" },
  { first: 1013, last: 1013, comesBack: true, meaning: "the server is too busy" },
  { first: 4401, last: 4401, comesBack: false, meaning: "there is no valid token, or it has expired" },
  { first: 4403, last: 4403, comesBack: false, meaning: "this client may not enter this room" },
  { first: 4404, last: 4404, comesBack: false, meaning: "the room was removed" },
  { first: 4409, last: 4409, comesBack: false, meaning: "another connection has taken this client's place" },
  { first: 4429, last: 4429, comesBack: false, meaning: "this client went on sending though it was told to wait" },
  { first: 4400, last: 4499, comesBack: false, meaning: "the server has refused this client" },
  { first: 4508, last: 4508, comesBack: true, meaning: "the client was too slow for what must not be skipped" },
  { first: 4500, last: 4599, comesBack: true, meaning: "the server could not go on" },
]);

/** Closed by this side, and done. */
const NORMAL = 1000;
/** The server did not choose `statesync.v1`. */
const PROTOCOL_ERROR = 1002;
/** No close frame came (RFC 6455, section 7.1.5). */
const ABNORMAL = 1006;
const TOO_LARGE = 1009;
const PLACE_TAKEN = 4409;

/** The first wait before what the server could not keep is sent again; each further one is twice as long. */
const RETRY_MS = 100;

/** A timer for longer ends at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Event types that are the library's to tell, or to understand: a server's own events of these names are not passed on. */
const OWN_EVENTS = new Set(
  ["welcome", "state", "users", "optimistic", "pending", "ack", "error", "status", "missed"],
);

/** `readyState` of a socket that takes messages. In any other state `WebSocket.send` throws, or loses them silently. */
const OPEN = 1;

/**
 * @param {number} code a close code
 * @returns {{ comesBack: boolean, meaning: string }}
 */
export function closeCode(code) {
  const row = CLOSE_CODES.find(({ first, last }) => first <= code && code <= last);
  return row ?? { comesBack: true, meaning: "the connection was lost" };
}

/**
 * @typedef {{ action: string, [key: string]: unknown }} Action what is sent; the key `id` is the library's own
 *
 * @typedef {object} Decision an action was applied, and is kept
 * @property {number} id its number
 * @property {number | null} seq no state from this position on is without it. `null`: it was applied before the
 *   connection was lost, and the position was lost with it; the states since the connection came back have it
 * @property {boolean} duplicate it was sent more than once, and counted once
 *
 * @typedef {object} StateDetail the room's state has changed, or is told for the first time on this connection
 * @property {any} value
 * @property {number} seq
 *
 * @typedef {object} UsersDetail somebody has come or gone
 * @property {number} count how many are connected, this one included
 * @property {string[]} [users] who is logged in, where the room tells that
 *
 * @typedef {object} MessageDetail somebody has said something, in a room that keeps what was said
 * @property {number} seq
 * @property {string} from
 * @property {string} text
 * @property {string} time as in RFC 3339, UTC
 *
 * @typedef {object} PersonDetail somebody has logged in, or is not logged in any more
 * @property {number} seq
 * @property {string} name
 * @property {string} time as in RFC 3339, UTC
 *
 * @typedef {object} PatchDetail what has changed in a document; the new `state` is told next
 * @property {number} from the position of the value that `ops` change
 * @property {number} seq
 * @property {import("./json_patch.js").Operation[]} ops
 *
 * @typedef {object} MissedDetail what was told before, and what is told from now on, do not follow each other
 * @property {boolean} isNewHistory `true`: what was told before is of another history, and all is told anew. `false`:
 *   the server does not have all any more that was said while there was no connection
 *
 * @typedef {object} OptimisticDetail `optimistic` has another value
 * @property {any} value
 *
 * @typedef {object} PendingDetail `pending` has changed
 * @property {number} count
 *
 * @typedef {Decision & { action: Action }} AckDetail
 *
 * @typedef {object} ErrorDetail an action did not count, or something else is wrong. The connection stays
 * @property {string} code stable, for programs: the server's, or one of `unknown`, `queue_full`, `too_large`, `closed`,
 *   `not_kept`; the README has a table
 * @property {string} message for people
 * @property {number | null} id the action's number, if it had one
 * @property {Action | null} action
 * @property {boolean} retry nothing was decided: the library sends the action again by itself
 * @property {boolean} duplicate it was refused before
 * @property {number} [retryAfterMs] `rate_limited`: nothing is taken before that
 *
 * @typedef {{ status: "connecting" }
 *   | { status: "connected" }
 *   | { status: "waiting", code: number, reason: string, retryInMs: number }
 *   | { status: "closed", code: number, reason: string }} StatusDetail
 *   `waiting`: lost, and will try again by itself. `closed`: will not.
 *
 * @typedef {object} ConnectionEvents
 * @property {Told<StateDetail>} state
 * @property {Told<UsersDetail>} users
 * @property {Told<OptimisticDetail>} optimistic
 * @property {Told<PendingDetail>} pending
 * @property {Told<AckDetail>} ack
 * @property {Told<ErrorDetail>} error
 * @property {Told<StatusDetail>} status
 * @property {Told<MessageDetail>} message
 * @property {Told<PersonDetail>} joined
 * @property {Told<PersonDetail>} left
 * @property {Told<PatchDetail>} patch
 * @property {Told<MissedDetail>} missed
 *
 * @typedef {object} Welcome what the server said of itself and of this client; it may say more
 * @property {string} protocol
 * @property {string} room
 * @property {string} kind
 * @property {number} session the server's number for the connection, to find it in the server's log
 * @property {string} epoch the name of the history that positions count in
 * @property {number} seq
 * @property {number | null} last_id
 * @property {number[]} refused
 * @property {number} forgotten_until
 * @property {number} max_in_flight
 * @property {number} heartbeat_ms
 * @property {number} max_message_bytes
 */

/**
 * @template Detail
 * @typedef {Event & { readonly detail: Detail }} Told
 */

/**
 * @typedef {object} Socket what is used of a WebSocket
 * @property {number} readyState
 * @property {string} protocol
 * @property {((event: any) => unknown) | null} onopen
 * @property {((event: any) => unknown) | null} onmessage
 * @property {((event: any) => unknown) | null} onclose
 * @property {((event: any) => unknown) | null} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 *
 * @typedef {object} ActionStorage where identity and waiting actions outlive the page: what is used of a Web Storage
 * @property {(key: string) => string | null} getItem
 * @property {(key: string, value: string) => void} setItem
 * @property {(key: string) => void} removeItem
 *
 * @typedef {object} Locks what is used of the Web Locks API
 * @property {(name: string, options: { signal: AbortSignal }, held: () => Promise<any>) => Promise<unknown>} request
 * @property {() => Promise<unknown>} [query] answers after all that was granted before is told
 *
 * @typedef {object} ConnectionOptions each is as by default if it is `undefined`; `null` is none
 * @property {(value: any, action: any) => any} [apply] what an action makes of a value, for `optimistic`. It must be
 *   pure, and for an action that it does not know give the value that it got
 * @property {(text: string) => any} [parse] reads JSON
 * @property {ActionStorage | null} [storage] by default the tab's `sessionStorage`, and outside browsers none: `null`
 * @property {Locks | null} [locks] by default `navigator.locks`, where there is one
 * @property {number} [maxWaiting] the most actions that may be undecided. 1,000 by default: more than anybody clicks
 *   while a train is in a tunnel, a small part of what `sessionStorage` holds, and sent within a second
 * @property {number} [baseDelayMs] the first wait before coming back is at most this long, each further one twice that,
 * @property {number} [maxDelayMs] but not more than this
 * @property {number} [stableAfterMs] a connection that lasts this long makes the waits short again
 * @property {number} [lockWaitMs] so long a page that was reloaded waits for the page before it to be gone. 1 s by
 *   default: a page that is left takes some milliseconds, and a duplicated tab should not wait for long
 * @property {new (url: string, protocol: string) => Socket} [WebSocket]
 * @property {(callback: () => void, delayMs: number) => any} [setTimeout]
 * @property {(timer: any) => void} [clearTimeout]
 * @property {() => number} [random] from 0 to 1, without 1; for waits
 * @property {EventTarget | null} [window] where `online`, `pagehide` and `pageshow` are heard
 * @property {(EventTarget & { readonly visibilityState: string }) | null} [document] where `visibilitychange` is heard
 */

/**
 * @typedef {<Type extends keyof ConnectionEvents>(
 *   type: Type,
 *   listener: (event: ConnectionEvents[Type]) => void,
 *   options?: { once?: boolean, signal?: AbortSignal, capture?: boolean, passive?: boolean } | boolean,
 * ) => void} Listen
 *
 * @typedef {object} ConnectionEventTarget
 * @property {Listen} addEventListener
 * @property {Listen} removeEventListener
 * @property {(event: Event) => boolean} dispatchEvent
 */
const ConnectionEventTarget = /** @type {new () => ConnectionEventTarget} */ (/** @type {unknown} */ (EventTarget));

/** Why an action did not count, or that nobody knows whether it did. */
export class ActionError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {Action} action
   * @param {number | null} id
   */
  constructor(code, message, action, id) {
    super(message);
    this.name = "ActionError";
    /** Stable, for programs. */
    this.code = code;
    this.action = action;
    /** The action's number, if it had one. */
    this.id = id;
  }
}

/** Until a server has told its own. Nothing is sent before that, so only the patience with it counts: its default. */
const UNTOLD_LIMITS = { max_in_flight: 0, heartbeat_ms: 20_000, max_message_bytes: Infinity };

const MESSAGES = Object.freeze({
  unknown: "nobody can tell whether this was counted: the server has forgotten about it",
  place_taken: "nobody can tell whether this was counted: another connection has taken this client's place",
  perhaps_too_large: "nobody can tell whether this was counted: a message was too large, and ended the connection",
  taken_over: "nobody can tell here whether this was counted: another page of this tab has gone on with it",
  refused: "this was refused before the connection was lost",
  queue_full: "too many actions wait to be sent: this one was not taken",
  too_large: "this is larger than what the server takes: it was not sent",
  closed: "the connection is closed: this was not taken",
  left: "the connection was closed before this was decided",
  not_kept: "actions that wait cannot be stored here: they are lost when this page is left",
});

export class Connection extends ConnectionEventTarget {
  #room;
  #options;
  #queue;
  #view;
  /** Ends the listening on `window` and `document`. */
  #listening = new AbortController();
  /** On the identity, while this page is not hidden. @type {Lock | undefined} */
  #lock;
  /** @type {Socket | undefined} */
  #socket;
  /** @type {StatusDetail} */
  #status = { status: "connecting" };
  /** Connections in a row that were not stable. */
  #failures = 0;
  /** Until the next try while waiting, until the connection counts as stable while connected. @type {any} */
  #timer;
  /** Until a server that owes an answer and says nothing counts as dead. @type {any} */
  #silence;
  /** This connection's, once it is here. @type {Welcome | undefined} */
  #welcome;
  /** The last welcome's. */
  #limits = UNTOLD_LIMITS;
  /** Sent on this connection, and not answered. @type {Set<Waiting>} */
  #inFlight = new Set();
  /** Something is to be sent again (rule 5): until nothing is in flight and the wait is over, nothing is sent. */
  #isCollecting = false;
  /** The server has forgotten this client while it was connected (rule 7). */
  #isForgotten = false;
  /** How often actions were to be sent again since the last `ack`. */
  #vainRounds = 0;
  /** The server takes nothing before so much time is over (rule 5). */
  #retryAfterMs = 0;
  /** Until actions that were not decided are sent again. @type {any} */
  #retry;
  /** The page is hidden, and may come back from the browser's back/forward cache. */
  #isHidden = false;
  #pendingTold = 0;
  /** The last `message` that was told, which the next connection goes on from. @type {{ epoch: string, seq: number } | undefined} */
  #heard;
  /** What was told is of another history: to be said on the next connection. */
  #isNewHistory = false;

  /**
   * Connects at once. Throws a TypeError for what is no URL, a SyntaxError for one that is not of a room, and what
   * `WebSocket` throws when it may not connect there.
   *
   * @param {string | URL} url of the room; in a page it may be relative, and `http:` is as good as `ws:`
   * @param {ConnectionOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#room = roomURL(url);
    this.#options = {
      apply: undefined,
      parse: /** @type {(text: string) => any} */ (JSON.parse),
      storage: tabStorage(),
      locks: tabLocks(),
      maxWaiting: 1_000,
      baseDelayMs: 1_000,
      maxDelayMs: 30_000,
      stableAfterMs: 5_000,
      lockWaitMs: 1_000,
      WebSocket: globalThis.WebSocket,
      // Wrapped: browsers refuse to run these as methods of another object than the window.
      setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ delayMs) => setTimeout(callback, delayMs),
      clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
      random: Math.random,
      window: /** @type {ConnectionOptions["window"]} */ (globalThis.window),
      document: /** @type {ConnectionOptions["document"]} */ (globalThis.document),
      ...given(options),
    };
    if (!this.#options.WebSocket) throw new TypeError("there is no WebSocket here: give one as an option");
    const { storage, parse, apply } = this.#options;
    const key = `${PROTOCOL} ${this.#room.origin}${this.#room.pathname}`;
    this.#queue = new Queue(storage, key, parse, () => this.#tellNotKept());
    this.#view = new View(apply);
    this.#pendingTold = this.#queue.waiting.length;
    try {
      this.#begin(this.#queue.isRestored ? "restored" : "new");
    } catch (error) {
      this.#queue.leave();
      this.#lock?.release();
      throw error;
    }
    this.#listen();
  }

  /** The detail of the last `status` event. */
  get status() {
    return this.#status;
  }

  /** How many actions are not decided: they wait to be sent, or for an answer. */
  get pending() {
    return this.#queue.waiting.length;
  }

  /** The actions that are not decided, in order, also those that an earlier page of this tab has left. @returns {Action[]} */
  get waiting() {
    return this.#queue.waiting.map(({ action }) => action);
  }

  /**
   * The newest state that the server has told.
   *
   * @returns {StateDetail | undefined} nothing before the first
   */
  get confirmed() {
    return this.#view.confirmed;
  }

  /**
   * The confirmed value, and on it what this side's undecided actions make of it. Without the option `apply`, the
   * confirmed value.
   *
   * @returns {any} `undefined` before the first state
   */
  get optimistic() {
    return this.#view.optimistic(this.#queue.waiting);
  }

  /**
   * What the server said when this connection came about.
   *
   * @returns {Welcome | undefined} nothing while there is no connection
   */
  get welcome() {
    return this.#welcome;
  }

  /**
   * Takes an action to be counted once, now or when the connection is back. What becomes of it is told by events as
   * well, so the promise may be ignored.
   *
   * Throws a TypeError for what is not a JSON object; a bigint is nothing that JSON has.
   *
   * @template {{ action: string }} Asked
   * @param {Asked} action
   * @returns {Promise<Decision>} rejects with an `ActionError`
   */
  act(action) {
    const text = textOf(action);
    /** @type {Waiting} */
    const waiting = { id: null, text, action: this.#options.parse(text), resolve() {}, reject() {} };
    /** @type {Promise<Decision>} */
    const decided = new Promise((resolve, reject) => Object.assign(waiting, { resolve, reject }));
    // Who ignores the promise hears of it by an event; it must not end the process.
    decided.catch(() => {});
    const wrong = this.#whyNotTaken(waiting);
    if (wrong) {
      this.#failed(waiting, wrong, MESSAGES[wrong]);
      return decided;
    }
    this.#queue.waiting.push(waiting);
    if (!this.#send()) this.#queue.keep();
    this.#tellPending();
    return decided;
  }

  /**
   * Sends an action that belongs to this connection and ends with it, such as a login: now, or not at all. It has no
   * number, is not kept and never sent again, so nothing tells what becomes of it but the room's own events, and an
   * `error` without an `action`. Said when `status` tells `connected`, it comes before all that waits.
   *
   * (Were it kept and numbered, as others are, one that was lost would be sent again on the next connection, since
   * numbers have no gaps: after the messages that needed it, and perhaps against what was wished since.)
   *
   * @template {{ action: string }} Asked
   * @param {Asked} action
   * @returns {boolean} whether it was sent
   */
  say(action) {
    const text = textOf(action);
    const socket = this.#socket;
    const isSent = this.#welcome !== undefined && socket?.readyState === OPEN;
    if (!isSent || isLonger(text, this.#limits.max_message_bytes)) return false;
    socket.send(text);
    return true;
  }

  /**
   * Leaves for good. Promises of undecided actions are rejected with `closed`; where there is a storage, the actions
   * stay in it, and the next connection to this room in this tab sends them.
   */
  close() {
    if (this.#status.status === "closed") return;
    this.#drop(NORMAL);
    this.#end(NORMAL, "");
  }

  /**
   * Takes the lock on the identity, then connects. Nobody else can have a new one, so that needs no waiting.
   *
   * @param {"new" | "restored" | "resumed"} identity
   */
  #begin(identity) {
    const { locks } = this.#options;
    this.#takeOver();
    if (this.#status.status === "closed") return;
    if (!this.#queue.isStored || !locks) {
      this.#queue.isLeft = false;
      return this.#connect();
    }
    const lock = this.#hold(locks, identity !== "new");
    if (identity === "new") return this.#connect();
    const shared = new Set(this.#queue.waiting);
    const goOn = (/** @type {boolean} */ isHeld) => {
      if (this.#lock !== lock) return;
      // The other page may have gone on until it let go of the lock; perhaps as somebody new, who has another.
      if (this.#takeOver()) return this.#begin(identity);
      this.#queue.isLeft = false;
      if (!isHeld) this.#beADuplicate(shared, identity === "resumed");
      // Who hears of that may have closed it.
      if (this.#status.status !== "closed") this.#connect();
    };
    lock.isHeld.then(goOn).catch((error) => this.#end(ABNORMAL, String(error)));
  }

  /**
   * @param {Locks} locks
   * @param {boolean} mayBeTaken
   */
  #hold(locks, mayBeTaken) {
    this.#lock?.release();
    this.#lock = new Lock(locks, `statesync ${this.#queue.client}`, mayBeTaken, this.#options);
    return this.#lock;
  }

  /**
   * While this page was in the back/forward cache, another page of the tab may have gone on with what was stored, and
   * perhaps as somebody new. What this page remembers is older: either it is in that record as well, or it is decided,
   * and whoever looked at the other page was told. If there is no record any more, nobody knows.
   *
   * @returns {boolean} whether it was so
   */
  #takeOver() {
    const left = this.#queue.takeOver(this.#options.parse);
    if (!left) return false;
    if (!this.#queue.isRestored) {
      this.#haveFailed(left, "unknown", MESSAGES.taken_over);
    } else {
      for (const { action, id, reject } of left) reject(new ActionError("unknown", MESSAGES.taken_over, action, id));
      this.#tellPending();
    }
    return true;
  }

  /**
   * Rule 8: another tab has this identity, and the actions that were copied with it, but not what was taken here since.
   *
   * @param {Set<Waiting>} shared
   * @param {boolean} isTold they were this page's before the other tab took them over
   */
  #beADuplicate(shared, isTold) {
    this.#beSomebodyNew(this.#queue.waiting.filter((waiting) => !shared.has(waiting)));
    if (isTold) this.#haveFailed([...shared], "unknown", MESSAGES.place_taken);
    else this.#tellPending();
  }

  /**
   * A new identity has sent nothing yet.
   *
   * @param {Waiting[]} unsent what is left to be sent
   */
  #beSomebodyNew(unsent) {
    this.#queue.renew(unsent);
    const { locks } = this.#options;
    if (this.#queue.isStored && locks) this.#hold(locks, false);
  }

  #connect() {
    const url = new URL(this.#room);
    url.searchParams.set("client", this.#queue.client);
    if (this.#heard) url.searchParams.set("since", String(this.#heard.seq));
    /** @type {Socket} */
    const socket = new this.#options.WebSocket(url.href, PROTOCOL);
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost(code, String(reason));
    // The close that follows says what there is to say; some libraries throw an error that nobody listens to.
    socket.onerror = () => {};
    this.#socket = socket;
    this.#waitForAnswer();
    this.#tellStatus({ status: "connecting" });
  }

  /**
   * Browsers and most libraries fail a handshake that does not choose the protocol, and then it looks like a lost
   * connection. Some open it all the same.
   *
   * @param {Socket} socket
   */
  #opened(socket) {
    if (socket.protocol === PROTOCOL) return;
    this.#drop(NORMAL);
    this.#end(PROTOCOL_ERROR, `the server does not speak ${PROTOCOL}`);
  }

  /**
   * What is unknown is ignored, so that a server may say more than this client understands.
   *
   * @param {unknown} data
   */
  #received(data) {
    const message = parseObject(data, this.#options.parse);
    if (!message) return;
    if (!this.#welcome) {
      if (message.type === "welcome") this.#welcomed(message);
      return;
    }
    this.#waitForAnswer();
    switch (message.type) {
      case "state":
        if (message.value !== undefined && isCount(message.seq)) this.#stated(message.value, message.seq);
        break;
      case "users":
        if (isCount(message.count)) this.#tell("users", usersOf(message));
        break;
      case "ack":
        if (isCount(message.id) && isCount(message.seq)) this.#acknowledged(message);
        break;
      case "error":
        if (typeof message.code === "string" && typeof message.message === "string") this.#refused(message);
        break;
      case "patch":
        this.#patched(message);
        break;
      default:
        this.#passOn(message);
    }
  }

  /**
   * What the library has no part in. A room that says `message` with a position keeps what was said.
   *
   * @param {Record<string, any>} message
   */
  #passOn({ type, ...detail }) {
    if (typeof type !== "string" || OWN_EVENTS.has(type)) return;
    if (type === "message" && isCount(detail.seq) && this.#welcome) {
      this.#heard = { epoch: this.#welcome.epoch, seq: detail.seq };
    }
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /**
   * A change of a document. One that does not fit the value here says that something was lost on the way, or that the
   * two sides do not agree what a patch does: only a new `state` helps.
   *
   * @param {Record<string, any>} message
   */
  #patched(message) {
    const { from, seq, ops } = message;
    if (!isCount(from) || !isCount(seq) || !Array.isArray(ops)) return this.#passOn(message);
    const value = this.#view.patched(from, ops);
    if (value === undefined) return this.#dropAndComeBack("out of step");
    this.#passOn(message);
    this.#stated(value, seq);
  }

  /** @param {Record<string, any>} message */
  #welcomed(message) {
    const welcome = readWelcome(message);
    if (!welcome) return;
    this.#welcome = welcome;
    this.#limits = welcome;
    this.#view.isBehind();
    if (this.#isOfAnotherHistory(welcome)) return this.#dropAndComeBack("another history");
    const { last_id: last } = welcome;
    const { used, decided, waiting } = this.#queue;
    const isForgotten = last === null && used > 0 && !this.#queue.isUnheard(welcome);
    if (isForgotten || (last ?? 0) < decided) {
      const sent = waiting.filter(({ id }) => id !== null);
      return this.#startAnew(waiting.filter(({ id }) => id === null), sent, MESSAGES.unknown);
    }
    // A browser that crashed may have restored an older record than the last. So what has no number may have been sent.
    if (last !== null && last > used) return this.#startAnew([], waiting, MESSAGES.place_taken);
    this.#timer = this.#options.setTimeout(() => (this.#failures = 0), this.#options.stableAfterMs);
    this.#waitForAnswer();
    // Rule 4. All is put in order before anybody hears of it, who may act at once.
    const settled = this.#queue.decideUpTo(last ?? 0, welcome);
    const isApplied = (/** @type {Waiting} */ { id }) => !welcome.refused.includes(/** @type {number} */ (id));
    for (const { action } of settled.filter(isApplied)) this.#view.applied(action, null);
    this.#tellStatus({ status: "connected" });
    this.#tellWhatIsMissed(welcome);
    for (const waiting of settled) {
      if (!isApplied(waiting)) this.#failed(waiting, "refused", MESSAGES.refused);
      else this.#acted(waiting, { id: /** @type {number} */ (waiting.id), seq: null, duplicate: true });
    }
    this.#send();
    this.#tellPending();
  }

  /**
   * Positions of two histories must not be compared (`epoch`), and one that was taken back is another one. Then the
   * server was asked for the wrong messages.
   *
   * @param {Welcome} welcome
   */
  #isOfAnotherHistory({ epoch, seq }) {
    const heard = this.#heard;
    if (!heard || (heard.epoch === epoch && heard.seq <= seq)) return false;
    this.#heard = undefined;
    this.#isNewHistory = true;
    return true;
  }

  /** @param {Welcome & { missed?: unknown }} welcome */
  #tellWhatIsMissed({ missed }) {
    const isNewHistory = this.#isNewHistory;
    this.#isNewHistory = false;
    if (isNewHistory || missed === true) this.#tell("missed", { isNewHistory });
  }

  /**
   * Rules 6, 7 and 9: comes back as somebody new. Not at once, lest a server that says so of everybody be asked without
   * end.
   *
   * @param {Waiting[]} unsent
   * @param {Waiting[]} unknown
   * @param {string} message
   */
  #startAnew(unsent, unknown, message) {
    this.#drop(NORMAL);
    this.#beSomebodyNew(unsent);
    this.#comeBackLater(NORMAL, "as a new client");
    this.#haveFailed(unknown, "unknown", message);
  }

  /**
   * @param {any} value
   * @param {number} seq
   */
  #stated(value, seq) {
    this.#view.stated(value, seq);
    this.#tell("state", { value, seq });
    this.#tellOptimistic();
  }

  /** @param {Record<string, any>} message */
  #acknowledged({ id, seq, duplicate }) {
    const waiting = this.#queue.numbered(id);
    if (!waiting) return;
    this.#vainRounds = 0;
    this.#view.applied(waiting.action, seq);
    this.#decided(waiting);
    this.#acted(waiting, { id, seq, duplicate: duplicate === true });
    this.#send();
    this.#tellPending();
  }

  /** @param {Record<string, any>} message */
  #refused({ code, message, id, retry, duplicate, retry_after_ms: retryAfterMs }) {
    const waiting = this.#queue.numbered(id);
    const detail = { code, message, id: waiting?.id ?? null, action: waiting?.action ?? null };
    const waits = isCount(retryAfterMs) ? { retryAfterMs } : {};
    const error = { ...detail, retry: retry === true, duplicate: duplicate === true, ...waits };
    if (!waiting) return this.#tell("error", error);
    if (error.retry || code === "forgotten") return this.#undecided(waiting, error);
    this.#decided(waiting);
    // It was decided; how, is not known any more.
    if (code === "id_too_old") Object.assign(error, { code: "unknown", message: MESSAGES.unknown });
    waiting.reject(new ActionError(error.code, error.message, waiting.action, id));
    this.#tell("error", error);
    this.#send();
    this.#tellPending();
  }

  /**
   * Rules 5 and 7: it will be sent again, when all that is in flight is answered.
   *
   * @param {Waiting} waiting
   * @param {ErrorDetail} error
   */
  #undecided(waiting, error) {
    // Those that follow say no more than that they did not overtake.
    const isTold = !this.#isCollecting && error.code !== "forgotten";
    this.#isCollecting = true;
    this.#retryAfterMs = Math.max(this.#retryAfterMs, error.retryAfterMs ?? 0);
    this.#inFlight.delete(waiting);
    this.#waitForAnswer();
    if (error.code === "forgotten") {
      this.#isForgotten = true;
      waiting.id = null;
      this.#queue.keep();
    }
    // Nothing is before it, and the server misses something: only a welcome tells what.
    const isOutOfStep = isTold && error.code === "id_gap" && waiting === this.#queue.waiting[0];
    if (isOutOfStep) this.#dropAndComeBack("out of step");
    else this.#collected();
    if (isTold) this.#tell("error", error);
  }

  #collected() {
    if (!this.#isCollecting || this.#inFlight.size > 0) return;
    if (this.#isForgotten) return this.#startAnew(this.#queue.waiting, [], "");
    const { maxDelayMs, random, setTimeout, clearTimeout } = this.#options;
    const longest = Math.min(maxDelayMs, RETRY_MS * 2 ** this.#vainRounds);
    this.#vainRounds += 1;
    const waitMs = Math.min(this.#retryAfterMs + ((1 + random()) / 2) * longest, LONGEST_TIMER_MS);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#isCollecting = false;
      this.#retryAfterMs = 0;
      this.#send();
    }, waitMs);
  }

  /** @param {Waiting} waiting */
  #decided(waiting) {
    this.#inFlight.delete(waiting);
    this.#queue.remove([waiting]);
    this.#waitForAnswer();
    this.#collected();
  }

  /**
   * @param {Waiting} waiting
   * @param {Decision} decision
   */
  #acted(waiting, decision) {
    waiting.resolve(decision);
    this.#tell("ack", { ...decision, action: waiting.action });
  }

  /**
   * @param {Waiting} waiting
   * @param {string} code
   * @param {string} message
   */
  #failed(waiting, code, message) {
    const { action, id } = waiting;
    waiting.reject(new ActionError(code, message, action, id));
    this.#tell("error", { code, message, id, action, retry: false, duplicate: false });
  }

  /**
   * @param {Waiting[]} all
   * @param {string} code
   * @param {string} message
   */
  #haveFailed(all, code, message) {
    for (const waiting of all) this.#failed(waiting, code, message);
    this.#tellPending();
  }

  /**
   * @param {Waiting} waiting
   * @returns {"closed" | "queue_full" | "too_large" | undefined}
   */
  #whyNotTaken({ text }) {
    if (this.#status.status === "closed") return "closed";
    if (this.#queue.waiting.length >= this.#options.maxWaiting) return "queue_full";
    if (isLonger(numbered(text, this.#queue.used + 1), this.#limits.max_message_bytes)) return "too_large";
    return undefined;
  }

  /**
   * Sends what may be sent now (rule 2), after it is kept that it was (rule 1).
   *
   * @returns {boolean} false: nothing was sent, nor kept
   */
  #send() {
    const socket = this.#socket;
    if (!this.#welcome || this.#isCollecting || socket?.readyState !== OPEN) return false;
    const free = Math.max(0, this.#limits.max_in_flight - this.#inFlight.size);
    const next = this.#queue.waiting.filter((waiting) => !this.#inFlight.has(waiting)).slice(0, free);
    if (next.length === 0) return false;
    const { messages, tooLarge } = this.#number(next);
    this.#queue.waiting = this.#queue.waiting.filter((waiting) => !tooLarge.includes(waiting));
    this.#queue.keep();
    for (const message of messages) socket.send(message);
    this.#waitForAnswer();
    if (tooLarge.length > 0) {
      this.#haveFailed(tooLarge, "too_large", MESSAGES.too_large);
      this.#send();
    }
    return true;
  }

  /**
   * Gives numbers to those that have none. What turns out to be too large, as it was taken before the server said what
   * that is, gets none, so it leaves no gap. What has one is sent again, whatever the server says today.
   *
   * @param {Waiting[]} next
   */
  #number(next) {
    /** @type {string[]} */
    const messages = [];
    /** @type {Waiting[]} */
    const tooLarge = [];
    for (const waiting of next) {
      const id = waiting.id ?? this.#queue.used + 1;
      const message = numbered(waiting.text, id);
      if (waiting.id === null && isLonger(message, this.#limits.max_message_bytes)) {
        tooLarge.push(waiting);
      } else {
        waiting.id = id;
        this.#queue.used = Math.max(this.#queue.used, id);
        this.#inFlight.add(waiting);
        messages.push(message);
      }
    }
    return { messages, tooLarge };
  }

  /** A server that owes an answer and says nothing at all for two heartbeats is not there. */
  #waitForAnswer() {
    const { setTimeout, clearTimeout } = this.#options;
    clearTimeout(this.#silence);
    this.#silence = undefined;
    if (this.#welcome && this.#inFlight.size === 0) return;
    const patienceMs = Math.min(2 * this.#limits.heartbeat_ms, LONGEST_TIMER_MS);
    this.#silence = setTimeout(() => this.#dropAndComeBack("nothing was heard"), patienceMs);
  }

  /** @param {string} reason */
  #dropAndComeBack(reason) {
    this.#drop(NORMAL);
    this.#comeBackLater(ABNORMAL, reason);
  }

  /**
   * Hears nothing more from the socket, and does not wait for its end.
   *
   * @param {number} code
   */
  #drop(code) {
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(code);
    }
    this.#forgetSocket();
  }

  #forgetSocket() {
    const { clearTimeout } = this.#options;
    for (const timer of [this.#timer, this.#silence, this.#retry]) clearTimeout(timer);
    this.#socket = undefined;
    this.#welcome = undefined;
    this.#inFlight.clear();
    this.#isCollecting = false;
    this.#retryAfterMs = 0;
    this.#isForgotten = false;
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#forgetSocket();
    const isByOurselves = code === PLACE_TAKEN && this.#isAlone;
    if (isByOurselves || closeCode(code).comesBack) this.#comeBackLater(code, reason);
    else this.#end(code, reason);
  }

  /**
   * Nobody else can have this identity: it was never stored, or the lock on it is ours (rule 8). Then what took our
   * place was an older connection of our own, given up while it was made, whose handshake came to the server late.
   */
  get #isAlone() {
    return !this.#queue.isStored || this.#lock?.isGranted === true;
  }

  /**
   * The whole wait is left to chance ("full jitter"), so that those who were lost together do not return together.
   *
   * @param {number} code
   * @param {string} reason
   */
  #comeBackLater(code, reason) {
    const { baseDelayMs, maxDelayMs, random, setTimeout } = this.#options;
    const retryInMs = random() * Math.min(maxDelayMs, baseDelayMs * 2 ** this.#failures);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), retryInMs);
    this.#tellStatus({ status: "waiting", code, reason, retryInMs });
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    this.#listening.abort();
    const { waiting } = this.#queue;
    if (code === PLACE_TAKEN) {
      this.#queue.forget();
    } else if (code === TOO_LARGE) {
      // One of these it was. Kept and sent again, it would end the next connection too.
      this.#queue.waiting = waiting.filter(({ id }) => id === null);
      this.#queue.keep();
    }
    this.#queue.leave();
    this.#lock?.release();
    this.#lock = undefined;
    this.#tellStatus({ status: "closed", code, reason });
    const lost = waiting.filter((one) => !this.#queue.waiting.includes(one));
    this.#haveFailed(lost, "unknown", code === TOO_LARGE ? MESSAGES.perhaps_too_large : MESSAGES.place_taken);
    for (const { action, id, reject } of this.#queue.waiting) {
      reject(new ActionError("closed", MESSAGES.left, action, id));
    }
  }

  /** The network being back, or somebody looking, is a better reason to try than the end of a wait. */
  #listen() {
    const { window, document } = this.#options;
    const { signal } = this.#listening;
    const tryNow = () => {
      if (this.#status.status !== "waiting") return;
      this.#options.clearTimeout(this.#timer);
      this.#connect();
    };
    const tryWhenVisible = () => {
      if (document?.visibilityState === "visible") tryNow();
    };
    window?.addEventListener("online", tryNow, { signal });
    document?.addEventListener("visibilitychange", tryWhenVisible, { signal });
    window?.addEventListener("pagehide", () => this.#hide(), { signal });
    window?.addEventListener("pageshow", () => this.#show(), { signal });
  }

  /**
   * The page is left: for good, or into the browser's back/forward cache, which takes no page with an open connection
   * or a lock. The lock is let go so that this page, reloaded, gets it at once.
   */
  #hide() {
    this.#isHidden = true;
    this.#queue.isLeft = true;
    this.#drop(NORMAL);
    this.#lock?.release();
    this.#lock = undefined;
    this.#tellStatus({ status: "connecting" });
  }

  #show() {
    if (!this.#isHidden) return;
    this.#isHidden = false;
    this.#begin("resumed");
  }

  /** @param {StatusDetail} status */
  #tellStatus(status) {
    this.#status = status;
    this.#tell("status", status);
  }

  /** What is undecided has changed, or may have. */
  #tellPending() {
    const count = this.pending;
    if (count !== this.#pendingTold) {
      this.#pendingTold = count;
      this.#tell("pending", { count });
    }
    this.#tellOptimistic();
  }

  #tellOptimistic() {
    if (this.#view.hasChanged(this.#queue.waiting)) this.#tell("optimistic", { value: this.#view.shown });
  }

  /** Not before the caller could begin to listen. */
  #tellNotKept() {
    const error = { code: "not_kept", message: MESSAGES.not_kept, id: null, action: null };
    queueMicrotask(() => this.#tell("error", { ...error, retry: false, duplicate: false }));
  }

  /**
   * @template {keyof ConnectionEvents} Type
   * @param {Type} type
   * @param {ConnectionEvents[Type]["detail"]} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * An action that is not decided.
 *
 * @typedef {object} Waiting
 * @property {number | null} id its number. `null`: it has not been sent, or the server has told that it was forgotten
 * @property {string} text as JSON, without `id`
 * @property {any} action what `text` says
 * @property {(decision: Decision) => void} resolve
 * @property {(error: ActionError) => void} reject
 */

/**
 * The keys that connections of this page use: two of them must not write over each other.
 *
 * @type {WeakMap<ActionStorage, Set<string>>}
 */
const storedHere = new WeakMap();

/**
 * An identity, the numbers it has used, and its actions that are not decided. They are kept in a storage as one text:
 *
 *     {"client":"…","born":{"epoch":"…","seq":5},"used":7,"waiting":[[7,"{\"action\":\"plus\"}"],[null,"{…}"]]}
 */
class Queue {
  client = newIdentity();
  /**
   * A position of the server's history up to which it had heard nothing of this client.
   *
   * @type {{ epoch: string, seq: number } | null}
   */
  born = null;
  /** The highest number that was given to an action. */
  used = 0;
  /** In the order in which they were taken; those with a number come first. @type {Waiting[]} */
  waiting = [];
  isRestored = false;
  /** Its page was left, and has not taken over yet what another page may have stored meanwhile. */
  isLeft = false;
  /** What is stored, as far as is known here. @type {string | null} */
  #stored = null;
  /** The actions in that. @type {Set<Waiting>} */
  #inStored = new Set();
  #storage;
  #key;
  #tellNotKept;
  /** It was told that the storage does not work. */
  #isNotKept = false;

  /**
   * @param {ActionStorage | null | undefined} storage
   * @param {string} key
   * @param {(text: string) => any} parse
   * @param {() => void} tellNotKept
   */
  constructor(storage, key, parse, tellNotKept) {
    this.#key = key;
    this.#tellNotKept = tellNotKept;
    this.#storage = storage ?? undefined;
    if (!this.#storage) return;
    const keys = storedHere.get(this.#storage) ?? new Set();
    if (keys.has(key)) {
      this.#storage = undefined;
      this.#notKept();
      return;
    }
    storedHere.set(this.#storage, keys.add(key));
    this.isRestored = this.#restore(parse);
    if (!this.isRestored) this.keep();
  }

  /** Whether a storage is used. It may fail all the same. */
  get isStored() {
    return this.#storage !== undefined;
  }

  /** All numbers up to this one are decided: they are decided in order. */
  get decided() {
    const first = this.waiting.find(({ id }) => id !== null);
    return first?.id ? first.id - 1 : this.used;
  }

  /**
   * The server, which does not know this client, cannot have forgotten it either: so nothing ever arrived there.
   *
   * @param {Welcome} welcome
   */
  isUnheard({ epoch, seq, forgotten_until: forgottenUntil }) {
    const { born } = this;
    return born?.epoch === epoch && born.seq <= seq && forgottenUntil <= born.seq;
  }

  /** @param {unknown} id */
  numbered(id) {
    return isCount(id) ? this.waiting.find((waiting) => waiting.id === id) : undefined;
  }

  /** @param {Waiting[]} decided */
  remove(decided) {
    this.waiting = this.waiting.filter((waiting) => !decided.includes(waiting));
    this.keep();
  }

  /**
   * Takes out what has a number up to `last`. What is above keeps its number: it may still be on its way.
   *
   * @param {number} last
   * @param {Welcome} welcome
   */
  decideUpTo(last, { epoch, seq }) {
    const decided = this.waiting.filter(({ id }) => id !== null && id <= last);
    if (this.used === 0) this.born = { epoch, seq };
    this.waiting = this.waiting.filter((waiting) => !decided.includes(waiting));
    this.keep();
    return decided;
  }

  /**
   * Becomes somebody new, with number 1.
   *
   * @param {Waiting[]} unsent
   */
  renew(unsent) {
    this.client = newIdentity();
    this.born = null;
    this.used = 0;
    this.waiting = unsent;
    for (const waiting of unsent) waiting.id = null;
    this.keep();
  }

  /** Stores what there is. */
  keep() {
    if (!this.#storage || (this.isLeft && this.#isStoredByAnother)) return;
    const { client, born, used } = this;
    const record = JSON.stringify({ client, born, used, waiting: this.waiting.map(({ id, text }) => [id, text]) });
    try {
      this.#storage.setItem(this.#key, record);
      this.#know(record);
      this.#isNotKept = false;
    } catch {
      // An older record would be worse than none: it would send again what was sent since.
      this.#erase();
      this.#notKept();
    }
  }

  /**
   * Goes on from what another page has stored, if one has, and with what was not stored here.
   *
   * @param {(text: string) => any} parse
   * @returns {Waiting[] | undefined} what was stored here, and is that page's now. `undefined`: no other page was there
   */
  takeOver(parse) {
    if (!this.isLeft || !this.#isStoredByAnother) return undefined;
    const stored = this.#inStored;
    const leftBehind = this.waiting.filter((waiting) => stored.has(waiting));
    const own = this.waiting.filter((waiting) => !stored.has(waiting));
    this.isRestored = this.#restore(parse);
    if (!this.isRestored) {
      this.#erase();
      this.renew(own);
    } else if (own.length > 0) {
      this.waiting.push(...own);
      this.keep();
    }
    return leftBehind;
  }

  /** There is nothing that the next connection should take over. */
  forget() {
    this.waiting = [];
    this.#erase();
  }

  /** Leaves the storage to the next connection. */
  leave() {
    if (this.#storage) storedHere.get(this.#storage)?.delete(this.#key);
    this.#storage = undefined;
  }

  get #isStoredByAnother() {
    try {
      return this.#storage?.getItem(this.#key) !== this.#stored;
    } catch {
      return false;
    }
  }

  /** @param {string | null} record */
  #know(record) {
    this.#stored = record;
    this.#inStored = new Set(record === null ? [] : this.waiting);
  }

  #erase() {
    this.#know(null);
    try {
      this.#storage?.removeItem(this.#key);
    } catch {
      // Then nothing was stored in it either.
    }
  }

  #notKept() {
    if (this.#isNotKept) return;
    this.#isNotKept = true;
    this.#tellNotKept();
  }

  /**
   * @param {(text: string) => any} parse
   * @returns {boolean} false: no storage, or not what was stored there. It is as if nothing had been stored
   */
  #restore(parse) {
    try {
      const record = this.#storage?.getItem(this.#key) ?? "{}";
      const { client, born, used, waiting } = JSON.parse(record);
      if (!isIdentity(client) || !isCount(used) || !Array.isArray(waiting)) return false;
      const restored = waiting.map(([id, text]) => restoredAction(id, text, parse));
      Object.assign(this, { client, born, used, waiting: restored });
      this.#know(record);
      return true;
    } catch {
      return false;
    }
  }
}

/**
 * @param {unknown} id
 * @param {unknown} text
 * @param {(text: string) => any} parse
 * @returns {Waiting}
 */
function restoredAction(id, text, parse) {
  if (!(id === null || isCount(id)) || typeof text !== "string") throw new TypeError("this was not stored here");
  return { id: /** @type {number | null} */ (id), text, action: parse(text), resolve() {}, reject() {} };
}

/**
 * What is known of the state, and what it will be. An action stays on the value until both its `ack` and a state that
 * has it are here, so the value does not go back and forth in between.
 */
class View {
  /** @type {StateDetail | undefined} */
  confirmed;
  /** The optimistic value that was told last. @type {any} */
  shown;
  #apply;
  /** Acknowledged, and in no state yet. @type {{ action: any, seq: number }[]} */
  #applied = [];
  /** Of the newest state on this connection. */
  #seq = -1;

  /** @param {((value: any, action: any) => any) | undefined} apply */
  constructor(apply) {
    this.#apply = apply;
  }

  /** A new connection begins, perhaps with another history. Its first state has all that was applied before. */
  isBehind() {
    this.#seq = -1;
    for (const applied of this.#applied) applied.seq = 0;
  }

  /**
   * @param {any} value
   * @param {number} seq
   */
  stated(value, seq) {
    this.confirmed = Object.freeze({ value, seq });
    this.#seq = seq;
    this.#applied = this.#applied.filter((applied) => applied.seq > seq);
  }

  /**
   * @param {number} from
   * @param {import("./json_patch.js").Operation[]} ops
   * @returns {any} the next value; `undefined` if they are not for the value of this connection
   */
  patched(from, ops) {
    if (!this.confirmed || this.#seq !== from) return undefined;
    try {
      return applyPatch(this.confirmed.value, ops);
    } catch {
      return undefined;
    }
  }

  /**
   * @param {any} action
   * @param {number | null} seq `null`: the next state has it
   */
  applied(action, seq) {
    if (this.#apply && (seq === null || seq > this.#seq)) this.#applied.push({ action, seq: seq ?? 0 });
  }

  /** @param {Waiting[]} waiting */
  optimistic(waiting) {
    const apply = this.#apply;
    if (!this.confirmed || !apply) return this.confirmed?.value;
    const actions = [...this.#applied, ...waiting].map(({ action }) => action);
    try {
      return actions.reduce((value, action) => apply(value, action), this.confirmed.value);
    } catch {
      // A value that `apply` was not made for; what is sent and heard does not depend on it.
      return this.confirmed.value;
    }
  }

  /** @param {Waiting[]} waiting */
  hasChanged(waiting) {
    const before = this.shown;
    this.shown = this.optimistic(waiting);
    return !Object.is(before, this.shown);
  }
}

/** A lock on an identity: held from when the one before lets go of it until this one does. */
class Lock {
  /** False: another has it, and does not let go. @type {Promise<boolean>} */
  isHeld;
  /** Held, at this moment. */
  isGranted = false;
  #waiting = new AbortController();
  #release = () => {};

  /**
   * @param {Locks} locks
   * @param {string} name
   * @param {boolean} mayBeTaken it is not waited for without end
   * @param {Required<Pick<ConnectionOptions, "lockWaitMs" | "setTimeout" | "clearTimeout">>} options
   */
  constructor(locks, name, mayBeTaken, { lockWaitMs, setTimeout, clearTimeout }) {
    const { signal } = this.#waiting;
    const released = new Promise((resolve) => (this.#release = () => resolve(undefined)));
    this.isHeld = new Promise((resolve) => {
      const timer = mayBeTaken ? setTimeout(() => this.#giveUp(locks), lockWaitMs) : undefined;
      const held = () => {
        clearTimeout(timer);
        this.isGranted = true;
        resolve(true);
        return released;
      };
      // Where locks are not allowed nobody has one, as where there are none: the server keeps us to one place.
      const failed = () => {
        clearTimeout(timer);
        resolve(!signal.aborted);
      };
      locks.request(name, { signal }, held).catch(failed);
    });
  }

  /**
   * A page that was busy hears that its time is over before it hears that it got the lock meanwhile. What it asks now
   * is answered after that.
   *
   * @param {Locks} locks
   */
  async #giveUp(locks) {
    await locks.query?.().catch(() => {});
    if (!this.isGranted) this.#waiting.abort();
  }

  release() {
    this.isGranted = false;
    this.#waiting.abort();
    this.#release();
  }
}

/**
 * The counter's way to apply an action: `plus` or `minus`, by 1 or by `by`. Exact, as numbers where they are and as
 * bigints beyond. What the server will refuse changes nothing, nor does anything change a value that is not whole.
 *
 * @param {number | bigint} value
 * @param {{ action: string, by?: unknown }} action
 * @returns {number | bigint}
 */
export function counter(value, { action, by = 1 }) {
  if (action !== "plus" && action !== "minus") return value;
  if (typeof value !== "bigint" && !Number.isInteger(value)) return value;
  if (!(typeof by === "bigint" || Number.isSafeInteger(by)) || /** @type {number | bigint} */ (by) < 1) return value;
  const change = BigInt(/** @type {number | bigint} */ (by));
  const sum = BigInt(value) + (action === "plus" ? change : -change);
  if (BigInt.asIntN(64, sum) !== sum) return value;
  const number = Number(sum);
  return Number.isSafeInteger(number) ? number : sum;
}

/**
 * The document's way to apply an action: `set`, `merge` (RFC 7396) or `patch` (RFC 6902). What the server will refuse
 * changes nothing.
 *
 * @param {any} value
 * @param {{ action: string, value?: any, patch?: any, ops?: any }} action
 * @returns {any}
 */
export function document(value, { action, value: given, patch, ops }) {
  if (action === "set") return given === undefined ? value : given;
  if (action === "merge") return patch === undefined ? value : mergePatch(value, patch);
  if (action !== "patch" || !Array.isArray(ops)) return value;
  try {
    return applyPatch(value, ops);
  } catch {
    return value;
  }
}

/**
 * The server counts further than a JavaScript number is exact (2^53 − 1). Where the engine shows the source text of a
 * number, whole numbers beyond that are written in digits alone are read as bigints.
 *
 * @param {string} text
 * @returns {any}
 */
export function parseExactly(text) {
  /** @type {(key: string, value: unknown, context?: { source?: string }) => unknown} */
  const exact = (_key, value, context) => {
    const isInexact = Number.isInteger(value) && !Number.isSafeInteger(value);
    return isInexact && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context?.source ?? 0) : value;
  };
  return JSON.parse(text, exact);
}

/**
 * @param {string | URL} url
 * @returns {URL}
 */
function roomURL(url) {
  const room = new URL(url, globalThis.document?.baseURI);
  if (room.protocol === "http:") room.protocol = "ws:";
  if (room.protocol === "https:") room.protocol = "wss:";
  if (!["ws:", "wss:"].includes(room.protocol)) throw new SyntaxError(`${url} is not the address of a room`);
  room.hash = "";
  return room;
}

/**
 * The options without those that are `undefined`, which would hide the defaults.
 *
 * @template {object} Options
 * @param {Options} options
 * @returns {{ [Key in keyof Options]: Exclude<Options[Key], undefined> }}
 */
function given(options) {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return /** @type {any} */ (Object.fromEntries(entries));
}

/** @returns {ActionStorage | null} nothing where there are no tabs */
function tabStorage() {
  if (!globalThis.document) return null;
  try {
    return globalThis.sessionStorage;
  } catch (error) {
    // The browser lets nobody store anything here. Each use says so.
    const refuse = () => {
      throw error;
    };
    return { getItem: refuse, setItem: refuse, removeItem: refuse };
  }
}

/** @returns {Locks | null} */
function tabLocks() {
  return (globalThis.document && globalThis.navigator?.locks) || null;
}

/** 128 bits at random in 22 characters of `A-Z a-z 0-9 - _`. */
function newIdentity() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * @param {unknown} client
 * @returns {client is string}
 */
function isIdentity(client) {
  return typeof client === "string" && /^[\w-]{16,64}$/.test(client);
}

/** @param {unknown} action */
function textOf(action) {
  const isObject = typeof action === "object" && action !== null && !Array.isArray(action);
  if (!isObject) throw new TypeError("an action is an object");
  const text = JSON.stringify({ ...action, id: undefined });
  if (!text.startsWith('{"')) throw new TypeError("an action has a key");
  return text;
}

/**
 * @param {string} text of an action
 * @param {number} id
 */
function numbered(text, id) {
  return `{"id":${id},${text.slice(1)}`;
}

/**
 * @param {string} text
 * @param {number} bytes
 */
function isLonger(text, bytes) {
  // In UTF-8 a character of a JavaScript string takes three bytes at most.
  return text.length * 3 > bytes && new TextEncoder().encode(text).length > bytes;
}

/**
 * @param {unknown} text
 * @param {(text: string) => unknown} parse
 * @returns {Record<string, any> | undefined} nothing, if it is not the text of a JSON object
 */
function parseObject(text, parse) {
  if (typeof text !== "string") return undefined;
  try {
    const value = parse(text);
    return typeof value === "object" && value !== null ? /** @type {Record<string, any>} */ (value) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {Record<string, any>} message
 * @returns {UsersDetail}
 */
function usersOf({ count, users }) {
  const isList = Array.isArray(users) && users.every((name) => typeof name === "string");
  return isList ? { count, users } : { count };
}

/**
 * @param {Record<string, any>} message
 * @returns {Welcome | undefined} nothing, if it does not say what is needed
 */
function readWelcome(message) {
  const { type: _, ...welcome } = message;
  const { protocol, epoch, seq, last_id: last, refused, forgotten_until: forgottenUntil } = welcome;
  const { max_in_flight, heartbeat_ms, max_message_bytes } = welcome;
  const limits = [max_in_flight, heartbeat_ms, max_message_bytes];
  const isPlaced = typeof epoch === "string" && isCount(seq) && isCount(forgottenUntil);
  const isWhole = protocol === PROTOCOL && isPlaced && (last === null || isCount(last)) && Array.isArray(refused);
  if (!isWhole || !limits.every((limit) => isCount(limit) && limit > 0)) return undefined;
  return /** @type {Welcome} */ (Object.freeze(welcome));
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isCount(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}
